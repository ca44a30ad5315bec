//! What looks at the messages of one session of a device.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use bytes::Bytes;
use muster_actors::SharedClock;
use muster_broker::{Partly, ReasonCode, Screen, Unfit, Verdict};
use muster_schemas::{DeviceId, Message};
use muster_screen::{Class, Outcome, screen};

use super::{
    Device, Tenant, letter,
    limits::{LETTER_WINDOW_MS, LETTERS_PER_WINDOW_MAX},
    lock,
};

/// The door of one session.
pub(super) struct Door {
    id: DeviceId,
    /// What the topics of its telemetry begin with.
    prefix: String,
    tenant: Arc<Tenant>,
    device: Arc<Device>,
    clock: SharedClock,
}

impl Door {
    pub(super) fn new(id: DeviceId, tenant: Arc<Tenant>, device: Arc<Device>, clock: SharedClock) -> Self {
        let prefix = format!("devices/{id}/telemetry/");
        Self { id, prefix, tenant, device, clock }
    }

    fn judge(&self, stream: &str, payload: &[u8], unix_ms: u64) -> Outcome {
        // Milliseconds of this millennium are far below 2^53.
        #[expect(clippy::cast_precision_loss, reason = "see above")]
        let received_s = unix_ms as f64 / 1_000.0;
        let rules = self.tenant.rules.load();
        let mut series = lock(&self.device.series);
        let before = series.len() as u64;
        let bound = (self.tenant.series.load(Relaxed), self.tenant.bounds);
        let outcome = screen(&rules, &mut series, stream, payload, received_s, bound);
        match series.len() as u64 {
            after if after > before => drop(self.tenant.series.fetch_add(after - before, Relaxed)),
            after if after < before => drop(self.tenant.series.fetch_sub(before - after, Relaxed)),
            _ => {}
        }
        outcome
    }

    /// What a message is, if it is this device's telemetry and not fit, and when it was looked at. What is published
    /// elsewhere is not telemetry, and an empty retained message only clears the topic.
    fn fault_of(&self, message: &Message) -> Option<(Outcome, u64)> {
        let stream = message.topic.as_str().strip_prefix(self.prefix.as_str());
        let stream = stream.filter(|stream| !stream.contains('/'))?;
        if message.retain && message.payload.is_empty() {
            return None;
        }
        let unix_ms = self.clock.unix_ms();
        let outcome = self.judge(stream, &message.payload, unix_ms);
        (outcome != Outcome::Fit).then_some((outcome, unix_ms))
    }

    /// `counts` are the readings that are refused, and taken.
    fn refused(&self, message: &Message, outcome: &Outcome, counts: (usize, usize), unix_ms: u64) -> Unfit {
        let code = match outcome.class() {
            Some(Class::Quota) => ReasonCode::QuotaExceeded,
            _ => ReasonCode::PayloadFormatInvalid,
        };
        let reason = outcome.reason().unwrap_or_default();
        let sequence = self.tenant.letters.fetch_add(1, Relaxed) + 1;
        let has_share = {
            let mut window = lock(&self.device.letters);
            if unix_ms.saturating_sub(window.0) >= LETTER_WINDOW_MS {
                *window = (unix_ms, 0);
            }
            window.1 = window.1.saturating_add(1);
            window.1 <= LETTERS_PER_WINDOW_MAX
        };
        let letter = has_share
            .then(|| letter::about((sequence, unix_ms), &self.id, message, (outcome, counts), reason.clone()))
            .flatten();
        Unfit { code, reason, letter }
    }
}

impl Screen for Door {
    fn screen(&mut self, message: &Message) -> Verdict {
        self.device.messages.fetch_add(1, Relaxed);
        let Some((outcome, unix_ms)) = self.fault_of(message) else { return Verdict::Fit };
        let refused = self.refused(message, &outcome, outcome.counts(), unix_ms);
        match outcome {
            Outcome::Partly { payload, .. } => {
                Verdict::Partly(Box::new(Partly { payload: Bytes::from(payload), refused }))
            }
            _ => Verdict::Unfit(Box::new(refused)),
        }
    }

    fn screen_will(&mut self, message: &Message) -> Result<(), Box<Unfit>> {
        let Some((outcome, unix_ms)) = self.fault_of(message) else { return Ok(()) };
        // Of a will nothing is taken unless all is: its times are told from when it will be published.
        let (refused, taken) = outcome.counts();
        Err(Box::new(self.refused(message, &outcome, (refused + taken, 0), unix_ms)))
    }
}
