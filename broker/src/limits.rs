//! Bounds of the bus: connections, handshakes, queues between tasks and actors. Unit last.
//!
//! Packet bounds stand in `muster_mqtt::limits`, subscription and retained bounds in `muster_routing::limits`,
//! storage bounds in [`crate::store::limits`], those of WebSocket in `websocket/limits.rs`.

use std::time::Duration;

use muster_actors::{OverBudget, Plan};

use crate::{bucket::Rate, store::limits::COMMITS_WAITING_MAX};

/// Most TLS handshakes under way at once. At the bound the accept loop waits, and the kernel's backlog fills.
pub const HANDSHAKES_MAX: usize = 256;
/// Connections the kernel may hold before they are accepted.
pub const LISTEN_BACKLOG: u32 = 1_024;
/// How long a peer has from its connection to the end of the TLS handshake and of the upgrade to WebSocket, its tenant to
/// open a session after that, and a peer that is not let in to hear why.
pub const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);

/// Most bytes taken by one read of a socket: one full TLS record.
pub const READ_BYTES_MAX: usize = 16 * 1_024;
/// Read batches of one connection that may be on their way through session, router and log.
/// At the bound its reader waits, and TCP makes the peer wait.
pub const CONNECTION_BATCHES_MAX: usize = 8;
/// Bytes of one connection that may be on their way through session, router and log.
pub const CONNECTION_BYTES_MAX: usize = 512 * 1_024;
/// Read batches of one tenant that may be on their way. At the bound the tenant's readers wait in turn.
pub const TENANT_BATCHES_MAX: usize = 1_024;
/// Bytes of one tenant that may be on their way through its router and the log.
pub const TENANT_BYTES_MAX: usize = 16 * 1_024 * 1_024;
/// Read batches of all tenants together that may be on their way. At the bound all readers wait in turn. What the
/// committer can hold beyond that is for registry and telemetry.
pub const HUB_BATCHES_MAX: usize = COMMITS_WAITING_MAX - 1_024;
/// Bytes of all tenants together that may be on their way.
pub const HUB_BYTES_MAX: usize = 64 * 1_024 * 1_024;

/// Longest answer of a peer that has to show something before it has its rights, in bytes: what an enrolment may say.
pub const ATTEST_ANSWER_BYTES_MAX: usize = muster_schemas::limits::ENROLMENT_FRAME_BYTES_MAX;

/// Questions of one session that are answered at once. One more is refused, 0x97.
pub const QUESTIONS_MAX: u8 = 4;
/// Longest question, in bytes.
pub const QUESTION_BYTES_MAX: usize = 16 * 1_024;

/// Bytes waiting for a peer's socket above which its session adds no deliveries: QoS 0 is dropped and counted, QoS 1 and
/// 2 wait in the session's queue.
pub const OUTBOX_DELIVERIES_BYTES_MAX: usize = 1_024 * 1_024;
/// Bytes waiting at which deliveries that were held back go on.
pub const OUTBOX_RESUME_BYTES: usize = OUTBOX_DELIVERIES_BYTES_MAX / 2;
/// Bytes waiting for a peer's socket at which we stop reading from that peer: who does not read is not read. Above what
/// deliveries alone can reach, or a slow subscriber could not even say that it is alive.
pub const OUTBOX_PAUSE_BYTES: usize = OUTBOX_DELIVERIES_BYTES_MAX + 512 * 1_024;
/// Effects that an arbiter keeps for sessions that have a turn; they have theirs one after another. More are given back.
pub const EFFECTS_SPARE_MAX: usize = 4;
/// How long one write to a peer may make no progress before the connection is given up.
pub const WRITE_STALL_TIME_MAX: Duration = Duration::from_secs(20);
/// How long the last bytes may take after a session has closed, and the close notification after them.
pub const CLOSE_TIME_MAX: Duration = Duration::from_secs(5);
/// How long what a peer still sends is read and dropped after our last byte. Closing a socket with unread bytes resets
/// the connection, and the peer would not hear why.
pub const LINGER_TIME_MAX: Duration = Duration::from_secs(1);

