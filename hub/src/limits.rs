//! Every bound of the hub program, unit last. Bounds of what crosses a process boundary are in `muster_schemas::limits`.

use std::time::Duration;

/// Life of the root certificate, in seconds: 20 years of 365 days.
pub const ROOT_VALIDITY_S: u64 = 20 * YEAR_S;
/// Life of the server, device and client authorities, in seconds: 5 years.
pub const AUTHORITY_VALIDITY_S: u64 = 5 * YEAR_S;
/// Life of the hub's own certificate, in seconds. It is issued anew at a start within the last third of it.
pub const SERVER_VALIDITY_S: u64 = YEAR_S;
/// Life of an app's or a user's certificate, in seconds.
pub const CLIENT_VALIDITY_S: u64 = YEAR_S;
/// Life of a service's certificate, in seconds: a service asks for the next one by itself.
pub const SERVICE_VALIDITY_S: u64 = DAY_S;
/// Life of a relay's certificate, in seconds.
pub const RELAY_VALIDITY_S: u64 = 90 * DAY_S;
/// Life of a certificate that signs software or the trust object, in seconds.
pub const SOFTWARE_VALIDITY_S: u64 = YEAR_S;
/// Life of a revocation list, in seconds: how long a stock client may go by one that it fetched.
pub const LIST_VALIDITY_S: u64 = 7 * DAY_S;
/// Age at which revocation lists are made anew when nothing was revoked, in seconds.
pub const LIST_REFRESH_S: u64 = DAY_S / 2;
/// How often the registry is asked whether anything was revoked.
pub const PUBLICATION_POLL_TIME: Duration = Duration::from_millis(500);
/// A publication is followed by a pause this many times as long, so that it takes at most a tenth of a core.
pub const PUBLICATION_PAUSE_FACTOR: u32 = 10;
/// Longest time that a peer may take over the trust object.
pub const TRUST_SEND_TIME_MAX: Duration = Duration::from_secs(10);
/// Default life of a device's certificate, in seconds: a lease on an attestation.
pub const DEVICE_VALIDITY_S: u64 = 7 * DAY_S;
/// Shortest life of a device's certificate that may be configured, in seconds.
pub const DEVICE_VALIDITY_S_MIN: u64 = 60;
/// Longest life of a device's certificate that may be configured, in seconds.
pub const DEVICE_VALIDITY_S_MAX: u64 = 90 * DAY_S;
/// How far before the present a certificate begins to be valid, in seconds: clocks of devices run slow.
pub const NOT_BEFORE_SKEW_S: u64 = 300;
/// Latest instant a certificate may name, Unix seconds: 9999-12-31T23:59:59Z (RFC 5280 §4.1.2.5).
pub const CERTIFICATE_TIME_S_MAX: u64 = 253_402_300_799;
/// Length of a serial number that our authorities give, in bytes; largest certificate that is read, in bytes.
pub use muster_trust::limits::{CERTIFICATE_BYTES_MAX, SERIAL_BYTES};
/// Largest certificate signing request that is read, in bytes.
pub const CSR_BYTES_MAX: usize = 8 * 1024;
/// Longest text of a distinguished name's attribute, in bytes (RFC 5280 appendix A, ub-common-name).
pub const NAME_TEXT_BYTES_MAX: usize = 64;
/// Most names and addresses that the hub's certificate may carry.
pub const SERVER_NAMES_MAX: usize = 32;
/// Most origins of pages that a listener for browsers may list.
pub const ORIGINS_MAX: usize = 64;

/// Largest configuration file, in bytes.
pub const CONFIG_BYTES_MAX: usize = 1024 * 1024;
/// Largest passphrase, key or sealed secret that is read from a file, in bytes.
pub const SECRET_BYTES_MAX: usize = 64 * 1024;
/// Shortest passphrase, in bytes.
pub const PASSPHRASE_BYTES_MIN: usize = 12;
/// Largest PEM file (a chain, or TPM manufacturers' roots), in bytes.
pub const PEM_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest file with a telemetry schema, in bytes; a call takes no more.
pub const SCHEMA_BYTES_MAX: usize = 60 * 1024;
/// Longest payload that `muster open` takes, in bytes.
pub const OPEN_PAYLOAD_BYTES_MAX: usize = muster_seal::limits::CIPHERTEXT_BYTES_MAX + 64 * 1024;
/// Longest line that `muster open` takes, in bytes: a payload in hexadecimal digits, and its topic.
pub const OPEN_LINE_BYTES_MAX: usize = 2 * OPEN_PAYLOAD_BYTES_MAX + 64 * 1024;
/// Most entries in `tpm_roots`.
pub const TPM_ROOTS_MAX: usize = 256;

