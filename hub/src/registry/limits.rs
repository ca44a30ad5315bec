//! Bounds of the registry, unit last.

/// Most tenants of one hub.
pub const TENANTS_MAX: usize = muster_broker::limits::TENANTS_MAX;
/// Most devices of one hub; a row takes about one kilobyte of memory.
pub const DEVICES_MAX: usize = 1_000_000;
/// Most claims kept for one tenant, used and unused.
pub const CLAIMS_PER_TENANT_MAX: usize = 10_000;
/// Most apps and users of one tenant.
pub const CLIENTS_PER_TENANT_MAX: usize = 1_000;
/// Most certificates that operators had issued and that are remembered.
pub const ISSUED_MAX: usize = 100_000;
/// Most of them in one answer.
pub const ISSUED_LISTED_MAX: usize = 1_000;
/// Most revoked certificates that are kept; a row takes about 300 bytes of memory.
pub const REVOCATIONS_MAX: usize = 1_000_000;
/// Most revocations that are forgotten at one time, because their certificates have ended.
pub const FORGOTTEN_REVOCATIONS_MAX: usize = 1_024;
/// Most devices in one answer to a listing.
pub const LISTED_DEVICES_MAX: usize = 1_000;
/// Shortest life of a claim, in seconds.
pub const CLAIM_LIFE_S_MIN: u64 = 60;
/// Longest life of a claim, in seconds: one year.
pub const CLAIM_LIFE_S_MAX: u64 = 365 * 24 * 3_600;
/// How long a claim outlives its expiry, so that its refusal can say why, in seconds: thirty days.
pub const CLAIM_KEPT_S: u64 = 30 * 24 * 3_600;
/// Randomness in a claim code, in bytes.
pub const CLAIM_CODE_BYTES: usize = 16;
/// Longest claim code as a person may type it, in characters, separators included.
pub const CLAIM_TEXT_CHARS_MAX: usize = 64;
/// Longest model name, in bytes.
pub const MODEL_BYTES_MAX: usize = muster_schemas::limits::ENROLMENT_LABEL_BYTES_MAX;
/// Commands that wait for the registry at one time.
pub const MAILBOX_MESSAGES_MAX: usize = 1_024;