/// Connections of one tenant, unless configured otherwise.
pub const TENANT_CONNECTIONS_MAX: usize = 10_000;
/// Messages of one tenant, unless configured otherwise: more than one core routes.
pub const TENANT_MESSAGES: Rate = Rate { per_s_max: 5_000_000, burst_max: 5_000_000 };
/// Bytes of one tenant, unless configured otherwise.
pub const TENANT_BYTES: Rate = Rate { per_s_max: GIB, burst_max: GIB };
/// Connections of one device, unless configured otherwise: some clients of its, and what they left behind half open.
pub const DEVICE_CONNECTIONS_MAX: usize = 32;
/// Messages of one device, unless configured otherwise.
pub const DEVICE_MESSAGES: Rate = Rate { per_s_max: 5_000, burst_max: 20_000 };
/// Bytes of one device, unless configured otherwise.
pub const DEVICE_BYTES: Rate = Rate { per_s_max: 8 * MIB, burst_max: 32 * MIB };
/// Subscriptions of one device, unless configured otherwise.
pub const DEVICE_SUBSCRIPTIONS_MAX: usize = 2_000;
/// Retained messages of one device, unless configured otherwise.
pub const DEVICE_RETAINED_MESSAGES_MAX: usize = 10_000;
/// Bytes of retained messages of one device, unless configured otherwise.
pub const DEVICE_RETAINED_BYTES_MAX: usize = 16 * 1_024 * 1_024;
/// Durable sessions of one device, unless configured otherwise.
pub const DEVICE_DURABLE_SESSIONS_MAX: usize = 32;
/// Bytes of one device's messages that durable sessions have yet to get, unless configured otherwise: a sixteenth of what
/// they keep of all.
pub const DEVICE_LOG_BYTES_MAX: u64 = 64 * MIB;
/// Bytes of wills of one device, unless configured otherwise.
pub const DEVICE_WILL_BYTES_MAX: usize = 1024 * 1024;
/// Messages that wait in memory for one connection of a device, unless configured otherwise.
pub const DEVICE_QUEUE_MESSAGES_MAX: usize = 10_000;
/// Bytes that wait in memory for one connection of a device, unless configured otherwise.
pub const DEVICE_QUEUE_BYTES_MAX: usize = 16 * 1_024 * 1_024;
/// Messages that wait in memory for one connection of an app, unless configured otherwise.
pub const QUEUE_MESSAGES_MAX: usize = 10_000;
/// Bytes that wait in memory for one connection of an app, unless configured otherwise.
pub const QUEUE_BYTES_MAX: usize = 16 * 1_024 * 1_024;
/// Bytes of a tenant's log that durable sessions may keep, unless configured otherwise.
pub const LOG_BYTES_MAX: u64 = GIB;
/// How long durable sessions may keep a record of the log, unless configured otherwise.
pub const LOG_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Into how many segments the bound of a log in bytes is cut: it is kept to within one of them.
pub const LOG_SEGMENTS: u64 = 1_024;
/// Into how many segments its bound in age is cut.
pub const LOG_AGE_SEGMENTS: u64 = 64;
/// Bytes of a segment below which it is not closed.
pub const LOG_SEGMENT_BYTES_MIN: u64 = 64 * 1_024;
/// Bytes of a segment at which it is closed.
pub const LOG_SEGMENT_BYTES_MAX: u64 = 4 * 1_024 * 1_024;
/// What a record takes on the disk beyond its message, in bytes: its key, its seal, rounded up.
pub const LOG_RECORD_FURNITURE_BYTES: u64 = 64;
/// Principals that are gone and whose pace is remembered until they owe nothing any more. Beyond it, new ones begin
/// with a full bucket once too often.
pub const PACES_KEPT_MAX: usize = 1_024;
/// How often one connection's being throttled is logged, at most.
pub const THROTTLED_LOG_TIME: Duration = Duration::from_secs(60);
/// For how long refusals have the lines of the log that follow; at its end one line for each peer says what had none.
pub const REFUSALS_LOG_TIME: Duration = Duration::from_secs(10);
/// Refusals of one peer that are logged one by one in that time. Further ones are counted.
pub const REFUSALS_OF_A_PEER_LOGGED_MAX: usize = 10;
/// Refusals of all peers of a tenant, or of the listeners, that are logged one by one in that time.
pub const REFUSALS_LOGGED_MAX: usize = 100;

/// Reads of a tenant's log for durable sessions that run at once; the others wait in turn.
pub const LOG_READS_MAX: usize = 4;
/// Records that one search of the log looks at.
pub const LOG_READ_RECORDS_MAX: usize = 256;
/// Bytes after which it stops.
pub const LOG_READ_BYTES_MAX: usize = 1024 * 1024;