/// Memory of one key derivation (Argon2id), in KiB.
pub const ARGON2_MEMORY_KIB: u32 = 19 * 1024;
/// Passes of one key derivation.
pub const ARGON2_PASSES: u32 = 2;
/// Lanes of one key derivation.
pub const ARGON2_LANES: u32 = 1;
/// Most memory that a vault file may ask for, in KiB: a forged file cannot exhaust the machine.
pub const ARGON2_MEMORY_KIB_MAX: u32 = 1024 * 1024;
/// Most passes that a vault file may ask for.
pub const ARGON2_PASSES_MAX: u32 = 16;
/// Most lanes that a vault file may ask for.
pub const ARGON2_LANES_MAX: u32 = 16;

/// Most memory that the hash of a device's password may ask for, in KiB.
pub const LEGACY_PASSWORD_MEMORY_KIB_MAX: u32 = 64 * 1024;
/// Most passes that it may ask for.
pub const LEGACY_PASSWORD_PASSES_MAX: u32 = 4;
/// Shortest password of a device, in bytes, where one is chosen.
pub const LEGACY_PASSWORD_BYTES_MIN: usize = 12;
/// Longest password of a device, in bytes.
pub const LEGACY_PASSWORD_BYTES_MAX: usize = 1_024;
/// Passwords that are checked at one time.
pub const LEGACY_CHECKS_MAX: usize = 2;
/// Passwords that are checked or wait to be. One more is refused as busy.
pub const LEGACY_CHECKS_WAITING_MAX: usize = 128;
/// Sources and names whose tries are counted. Who is not among them then waits until others are forgotten.
pub const LEGACY_TRIED_MAX: usize = 8_192;

/// Most issuers of bearer tokens that may be configured.
pub const OIDC_ISSUERS_MAX: usize = 16;
/// Longest bearer token that is looked at, in bytes.
pub const OIDC_TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Largest file with the keys of an issuer, in bytes.
pub const OIDC_KEYS_BYTES_MAX: usize = 256 * 1024;
/// Most keys of one issuer.
pub const OIDC_KEYS_MAX: usize = 64;
/// How far the clocks of an issuer and the hub may be apart, in seconds.
pub const OIDC_CLOCK_SKEW_S: u64 = 30;
/// Longest time that a bearer token may still be good for, in seconds: a day.
pub const OIDC_TOKEN_LIFE_S_MAX: u64 = DAY_S;

/// How long somebody has to touch a hardware key, in seconds.
pub const WEBAUTHN_CHALLENGE_LIFE_S: u64 = 120;
/// Challenges that were answered and have not ended. One more login waits until one has.
pub const WEBAUTHN_CHALLENGES_USED_MAX: usize = 16_384;
/// Longest name that an authenticator gives a key, in bytes.
pub const WEBAUTHN_CREDENTIAL_ID_BYTES_MAX: usize = 1_023;
/// Longest part of an authenticator's answer, in bytes.
pub const WEBAUTHN_STATEMENT_BYTES_MAX: usize = 16 * 1024;
/// Longest session text that is looked at, in bytes.
pub const WEBAUTHN_SESSION_BYTES_MAX: usize = 1_024;
/// How long a session is good for after a login with a hardware key, in seconds: a quarter of an hour.
pub const SESSION_LIFE_S: u64 = 15 * 60;

/// Default for `limits.connections_max`: sessions and enrolments together.
pub const CONNECTIONS_MAX: usize = 10_000;
/// Largest `limits.connections_max` that may be configured.
pub const CONNECTIONS_MAX_MAX: usize = 1_000_000;
/// Default for `limits.packet_bytes_max`: the largest MQTT packet, in bytes.
pub const PACKET_BYTES_MAX: usize = 1024 * 1024;
/// Smallest `limits.packet_bytes_max` that may be configured, in bytes.
pub const PACKET_BYTES_MAX_MIN: usize = 1_024;
/// Largest `limits.packet_bytes_max` that may be configured, in bytes: what the store takes as one value.
pub const PACKET_BYTES_MAX_MAX: usize = 15 * 1024 * 1024;

