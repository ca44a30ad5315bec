//! The actor of the uplink: it opens sessions, hands them readings, and tells what became of each.

use std::{path::PathBuf, rc::Rc, sync::Arc};

use actix::{Actor, AsyncContext, Context, Handler, Message};
use muster_actors::{DeadlineReached, SharedClock, WakeUp};
use muster_schemas::{DeviceId, TenantId};
use muster_tpm::device::TpmThread;
use rustls::ClientConfig;
use tokio::sync::Notify;
use tracing::{debug, error, info, warn};

use super::{
    core::{Cause, Core, Effect, Input, PubackVerdict},
    sealing::Sealing,
    session::{News, Opening, Session, SessionEvent},
};
use crate::{
    enrolment::SessionReport,
    firmware::{FirmwareSaid, Inbox},
    hub::Hub,
    line::Line,
    recovery::Recovery,
    sensors::{Reading, Said, SessionOpened},
};

/// TLS presents another certificate than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateChanged {
    /// Its number, counted from 1.
    pub generation: u64,
    /// Whose device it says this is.
    pub tenant: Option<TenantId>,
    /// Where the hub wants this device to speak MQTT; empty means where it enrolled.
    pub mqtt_endpoint: String,
}

impl Message for CertificateChanged {
    type Result = ();
}

/// The program ends.
#[derive(Debug, Clone, Copy)]
pub struct Finish;

impl Message for Finish {
    type Result = ();
}

/// What an uplink works with.
#[derive(Clone)]
pub struct UplinkParts {
    /// This device.
    pub device: DeviceId,
    /// Where the hub is, unless it says otherwise.
    pub hub: Hub,
    /// How to speak TLS.
    pub config: Arc<ClientConfig>,
    /// The keys, for sessions that have to attest.
    pub tpm: TpmThread,
    /// The way back, where keys are bound to firmware.
    pub recovery: Option<Arc<Recovery>>,
    /// Whom readings are sealed to.
    pub sealing: Sealing,
    /// Where the relay's socket may be.
    pub runtime: PathBuf,
    /// The time.
    pub clock: SharedClock,
    /// Who cares for the certificate.
    pub enrolment: Line<SessionReport>,
    /// Who tells the labels at each session.
    pub sensors: Line<SessionOpened>,
    /// Told when everything is sent and closed after [`Finish`].
    pub finished: Rc<Notify>,
    /// Who installs firmware, if anybody does.
    pub firmware: Option<Arc<Inbox>>,
}

/// The uplink. A restart loses the readings that were not acknowledged; the next ones come.
pub struct Uplink {
    parts: UplinkParts,
    core: Core,
    effects: Vec<Effect>,
    wake_up: WakeUp,
    session: Option<Session>,
    /// The session that is open, for those who count them.
    opened: Option<u64>,
    mqtt_endpoint: String,
    tenant: Option<TenantId>,
}

impl Uplink {
    /// With these parts, and a core that has nothing to send yet.
    #[must_use]
    pub fn new(parts: UplinkParts, core: Core) -> Self {
        Self {
            parts,
            core,
            effects: Vec::new(),
            wake_up: WakeUp::new(),
            session: None,
            opened: None,
            mqtt_endpoint: String::new(),
            tenant: None,
        }
    }

    fn feed(&mut self, input: Input, ctx: &mut Context<Self>) {
        self.core.handle(self.parts.clock.now(), input, &mut self.effects);
        for effect in std::mem::take(&mut self.effects) {
            self.carry_out(effect, ctx);
        }
        self.wake_up.arm(ctx, self.core.next_deadline());
    }

    fn carry_out(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        match effect {
            Effect::Connect { session, .. } => self.connect(session, ctx),
            Effect::Publish(mut reading) => {
                // What came before the first certificate is sealed now. What cannot be must not leave.
                if let Err(error) =
                    self.parts.sealing.apply(self.tenant.as_ref(), &self.parts.device, &mut reading)
                {
                    error!(%error, stream = reading.stream, "a reading stays here, and this session ends");
                    self.session = None;
                    return;
                }
                let published = self.session.as_ref().map(|session| session.publish(&reading));
                if let Some(Err(error)) = published {
                    // The session is over and will say so; the reading then waits for the next one.
                    debug!(%error, "a reading was not handed over");
                }
            }
            Effect::Disconnect => {
                if let Some(Err(error)) = self.session.as_ref().map(Session::disconnect) {
                    debug!(%error, "the session was over already");
                }
            }
            Effect::Abandon => {
                self.session = None;
                self.tell_disconnected();
            }
            Effect::TellOpened { generation } => {
                info!(device = %self.parts.device, "connected");
                self.parts.enrolment.say(SessionReport::Opened { generation });
                self.parts.sensors.say(SessionOpened);
                if let Some(inbox) = &self.parts.firmware {
                    inbox.connected(self.tenant.clone());
                }
            }
            Effect::TellSent(reading) => tell("published", &reading),
            Effect::TellStored(reading) => {
                self.tell_heard(&reading);
                tell("acknowledged", &reading);
            }
            Effect::TellRejected(reading) => {
                // The hub has answered, and will never answer otherwise: an update does not wait for that.
                self.tell_heard(&reading);
                warn!(
                    stream = reading.stream,
                    time_s = reading.time_s(),
                    "the hub does not take a reading; it is dropped"
                );
            }
            Effect::TellDropped { total } => {
                warn!(total, "the spool is full; the oldest readings are dropped");
            }
            Effect::TellPause(pause) => debug!(pause_s = pause.as_secs_f64(), "the next session waits"),
            Effect::TellCertificateRefused { generation } => {
                self.parts.enrolment.say(SessionReport::CertificateRefused { generation });
            }
            Effect::Finished => self.parts.finished.notify_one(),
        }
    }