/// How long the sessions of a tenant that has withdrawn its key have to tell their peers, before its actors end.
pub const WITHDRAWAL_TIME: Duration = Duration::from_secs(1);
/// How long sessions have to end when the hub shuts down.
pub const SHUTDOWN_TIME_MAX: Duration = Duration::from_secs(5);
/// How often it is looked whether they have.
pub const SHUTDOWN_POLL_TIME: Duration = Duration::from_millis(5);

/// How long an inspection waits for a tenant's answer.
pub const INSPECTION_TIME_MAX: Duration = Duration::from_secs(5);
/// Most sessions, or retained topics, of one answer; the rest is the next page.
pub const SEEN_MAX: usize = 1_000;
/// Most filters of one answer; the rest is left out, and that is told.
pub const SEEN_FILTERS_MAX: usize = 10_000;
/// Retained messages looked at, and subscriptions gathered, in one turn of a router.
pub const LOOKS_MAX: usize = 1_000;
/// Most traces of one tenant at once. One more is refused.
pub const TRACES_MAX: usize = 8;
/// Packets that wait for whoever listens in. Further ones are dropped and counted, and the count is told.
pub const TRACED_WAITING_MAX: usize = 1_024;
/// Most bytes of a payload that a trace shows.
pub const TRACED_PAYLOAD_BYTES_MAX: usize = 256;
/// Most filters of a SUBSCRIBE that a trace shows.
pub const TRACED_FILTERS_MAX: usize = 16;

/// Connections of one tenant without TLS that are served on the arbiter of its router. Further ones are spread over all.
pub const HOME_CONNECTIONS_MAX: usize = 256;

/// Most tenants of one hub.
pub const TENANTS_MAX: usize = 4_096;
/// How long a hub that starts waits for the routers of its tenants before it opens its doors to those that stand.
pub const RECOVERY_TIME_MAX: Duration = Duration::from_secs(5);
/// How a tenant's router, and its supervisor above it, are restarted: five times within a minute, then the tenant is
/// parked. Its neighbours never notice either way.
pub const TENANT_RESTARTS: Plan = Plan {
    delay_first: Duration::from_millis(50),
    delay_max: Duration::from_secs(5),
    restarts_max: 5,
    window: Duration::from_secs(60),
    over_budget: OverBudget::Park,
};

/// Entries that wait to be written to a tenant's audit trail.
pub const AUDIT_WAITING_MAX: usize = 256;
/// Such entries of one principal. Beyond them it is told how many there were.
pub const AUDIT_OWN_WAITING_MAX: usize = 16;
/// How long an auditor waits for more before it writes.
pub const AUDIT_INTERVAL: Duration = Duration::from_millis(250);
/// How long an auditor rests when a commit was refused.
pub const AUDIT_RETRY_TIME: Duration = Duration::from_secs(1);
/// Entries that a tenant's audit trail keeps. The oldest go.
pub const AUDIT_ENTRIES_MAX: u64 = 100_000;
/// Old entries that go with one commit.
pub const AUDIT_REMOVED_MAX: u64 = 1_024;
/// Entries of one page of an audit trail.
pub const AUDIT_PAGE_MAX: usize = 1_000;

const MIB: u64 = 1_024 * 1_024;
const GIB: u64 = 1_024 * MIB;

const _: () =
    assert!(TENANT_RESTARTS.budget_is_reachable(), "a plan that can never be exhausted never parks");
const _: () = assert!(
    4 * TENANT_BATCHES_MAX <= HUB_BATCHES_MAX && 4 * TENANT_BYTES_MAX <= HUB_BYTES_MAX,
    "a few busy tenants must leave room for their neighbours"
);
const _: () = assert!(
    CONNECTION_BYTES_MAX <= TENANT_BYTES_MAX,
    "one connection must fit within its tenant's share, or it would always travel alone"
);
const _: () = assert!(
    READ_BYTES_MAX as u64 <= DEVICE_BYTES.burst_max && DEVICE_BYTES.burst_max <= TENANT_BYTES.burst_max,
    "one read never makes a quiet device wait, and one device fits its tenant"
);
const _: () = assert!(
    OUTBOX_DELIVERIES_BYTES_MAX < OUTBOX_PAUSE_BYTES && OUTBOX_RESUME_BYTES < OUTBOX_DELIVERIES_BYTES_MAX,
    "deliveries alone never keep us from hearing a peer"
);
const _: () =
    assert!(READ_BYTES_MAX <= CONNECTION_BYTES_MAX, "one read must fit within its connection's credit");
