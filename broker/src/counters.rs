//! What the bus counts, for metrics. Not for decisions: nothing reads a counter to choose what to do.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// One number that only grows, or a gauge that both ways move. Cheap to share between threads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// Takes `n` away, for gauges.
    pub fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Relaxed);
    }

    /// Sets a gauge.
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// The value now.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

macro_rules! counters {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $metric:literal, $kind:literal;)* }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: Counter,)*
        }

        impl $name {
            /// Every number with its Prometheus name and type, in a fixed order.
            pub fn samples(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$(($metric, $kind, self.$field.value()),)*]
            }
        }
    };
}

counters! {
    /// What the listeners count, before a tenant is known.
    ListenerCounters {
        /// TCP connections accepted.
        accepted: "muster_connections_accepted_total", "counter";
        /// Connections open now, handshakes included.
        open: "muster_connections_open", "gauge";
        /// Connections closed at once because the listener was full.
        refused_full: "muster_connections_refused_full_total", "counter";
        /// TLS handshakes that did not complete.
        handshakes_failed: "muster_tls_handshakes_failed_total", "counter";
        /// Peers whose certificate was good but whom the registry or their tenant did not let in.
        not_admitted: "muster_connections_not_admitted_total", "counter";
    }
}

counters! {
    /// What one tenant's sessions and router count.
    TenantCounters {
        /// Sessions open now.
        sessions: "muster_sessions", "gauge";
        /// Sessions that ended in a panic of ours.
        sessions_panicked: "muster_sessions_panicked_total", "counter";
        /// Packets of every type received.
        packets_received: "muster_packets_received_total", "counter";
        /// Packets of every type handed to clients' sockets.
        packets_sent: "muster_packets_sent_total", "counter";
        /// Sessions without a connection that wait for their client.
        sessions_waiting: "muster_sessions_waiting", "gauge";
        /// Sessions that waited for their client until their expiry.
        sessions_expired: "muster_sessions_expired_total", "counter";
        /// PUBLISH packets received.
        messages_received: "muster_messages_received_total", "counter";
        /// Bytes of payload in PUBLISH packets received.
        payload_bytes_received: "muster_payload_bytes_received_total", "counter";
        /// Bytes received, TLS taken off.
        bytes_received: "muster_bytes_received_total", "counter";
        /// Messages handed to subscribers' sessions.
        messages_delivered: "muster_messages_delivered_total", "counter";
        /// Bytes of payload in messages handed to subscribers' sessions.
        payload_bytes_delivered: "muster_payload_bytes_delivered_total", "counter";
        /// Bytes handed to subscribers' sockets, TLS not yet put on.
        bytes_sent: "muster_bytes_sent_total", "counter";
        /// Messages a slow subscriber missed (QoS 0 beyond its queue, or beyond its maximum packet size).
        messages_dropped: "muster_messages_dropped_total", "counter";
        /// Messages whose time was over before their subscriber could have them.
        messages_expired: "muster_messages_expired_total", "counter";
        /// Publishes and subscriptions that were refused.
        refused: "muster_requests_refused_total", "counter";
        /// Messages that were refused, or of which a part was, for what is in them.
        unfit: "muster_messages_unfit_total", "counter";
        /// Sessions that are in quarantine now: let in, and yet to attest.
        quarantined: "muster_sessions_quarantined", "gauge";
        /// Times that a session attested.
        attested: "muster_sessions_attested_total", "counter";
        /// Sessions that were to attest and did not, or not well.
        unattested: "muster_sessions_unattested_total", "counter";
        /// Connections refused at a quota of connections.
        quota_connections: "muster_quota_connections_refused_total", "counter";
        /// Reads put off because a principal or the tenant was ahead of its rate of messages.
        quota_messages: "muster_quota_messages_throttled_total", "counter";
        /// Reads put off because a principal or the tenant was ahead of its rate of bytes.
        quota_bytes: "muster_quota_bytes_throttled_total", "counter";
        /// How long these reads were put off, together.
        throttled_ms: "muster_throttled_milliseconds_total", "counter";
        /// Subscriptions refused at a quota of subscriptions.
        quota_subscriptions: "muster_quota_subscriptions_refused_total", "counter";
        /// Publishes refused at a quota of retained messages.
        quota_retained_messages: "muster_quota_retained_messages_refused_total", "counter";
        /// Publishes refused at a quota of bytes of retained messages.
        quota_retained_bytes: "muster_quota_retained_bytes_refused_total", "counter";
        /// CONNECTs refused at a quota of sessions that outlive their connection.
        quota_durable_sessions: "muster_quota_durable_sessions_refused_total", "counter";
        /// Publishes refused at a principal's quota of bytes on the log.
        quota_log_bytes: "muster_quota_log_bytes_refused_total", "counter";
        /// CONNECTs refused at a quota of bytes of wills.
        quota_will_bytes: "muster_quota_will_bytes_refused_total", "counter";
        /// Connections closed because their delivery queue was full.
        quota_queue: "muster_quota_queue_closed_total", "counter";
        /// Messages that durable sessions did not get because retention had taken them, at most.
        messages_missed: "muster_messages_missed_total", "counter";
        /// Bytes of the log that durable sessions keep from being trimmed.
        log_held_bytes: "muster_log_held_bytes", "gauge";
        /// Packets that broke the protocol.
        malformed: "muster_protocol_errors_total", "counter";
        /// Records appended to the tenant log.
        log_appended: "muster_log_records_total", "counter";
        /// Commits of the tenant log that failed.
        log_failed: "muster_log_commit_failures_total", "counter";
        /// Times the router was restarted.
        router_restarts: "muster_router_restarts_total", "counter";
        /// 1 if the tenant is parked after repeated failures, else 0.
        parked: "muster_tenant_parked", "gauge";
    }
}