/// Largest count that a quota may be.
pub const QUOTA_COUNT_MAX: usize = 100_000_000;
/// Largest rate, per second, and largest number of bytes that a quota may be: 64 GiB.
pub const QUOTA_RATE_MAX: u64 = 64 * 1024 * 1024 * 1024;
/// Smallest `quotas.log_bytes_max` that may be configured, in bytes.
pub const LOG_BYTES_MAX_MIN: u64 = 1024 * 1024;
/// Largest `quotas.log_bytes_max` that may be configured, in bytes: 1 TiB.
pub const LOG_BYTES_MAX_MAX: u64 = 1024 * 1024 * 1024 * 1024;
/// Smallest `quotas.log_age_s_max` that may be configured, in seconds.
pub const LOG_AGE_S_MIN: u64 = 60;
/// Largest `quotas.log_age_s_max` that may be configured, in seconds: a year.
pub const LOG_AGE_S_MAX: u64 = YEAR_S;
/// Largest file of `influx.ca_file`, in bytes.
pub const INFLUX_CA_BYTES_MAX: usize = 1024 * 1024;
/// Most tenants whose bucket is not named as they are.
pub const INFLUX_TENANTS_MAX: usize = 4_096;
/// Most tenants with quotas of their own.
pub const TENANTS_QUOTED_MAX: usize = 4_096;

/// Default for `bus.sys_interval_s`: how often tenants are told their numbers on `$SYS/...`, in seconds.
pub const SYS_INTERVAL_S: u64 = 10;
/// Largest `bus.sys_interval_s` that may be configured, in seconds.
pub const SYS_INTERVAL_S_MAX: u64 = 3_600;
/// Longest reason that may be given for closing a session, in bytes.
pub const KICK_REASON_BYTES_MAX: usize = 256;
/// How long one call may trace. Then the caller asks again, and is looked up again.
pub const TRACE_TIME_MAX: Duration = Duration::from_secs(600);
/// How often a trace says that it is there while nothing happens.
pub const TRACE_SIGN_OF_LIFE_TIME: Duration = Duration::from_secs(5);
/// Most packets of a trace that leave as one piece.
pub const TRACE_PIECE_LINES_MAX: usize = 64;
/// Longest line of a trace that the command line reads, in bytes.
pub const TRACE_LINE_BYTES_MAX: u64 = 256 * 1024;

/// How long the command line waits for an answer of the hub, in seconds.
pub const API_ANSWER_S_MAX: u64 = 30;
/// How long it waits for a file to begin, in seconds: the hub reads all of it once before.
pub const API_EXPORT_S_MAX: u64 = 600;
/// How long a command waits for what takes its time, such as rewriting what held destroyed keys, in seconds.
pub const API_PATIENCE_S_MAX: u64 = 900;
/// How long the command line waits for a connection, in seconds.
pub const API_CONNECT_S_MAX: u64 = 10;
/// Largest answer that the command line reads, in bytes.
pub const API_ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How long `muster sub`, `pub` and `rr` wait for a connection and for each answer of the hub.
pub const MQTT_ANSWER_TIME_MAX: Duration = Duration::from_secs(20);
/// Longest silence that they promise the hub; they say something at half of it.
pub const MQTT_KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Largest packet that they take, in bytes: what any hub may be configured to send.
pub const MQTT_PACKET_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Messages of `muster pub --lines` that may be unanswered at once; the hub's Receive Maximum may be lower.
pub const MQTT_IN_FLIGHT_MAX: usize = 256;
/// Lines of its input that are read ahead.
pub const INPUT_LINES_AHEAD_MAX: usize = 64;
/// Silence after which `muster sub --retained-only` takes it that all retained messages have come.
pub const RETAINED_SILENCE_TIME: Duration = Duration::from_secs(1);
/// Largest manifest that is imported, in bytes.
pub const MANIFEST_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Most rows of a manifest: what one tenant may list.
pub const MANIFEST_ROWS_MAX: usize = 200_000;
/// Rows of a manifest that are sent at once; with every cell at its bound they fit [`API_LIST_BYTES_MAX`].
pub const MANIFEST_ROWS_PER_CALL_MAX: usize = 500;
/// Days before an expiry at which `muster check` begins to warn.
pub const EXPIRY_WARNING_DAYS: u64 = 30;

