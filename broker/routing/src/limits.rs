//! Bounds of one tenant's router, unit last. What follows from others is computed here; relations are asserted.

use muster_schemas::Kind;

/// Most subscriptions of one subscriber.
pub const SUBSCRIPTIONS_PER_SUBSCRIBER_MAX: usize = 1_000;
/// Most subscriptions of all subscribers of a tenant.
pub const SUBSCRIPTIONS_MAX: usize = 1_000_000;
/// Levels of a filter that count as one subscription; a deeper filter counts for as many as it has such parts.
pub const SUBSCRIPTION_LEVELS: usize = 8;
/// Bytes of a filter that count as one subscription; a longer filter likewise.
pub const SUBSCRIPTION_BYTES: usize = 512;
/// Most nodes of the subscription tree that the search for one topic looks at. A filter with `+` where another spells the
/// level out makes two ways of one, so that some thousand deep filters could take seconds for every message.
pub const SEARCH_NODES_MAX: usize = 4_096;
/// Nodes of a search that cost its publisher as much as a message.
pub const SEARCH_NODES_OF_A_MESSAGE: usize = 64;
/// Most topics of a tenant that hold a retained message.
pub const RETAINED_MESSAGES_MAX: usize = 1_000_000;
/// Most bytes of a tenant's retained messages: topics, payloads, properties and our own furniture around them.
pub const RETAINED_BYTES_MAX: usize = 256 * 1024 * 1024;
/// What a retained message costs beyond its topic, payload and properties: its tree entry and its counters, rounded up.
pub const RETAINED_FURNITURE_BYTES: usize = 256;
/// Most deliveries (or retained messages looked at) in one call of the router.
pub const FANOUT_SLICE_MAX: usize = 256;
/// Retained messages that a subscriber is given at once; the rest when it has put these out.
pub const REPLAY_MESSAGES_MAX: usize = 1_024;
/// Bytes of topic and payload of these, after which it is given no more; one message more may be.
pub const REPLAY_BYTES_MAX: usize = 256 * 1024;
/// Share of a slice that is kept for retained replays while publishes wait, so that neither starves.
pub const REPLAY_SHARE_DIVISOR: usize = 4;
/// Most inputs that wait behind an unfinished fan-out.
pub const QUEUED_INPUTS_MAX: usize = 65_536;
/// Most bytes of topics and payloads that wait behind an unfinished fan-out.
pub const QUEUED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Most records given to the log that are not yet on disk.
pub const UNCOMMITTED_RECORDS_MAX: usize = 65_536;
/// Most bytes of replaced retained messages that are kept until what replaced them is on disk.
/// One message more may be kept, for the size of the last is not asked beforehand.
pub const UNDO_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Most bytes of wills that a tenant's clients have left with the router, counted as retained messages are.
pub const WILL_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Most durable sessions of a tenant.
pub const DURABLE_SESSIONS_MAX: usize = 100_000;
/// Longest that a session outlives its connection, in seconds: thirty days. Who asks for longer gets this.
pub const SESSION_EXPIRY_S_MAX: u32 = 30 * 24 * 3_600;
/// Messages that one member of shares has not acknowledged, without a durable session; at the bound the others are asked
/// first.
pub const SHARED_FLIGHTS_MAX: usize = 256;
/// Runs of sequences that a durable session lists; beyond it the log is searched.
pub const QUEUE_RUNS_MAX: usize = 256;
/// Deliveries of one durable session that are on their way to its client.
pub const FLIGHTS_MAX: usize = 1_024;
/// Bytes of topic and payload on their way to the client of one durable session; one message more may be.
pub const FLIGHT_BYTES_MAX: usize = 1024 * 1024;
/// Records that a durable session asks the log for at once.
pub const READ_RECORDS_MAX: usize = 128;
/// Newest records kept in memory for durable sessions that are a little behind.
pub const TAIL_RECORDS_MAX: usize = 1_024;
/// Bytes of topic and payload of those.
pub const TAIL_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How old the queue row of a durable session may grow, in milliseconds: what was acknowledged within it comes again
/// after a crash at QoS 1.
pub const FLUSH_INTERVAL_MS: u64 = 1_000;
/// Records after which the checkpoint moves, also if no session wanted one of them: the log keeps what is above it.
pub const CHECKPOINT_RECORDS_MAX: u64 = 1_024;
/// Queue rows that one flush writes.
pub const FLUSH_SESSIONS_MAX: usize = 1_024;
/// Pieces of the log in which the bytes of one principal that durable sessions have yet to get are counted: by so much of
/// its quota, at most, more is counted than is there.
pub const HELD_PIECES_MAX: usize = 16;
/// How often it is asked what durable sessions still need when principals are at their quota, in milliseconds.
pub const HELD_LOOK_MS: u64 = 100;
/// Principals with bytes of the log at which those that hold nothing any more are looked for first.
pub const HELD_PRINCIPALS_SWEEP_MIN: usize = 1_024;
/// What a record of the log counts for beyond its topic and payload, in bytes.
pub const HELD_FURNITURE_BYTES: usize = 64;
/// Topics of a publisher whose matches are remembered; with more in turn they are looked up each time.
pub const RECENT_TOPICS_MAX: usize = 4;
/// Longest of those topics, in bytes. A longer one is looked up each time.
pub const RECENT_TOPIC_BYTES_MAX: usize = 256;
/// Most subscriptions that match one of them. With more it is looked up each time.
pub const RECENT_MATCHES_MAX: usize = 8;
/// A node of the subscription tree keeps up to this many children in a plain list, and more in a map.
pub const FEW_CHILDREN_MAX: usize = 8;

