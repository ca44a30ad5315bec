//! Bounds of the registry, unit last.

use std::time::Duration;

/// Rows of a shredded tenant that are removed in one commit: a tenant may have hundreds of thousands.
pub const FORGET_ROWS_MAX: usize = 4_096;
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
/// Most alarms that are kept of one tenant, and of the hub itself.
pub const ALARMS_PER_TENANT_MAX: usize = 1_000;
/// Most alarms in one answer to a listing.
pub const LISTED_ALARMS_MAX: usize = 1_000;
/// Longest description of an alarm, in bytes.
pub const ALARM_DETAIL_BYTES_MAX: usize = 512;
/// How long an alarm that is raised again is counted in memory only, in seconds.
pub const ALARM_REPEAT_S: u64 = 10;
/// How long a barred chip that goes on trying is no news after somebody has looked, in seconds: a day.
pub const BARRED_QUIET_S: u64 = 86_400;
/// Longest name of who did something, in bytes: a principal.
pub const BY_BYTES_MAX: usize = 512;
/// Most devices of one tenant that it has released and still knows of.
pub const RELEASED_PER_TENANT_MAX: usize = 10_000;
/// Most chips of one tenant that are to come in the place of others and have not come yet.
pub const SUCCESSORS_PER_TENANT_MAX: usize = 10_000;
/// How often a chip may have been started between being cleared and coming back, for it to pass as cleared.
pub const CLEARED_RESETS_MAX: u32 = 3;
/// How much a chip's clock may be ahead of time, besides a third of what has passed, in milliseconds.
pub const CLOCK_SLACK_MS: u64 = 60_000;
/// How much of its clock a chip may lose with its power, in milliseconds (TPM 2.0 Part 2, 6.13: 2^22).
pub const CLOCK_LOST_MS_MAX: u64 = 4_194_304;
/// How far the hub's clock may be behind the time that it knew before it is an alarm, in seconds.
pub const CLOCK_BEHIND_S_MAX: u64 = 60;
/// How often the registry writes down what time it is, in seconds.
pub const CLOCK_WRITTEN_S: u64 = 60;
/// Most devices of one tenant that have a password.
pub const LEGACY_DEVICES_PER_TENANT_MAX: usize = 10_000;
/// Most versions of a tenant's policies that are kept; then the oldest goes. Together they take half a megabyte at most.
pub const POLICY_VERSIONS_PER_TENANT_MAX: usize = 16;
/// Most data sets of one tenant.
pub const DATA_SETS_PER_TENANT_MAX: usize = 256;
/// Most grants of one tenant.
pub const GRANTS_PER_TENANT_MAX: usize = 1_000;
/// Longest life of a grant, in seconds: ten years.
pub const GRANT_LIFE_S_MAX: u64 = 10 * 365 * 24 * 3_600;
/// Most hardware keys of one user.
pub const KEYS_PER_USER_MAX: usize = 16;
/// Longest name of a hardware key, in bytes.
pub const KEY_NAME_BYTES_MAX: usize = 64;
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
/// How often the registry looks at the clock.
pub const CLOCK_LOOK_TIME: Duration = Duration::from_secs(10);
/// Longest serial number of a device, in bytes.
pub const SERIAL_NUMBER_BYTES_MAX: usize = muster_schemas::limits::ENROLMENT_LABEL_BYTES_MAX;
/// Most chips on the list of one tenant; one takes about half a kilobyte of memory.
pub const LISTED_PER_TENANT_MAX: usize = 200_000;
/// Most chips on the lists of one hub.
pub const LISTED_MAX: usize = DEVICES_MAX;
/// Most rows of a list in one command.
pub const LISTED_ROWS_MAX: usize = 1_000;
/// Most chips in one answer to a listing.
pub const LISTED_CHIPS_MAX: usize = 1_000;
/// Most devices of one tenant that are held. When full, those not seen for long go; if there are none, the next is refused.
pub const HELD_PER_TENANT_MAX: usize = 1_000;
/// How long a held device is kept after it came last, once room is needed, in seconds: thirty days.
pub const HELD_KEPT_S: u64 = 30 * 24 * 3_600;
/// When a held device is to ask again, in seconds.
pub const HELD_RETRY_S: u32 = 30;
/// Most measurements that one tenant accepts.
pub const ACCEPTED_PER_TENANT_MAX: usize = 1_000;
/// Longest label of accepted measurements, in bytes.
pub const LABEL_BYTES_MAX: usize = 64;
/// Most authorities for firmware of one tenant, over all of its classes.
pub const FIRMWARE_AUTHORITIES_MAX: usize = 64;
/// Most approvals of firmware that are kept for one class; then the oldest goes. All go into one answer.
pub const FIRMWARE_APPROVALS_OF_CLASS_MAX: usize = muster_schemas::limits::ENROLMENT_APPROVALS_MAX;
/// Most approvals of firmware of one tenant, over all of its classes.
pub const FIRMWARE_APPROVALS_MAX: usize = 512;
/// Most patterns for sensitive fields of one tenant.
pub const SENSITIVE_PATTERNS_MAX: usize = muster_items::limits::SENSITIVE_PATTERNS_MAX;
/// Commands that wait for the registry at one time.
pub const MAILBOX_MESSAGES_MAX: usize = 1_024;