/// Largest body of a call to the API, in bytes.
pub const API_BODY_BYTES_MAX: usize = 64 * 1024;
/// Largest body of a call to EST, in bytes: the largest signing request in base64, and room for line ends.
pub const EST_BODY_BYTES_MAX: usize = 16 * 1024;
/// Characters of base64 in a line of an answer of EST.
pub const EST_LINE_CHARS: usize = 64;
/// After how long whoever could not be served by EST is to come back, in seconds.
pub const EST_RETRY_S: u64 = 10;
/// Largest body of a call that lists chips, in bytes.
pub const API_LIST_BYTES_MAX: usize = 1024 * 1024;
/// How long a caller has to send the head of its request.
pub const API_REQUEST_TIME_MAX: Duration = Duration::from_secs(10);
/// How often it is looked whether somebody who is being streamed to still may act.
pub const RIGHTS_LOOK_TIME: Duration = Duration::from_secs(2);
/// Longest words about why a command was given, in bytes.
pub const WHY_BYTES_MAX: usize = 256;
/// How long an idle connection to the API stays open.
pub const API_IDLE_TIME_MAX: Duration = Duration::from_secs(60);
/// How long an actor that everything rests on may take to start.
pub const START_TIME_MAX: Duration = Duration::from_secs(30);
/// How often it is looked whether it has.
pub const START_POLL_TIME: Duration = Duration::from_millis(1);
/// How often the hub looks at its own certificate by itself.
pub const RELOAD_INTERVAL: Duration = Duration::from_secs(DAY_S);
/// How long a session has to attest, in a tenant that demands it, and how long a challenge is good for.
pub const ATTEST_TIME_MAX: Duration = Duration::from_secs(30);
/// The registers that a quote covers unless the tenant's policy says otherwise: application support, which only the agent
/// extends.
pub const PCRS_QUOTED: [u8; 1] = [23];

/// Most lines of the program's own log that wait to be written; what comes then is dropped and counted. At about 200 bytes
/// each, 3 MiB.
pub const LOG_LINES_WAITING_MAX: usize = 16_384;

/// Most decisions on live telemetry that are remembered for one tenant, about 200 bytes each; then all are made anew.
pub const LIVE_DECISIONS_MAX: usize = 65_536;
/// How long the same denial to the same principal is not told again to the audit trail, in milliseconds.
pub const DENIAL_QUIET_MS: i64 = 600_000;
/// Most denials of a tenant that are remembered for that.
pub const DENIALS_REMEMBERED_MAX: usize = 1_024;
/// Most denials of live telemetry that are logged for one tenant between two changes of its rules.
pub const LIVE_DENIALS_LOGGED_MAX: usize = 100;

/// A day, in seconds.
pub const DAY_S: u64 = 86_400;
/// A year of 365 days, in seconds.
pub const YEAR_S: u64 = 365 * DAY_S;

const _: () = assert!(AUTHORITY_VALIDITY_S < ROOT_VALIDITY_S, "an authority ends before its root does");
const _: () =
    assert!(PACKET_BYTES_MAX_MAX < MQTT_PACKET_BYTES_MAX, "our own client takes what the hub may send");
const _: () = assert!(DEVICE_VALIDITY_S <= DEVICE_VALIDITY_S_MAX, "the default must be allowed");
const _: () = assert!(ARGON2_MEMORY_KIB <= ARGON2_MEMORY_KIB_MAX, "our own vault must open");

/// Bytes that a program that gives a key may print: a key in any of its forms, and no more.
pub const KEY_COMMAND_OUTPUT_BYTES_MAX: usize = 128;
/// Bytes of what such a program complains that are told.
pub const KEY_COMMAND_COMPLAINT_BYTES_MAX: usize = 512;
/// How long such a program may take, in seconds, unless configured otherwise; and the bounds of that.
pub const KEY_COMMAND_TIME_S: u64 = 10;
/// See [`KEY_COMMAND_TIME_S`].
pub const KEY_COMMAND_TIME_S_MAX: u64 = 300;
/// Tenants for which the hub may ask such a program for the tenant's own key.
pub const OWN_KEY_COMMANDS_MAX: usize = 4_096;
/// Words of a command.
pub const KEY_COMMAND_WORDS_MAX: usize = 64;

/// Recipients of backups: people who can open them.
pub const BACKUP_RECIPIENTS_MAX: usize = 16;
/// Bytes of a file of the hub's directory that goes into a backup.
pub const BACKUP_FILE_BYTES_MAX: usize = 1024 * 1024;
/// Files of the hub's directory that go into a backup.
pub const BACKUP_FILES_MAX: usize = 1_000;
/// Bytes of a file with a backup key, an escrowed root key, or the credentials of an object store.
pub const BACKUP_KEY_FILE_BYTES_MAX: usize = 64 * 1024;
/// Milliseconds between two looks of the command line at a backup under way.
pub const BACKUP_LOOK_MS: u64 = 200;