const _: () =
    assert!(SUBSCRIPTIONS_PER_SUBSCRIBER_MAX <= SUBSCRIPTIONS_MAX, "one subscriber fits its tenant");
const _: () = assert!(FANOUT_SLICE_MAX >= 2 * REPLAY_SHARE_DIVISOR, "a share of a slice is not nothing");
const _: () = assert!(
    RETAINED_MESSAGES_MAX * RETAINED_FURNITURE_BYTES <= RETAINED_BYTES_MAX,
    "the furniture alone never reaches the bound in bytes before the bound in count"
);

/// What one principal may have in the router, over all of its sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrincipalLimits {
    /// At the bound a new filter is refused, an existing one may change.
    pub subscriptions_max: usize,
    /// At the bound a publish that would retain on another topic, or on one that is not its own, is refused.
    pub retained_messages_max: usize,
    /// At the bound a publish that would retain more bytes is refused.
    pub retained_bytes_max: usize,
    /// At the bound a CONNECT that begins a session which outlives its connection is refused.
    pub durable_sessions_max: usize,
    /// Bytes of its messages that durable sessions have yet to get. At the bound a publish that one of them wants is
    /// refused.
    pub log_bytes_max: u64,
    /// At the bound a CONNECT with a will is refused.
    pub will_bytes_max: usize,
}

impl Default for PrincipalLimits {
    fn default() -> Self {
        Self {
            subscriptions_max: SUBSCRIPTIONS_MAX,
            retained_messages_max: RETAINED_MESSAGES_MAX,
            retained_bytes_max: RETAINED_BYTES_MAX,
            durable_sessions_max: DURABLE_SESSIONS_MAX,
            log_bytes_max: u64::MAX,
            will_bytes_max: WILL_BYTES_MAX,
        }
    }
}

/// Whether it is a thing in the field, of which there are many, and not somebody who looks after them.
pub fn is_device(kind: Kind) -> bool {
    matches!(kind, Kind::Device | Kind::Relay)
}