    fn connect(&mut self, session: u64, ctx: &mut Context<Self>) {
        let UplinkParts { device, mut hub, config, tpm, recovery, runtime, .. } = self.parts.clone();
        // Every second attempt goes where the configuration says, should the hub have been mistaken about itself.
        if !self.mqtt_endpoint.is_empty() && session % 2 == 1 {
            hub.address.clone_from(&self.mqtt_endpoint);
        }
        let firmware = self.parts.firmware.clone();
        let opening = Opening { session, hub, config, tpm, recovery, device, runtime, firmware };
        let events = ctx.address().recipient();
        match Session::open(opening, events.clone()) {
            Ok(opened) => self.session = Some(opened),
            Err(error) => {
                let detail = format!("failed to open a socket for the relay: {error}");
                events.do_send(SessionEvent { session, news: News::Closed { cause: Cause::Lost, detail } });
            }
        }
    }
}

impl Uplink {
    fn tell_heard(&self, reading: &Reading) {
        if let (Some(inbox), Some(ticket)) = (&self.parts.firmware, reading.firmware_ticket()) {
            inbox.heard(ticket);
        }
    }

    fn tell_disconnected(&mut self) {
        self.opened = None;
        if let Some(inbox) = &self.parts.firmware {
            inbox.disconnected();
        }
    }
}

fn tell(what: &'static str, reading: &Reading) {
    let (stream, time_s, records) = (reading.stream, reading.time_s(), reading.records);
    debug!(stream, time_s, records, "{what}");
}

impl Actor for Uplink {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        self.parts.enrolment.say(SessionReport::UplinkStarted);
        // The one before may have gone without a word.
        self.tell_disconnected();
    }
}

impl Handler<Said> for Uplink {
    type Result = ();

    fn handle(&mut self, Said(mut reading): Said, ctx: &mut Context<Self>) {
        // Here and not at its publication, so that what is sent again is the same message.
        if self.tenant.is_some()
            && let Err(error) =
                self.parts.sealing.apply(self.tenant.as_ref(), &self.parts.device, &mut reading)
        {
            error!(%error, stream = reading.stream, "a reading is dropped");
            return;
        }
        self.feed(Input::Reading(reading), ctx);
    }
}

impl Handler<FirmwareSaid> for Uplink {
    type Result = ();

    fn handle(&mut self, said: FirmwareSaid, ctx: &mut Context<Self>) {
        match said {
            FirmwareSaid::Ask(get) => {
                let asked = self.session.as_ref().map(|session| session.ask(get));
                if let Some(Err(error)) = asked {
                    debug!(%error, "blocks of firmware are not asked for now");
                }
            }
            FirmwareSaid::Say { ticket, payload } => {
                self.feed(Input::Reading(Reading::of_firmware(ticket, payload)), ctx);
            }
        }
    }
}

impl Handler<CertificateChanged> for Uplink {
    type Result = ();

    fn handle(&mut self, changed: CertificateChanged, ctx: &mut Context<Self>) {
        self.mqtt_endpoint = changed.mqtt_endpoint;
        self.tenant = changed.tenant;
        self.feed(Input::CertificateChanged { generation: changed.generation }, ctx);
    }
}

impl Handler<SessionEvent> for Uplink {
    type Result = ();

    fn handle(&mut self, SessionEvent { session, news }: SessionEvent, ctx: &mut Context<Self>) {
        let input = match news {
            News::Opened { window } => {
                self.opened = Some(session);
                Input::Opened { session, window }
            }
            News::Quarantined { seconds } => {
                info!(device = %self.parts.device, seconds, "quarantined; the hub wants this session to attest");
                return;
            }
            News::Sent { packet } => Input::Sent { session, packet },
            News::Answered { packet, verdict, reason } => {
                if verdict != PubackVerdict::Stored {
                    warn!(packet, reason, "the hub does not acknowledge a reading");
                }
                Input::Answered { session, packet, verdict }
            }
            News::Closed { cause, detail } => {
                info!(device = %self.parts.device, detail, "disconnected");
                if self.opened == Some(session) {
                    self.tell_disconnected();
                }
                Input::Closed { session, cause }
            }
        };
        self.feed(input, ctx);
    }
}

impl Handler<Finish> for Uplink {
    type Result = ();

    fn handle(&mut self, _: Finish, ctx: &mut Context<Self>) {
        self.feed(Input::Finish, ctx);
    }
}

impl Handler<DeadlineReached> for Uplink {
    type Result = ();

    fn handle(&mut self, _: DeadlineReached, ctx: &mut Context<Self>) {
        self.feed(Input::DeadlineReached, ctx);
    }
}
