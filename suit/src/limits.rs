//! Bounds of envelopes, roots and offers, unit last. What travels with them has its bounds in `muster_schemas::limits`.

pub use muster_schemas::limits::{
    UPDATE_ENVELOPE_BYTES_MAX as ENVELOPE_BYTES_MAX, UPDATE_ROOT_BYTES_MAX as ROOT_BYTES_MAX,
    UPDATE_ROOTS_MAX as ROOTS_MAX, UPDATE_SIGNED_BYTES_MAX as SIGNED_BYTES_MAX,
};

/// Most signatures of an envelope or a root. Each is checked against each key of a role until one fits.
pub const SIGNATURES_MAX: usize = 16;
/// Most keys of a root.
pub const KEYS_MAX: usize = 16;
/// Longest protected header of a signature, in bytes. ES256's has 3.
pub const HEADER_BYTES_MAX: usize = 64;
/// Longest name of a key in an unprotected header, in bytes. It is not looked at.
pub const KEY_NAME_BYTES_MAX: usize = 64;
/// Longest authentication wrapper, in bytes: 16 signatures have about 1,300.
pub const WRAPPER_BYTES_MAX: usize = 4 * 1_024;
/// Most components of a manifest.
pub const COMPONENTS_MAX: usize = 8;
/// Most parts of a component's name.
pub const COMPONENT_PARTS_MAX: usize = 8;
/// Longest part of a component's name, in bytes.
pub const COMPONENT_PART_BYTES_MAX: usize = 64;
/// Most commands in a sequence.
pub const COMMANDS_MAX: usize = 64;
/// Most sequences of one try-each.
pub const ALTERNATIVES_MAX: usize = 8;
/// Deepest nesting of try-each.
pub const TRY_EACH_DEPTH_MAX: usize = 2;
/// Most commands that are carried out for one manifest: what bounds nested alternatives.
pub const STEPS_MAX: usize = 1_024;
/// Longest address in a manifest, in bytes.
pub const URI_BYTES_MAX: usize = 512;
/// Longest content that a manifest writes by itself, in bytes.
pub const CONTENT_BYTES_MAX: usize = 8 * 1_024;
/// Most numbers of a version.
pub const VERSION_NUMBERS_MAX: usize = 8;
/// Most payloads that an envelope carries.
pub const PAYLOADS_MAX: usize = 8;
/// Longest name of a payload, in bytes.
pub const PAYLOAD_NAME_BYTES_MAX: usize = 64;
/// How long an offer holds at most, in seconds: 24 hours.
pub const OFFER_LIFE_S_MAX: u64 = 24 * 3_600;
/// How long a freshness statement holds at most, in seconds.
pub const FRESHNESS_LIFE_S_MAX: u64 = OFFER_LIFE_S_MAX;
/// How far a hub's clock may be ahead of a device's, in seconds.
pub const CLOCK_AHEAD_S_MAX: u64 = 300;
/// Longest file with a key, in bytes.
pub const KEY_FILE_BYTES_MAX: usize = 16 * 1_024;

const _: () = assert!(
    SIGNATURES_MAX * (HEADER_BYTES_MAX + KEY_NAME_BYTES_MAX + 80) + 64 <= WRAPPER_BYTES_MAX,
    "a wrapper holds as many signatures as are allowed"
);
