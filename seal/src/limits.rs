//! Bounds of what is sealed, unit last.

/// Most recipients of one sealed message. A backup has two or three, a device's reading one or two.
pub const RECIPIENTS_MAX: usize = 8;
/// Longest ciphertext, in bytes. What is longer is sealed in pieces under a key that is sealed here.
pub const CIPHERTEXT_BYTES_MAX: usize = 16 * 1_024 * 1_024;
/// Longest protected header, in bytes. Ours have at most 17.
pub const HEADER_BYTES_MAX: usize = 128;
/// Longest name of a key, in bytes. Ours have 8.
pub const KEY_ID_BYTES_MAX: usize = 64;
/// Longest encapsulated secret, in bytes. P-521 has 133, X25519 with ML-KEM-768 has 1,120.
pub const ENCAPSULATED_BYTES_MAX: usize = 1_568;
/// Longest wrapped content key, in bytes. Ours have 48.
pub const WRAPPED_KEY_BYTES_MAX: usize = 80;
/// Longest file with a key, in bytes.
pub const KEY_FILE_BYTES_MAX: usize = 16 * 1_024;
/// Below this, a padded length is a power of two; above it a multiple, in bytes.
pub const PADDING_STEP_BYTES: usize = 1_024;
/// The shortest padded length, in bytes.
pub const PADDING_BYTES_MIN: usize = 64;

const _: () = assert!(PADDING_STEP_BYTES.is_power_of_two(), "the classes below the step must end in it");
