//! A broker of one client that says yes to everything, and delivers to that client what it publishes itself.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use muster_mqtt::{
    Admission, AuthenticationOutcome, CloseReason, Connection, Delivery, Effects, Input, PacketLimits,
    PublishOutcome, ReasonCode, Request, SessionOptions, SubscriptionRequest, Version,
};
use muster_schemas::{TopicFilter, TopicName};

pub struct Stub {
    connection: Connection,
    now: Instant,
    effects: Effects,
    subscriptions: Vec<SubscriptionRequest>,
    closed: Option<CloseReason>,
}

impl Stub {
    #[expect(clippy::disallowed_methods, reason = "an Instant to count from; its value never matters")]
    pub fn new() -> Self {
        let now = Instant::now();
        Self {
            connection: Connection::new(PacketLimits::default(), SessionOptions::default(), now),
            now,
            effects: Effects::default(),
            subscriptions: Vec::new(),
            closed: None,
        }
    }

    pub fn wait_ms(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        self.handle(Input::DeadlineReached);
    }

    /// Sends bytes and returns the answer to them, and to what happened since the last call.
    pub fn send(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.connection.receive(self.now, bytes, &mut self.effects);
        self.settle();
        let answer = self.effects.outgoing.take_chunks().concat();
        self.handle(Input::OutgoingDrained { bytes_left: 0 });
        answer
    }

    pub fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    pub fn close_reason(&self) -> Option<&CloseReason> {
        self.closed.as_ref()
    }

    pub fn version(&self) -> Version {
        self.connection.session().version()
    }

    pub fn buffered_bytes(&mut self) -> usize {
        self.connection.buffered_bytes()
    }

    fn handle(&mut self, input: Input) {
        self.connection.handle(self.now, input, &mut self.effects);
        self.settle();
    }

    fn settle(&mut self) {
        while !self.effects.requests.is_empty() {
            for request in std::mem::take(&mut self.effects.requests) {
                for input in self.answer(request) {
                    self.connection.handle(self.now, input, &mut self.effects);
                }
            }
        }
    }

    fn answer(&mut self, request: Request) -> Vec<Input> {
        match request {
            Request::Admit(admit) => {
                let assigned = admit.client_id.is_none();
                let client_id = admit.client_id.unwrap_or_else(|| "assigned-1".parse().expect("valid"));
                // As the hub: a session outlives its connection by what was asked for, and by thirty days at most.
                let session_expiry_s = Some(admit.session_expiry_s.min(30 * 24 * 3_600));
                let admission =
                    Admission { assigned_client_id: assigned, session_expiry_s, ..Admission::new(client_id) };
                vec![Input::Admitted(admission)]
            }
            Request::Publish { packet_id, message } => {
                let message = Arc::new(message);
                let mut inputs = Vec::new();
                for subscription in self.subscriptions.iter().filter(|s| matches(&s.filter, &message.topic)) {
                    if !subscription.options.no_local {
                        let qos = message.qos.min(subscription.options.qos);
                        inputs.push(Input::Deliver(Delivery {
                            retain: message.retain && subscription.options.retain_as_published,
                            subscription_ids: subscription.subscription_id.into_iter().collect(),
                            ..Delivery::new(Arc::clone(&message), qos)
                        }));
                    }
                }
                let outcome = PublishOutcome::Routed { matched: !inputs.is_empty() };
                inputs.insert(0, Input::Published { packet_id, outcome });
                inputs
            }
            Request::Subscribe { packet_id, filters } => {
                let outcomes = filters.iter().map(|filter| Ok(filter.options.qos)).collect();
                self.subscriptions.extend(filters);
                vec![Input::Subscribed { packet_id, outcomes, reason: None }]
            }
            Request::Unsubscribe { packet_id, filters } => {
                let outcomes = filters
                    .iter()
                    .map(|filter| {
                        let before = self.subscriptions.len();
                        self.subscriptions.retain(|subscription| subscription.filter != *filter);
                        let existed = self.subscriptions.len() < before;
                        if existed { ReasonCode::Success } else { ReasonCode::NoSubscriptionExisted }
                    })
                    .collect();
                vec![Input::Unsubscribed { packet_id, outcomes }]
            }
            Request::Authenticate { .. } => {
                let reason = Some("nobody is known here".to_owned());
                let code = ReasonCode::NotAuthorized;
                vec![Input::Authenticated(AuthenticationOutcome::Refused { code, reason })]
            }
            Request::Complete { .. } => Vec::new(),
            Request::Bind { packet_id, .. } => vec![Input::Bound(packet_id)],
            Request::Release { packet_id, tag } => vec![Input::Released { packet_id, tag }],
            Request::Forget { packet_id } => vec![Input::Forgotten(packet_id)],
            Request::Close(closing) => {
                assert!(self.closed.replace(closing.reason).is_none(), "a session closes once");
                Vec::new()
            }
        }
    }
}

/// Whether a filter asks for a topic; the only member of a shared subscription gets everything.
fn matches(filter: &TopicFilter, topic: &TopicName) -> bool {
    let shared = filter.as_str().strip_prefix("$share/").and_then(|rest| rest.split_once('/'));
    let own = shared.map(|(_, filter)| filter.parse::<TopicFilter>().expect("valid"));
    own.as_ref().unwrap_or(filter).matches(topic)
}