/// The bounds of one router; a tenant may be given smaller ones than the defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// See [`SUBSCRIPTIONS_PER_SUBSCRIBER_MAX`]; at the bound a new filter is refused, an existing one may change.
    pub subscriptions_per_subscriber_max: usize,
    /// See [`SUBSCRIPTIONS_MAX`]; at the bound a new filter is refused.
    pub subscriptions_max: usize,
    /// See [`RETAINED_MESSAGES_MAX`]; at the bound a publish that would retain on another topic is refused.
    pub retained_messages_max: usize,
    /// See [`RETAINED_BYTES_MAX`]; at the bound a publish that would retain more bytes is refused.
    pub retained_bytes_max: usize,
    /// See [`FANOUT_SLICE_MAX`]; at the bound the router asks to be called again. At least 1.
    pub fanout_slice_max: usize,
    /// See [`QUEUED_INPUTS_MAX`]; at the bound publishes and subscribes are refused.
    pub queued_inputs_max: usize,
    /// See [`QUEUED_BYTES_MAX`]; at the bound publishes are refused.
    pub queued_bytes_max: usize,
    /// See [`UNCOMMITTED_RECORDS_MAX`]; at the bound a publish that needs the log is refused.
    pub uncommitted_records_max: usize,
    /// See [`UNDO_BYTES_MAX`]; at the bound a publish that needs the log is refused.
    pub undo_bytes_max: usize,
    /// See [`DURABLE_SESSIONS_MAX`]; at the bound a CONNECT that begins one is refused.
    pub durable_sessions_max: usize,
    /// See [`WILL_BYTES_MAX`]; at the bound a CONNECT with a will is refused.
    pub will_bytes_max: usize,
    /// See [`SESSION_EXPIRY_S_MAX`].
    pub session_expiry_s_max: u32,
    /// See [`QUEUE_RUNS_MAX`].
    pub queue_runs_max: usize,
    /// See [`FLIGHTS_MAX`]; at the bound messages wait on the log.
    pub flights_max: usize,
    /// See [`FLIGHT_BYTES_MAX`]; at the bound messages wait on the log.
    pub flight_bytes_max: usize,
    /// See [`READ_RECORDS_MAX`].
    pub read_records_max: usize,
    /// See [`TAIL_RECORDS_MAX`]; at the bound the oldest go.
    pub tail_records_max: usize,
    /// See [`TAIL_BYTES_MAX`]; at the bound the oldest go.
    pub tail_bytes_max: usize,
    /// What each device and relay may have.
    pub device: PrincipalLimits,
    /// What every other principal may have.
    pub app: PrincipalLimits,
}

impl Limits {
    /// What one principal of this kind may have.
    pub fn of(&self, kind: Kind) -> &PrincipalLimits {
        if is_device(kind) { &self.device } else { &self.app }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            subscriptions_per_subscriber_max: SUBSCRIPTIONS_PER_SUBSCRIBER_MAX,
            subscriptions_max: SUBSCRIPTIONS_MAX,
            retained_messages_max: RETAINED_MESSAGES_MAX,
            retained_bytes_max: RETAINED_BYTES_MAX,
            fanout_slice_max: FANOUT_SLICE_MAX,
            queued_inputs_max: QUEUED_INPUTS_MAX,
            queued_bytes_max: QUEUED_BYTES_MAX,
            uncommitted_records_max: UNCOMMITTED_RECORDS_MAX,
            undo_bytes_max: UNDO_BYTES_MAX,
            durable_sessions_max: DURABLE_SESSIONS_MAX,
            will_bytes_max: WILL_BYTES_MAX,
            session_expiry_s_max: SESSION_EXPIRY_S_MAX,
            queue_runs_max: QUEUE_RUNS_MAX,
            flights_max: FLIGHTS_MAX,
            flight_bytes_max: FLIGHT_BYTES_MAX,
            read_records_max: READ_RECORDS_MAX,
            tail_records_max: TAIL_RECORDS_MAX,
            tail_bytes_max: TAIL_BYTES_MAX,
            device: PrincipalLimits::default(),
            app: PrincipalLimits::default(),
        }
    }
}
