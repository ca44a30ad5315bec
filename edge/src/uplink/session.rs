//! One MQTT session from its connection to its end: a client of its own, a relay of its own. What rumqttc tells becomes
//! events for the uplink; what it means is the core's.

use std::{io, path::PathBuf, sync::Arc};

use actix::{Message, Recipient};
use bytes::Bytes;
use muster_schemas::{
    DeviceId,
    attest::{ANSWER_TOPIC, CHALLENGE_TOPIC, Outcome, QUARANTINE_PROPERTY, REQUEST_TOPIC, RESULT_TOPIC},
    firmware::UpdateTopic,
    limits::UPDATE_MESSAGE_BYTES_MAX,
    senml::Encoding,
};
use muster_seal::is_sealed;
use muster_tpm::device::TpmThread;
use rumqttc::{
    Outgoing, Transport,
    v5::{
        AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, StateError,
        mqttbytes::{
            QoS,
            v5::{
                ConnAck, ConnectReturnCode, DisconnectReasonCode, Filter, Packet, PubAck, PubAckReason,
                Publish, PublishProperties, SubscribeReasonCode,
            },
        },
    },
};
use rustls::ClientConfig;
use tokio::{pin, task::AbortHandle, time::timeout};
use tracing::{debug, warn};

use super::{
    attester::{AttestError, Attester},
    core::{Cause, PubackVerdict},
};
use crate::{
    firmware::Inbox,
    hub::{Hub, Loss},
    limits::{
        CONNACK_TIME_MAX, FIRMWARE_REQUESTS_MAX, IN_FLIGHT_READINGS_MAX, KEEP_ALIVE, LAST_WORDS_TIME_MAX,
    },
    recovery::Recovery,
    relay::{Relay, carry},
    sensors::Reading,
};

/// Requests that may wait for the client: a full window and a good-bye.
const REQUESTS_MAX: usize = IN_FLIGHT_READINGS_MAX as usize + 1;
/// With firmware, beside them: a subscription, and requests for blocks.
const FIRMWARE_REQUESTS: usize = FIRMWARE_REQUESTS_MAX + 1;
/// Largest packet that the hub may send with firmware: the longest announcement, its topic and its properties.
const FIRMWARE_PACKET_BYTES_MAX: u32 = UPDATE_MESSAGE_BYTES_MAX as u32 + 1_024;

/// `COSE_Encrypt` (RFC 9052 §10).
const SEALED_MEDIA_TYPE: &str = "application/cose; cose-type=\"cose-encrypt\"";

/// What a session tells. There are at most two for each reading of the window, and two more.
#[derive(Debug)]
pub struct SessionEvent {
    /// Which session.
    pub session: u64,
    /// What happened.
    pub news: News,
}

impl Message for SessionEvent {
    type Result = ();
}

/// What happened to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// CONNACK.
    Opened {
        /// How many unacknowledged readings the hub takes.
        window: u16,
    },
    /// CONNACK, and the hub wants to see an attestation before anything else. `Opened` follows when it has.
    Quarantined {
        /// How long it waits for that.
        seconds: String,
    },
    /// The next of the readings that were published went out.
    Sent {
        /// Its packet identifier.
        packet: u16,
    },
    /// PUBACK.
    Answered {
        /// Its packet identifier.
        packet: u16,
        /// What it says.
        verdict: PubackVerdict,
        /// The hub's words, if it used any.
        reason: Option<String>,
    },
    /// It is over.
    Closed {
        /// What follows from it.
        cause: Cause,
        /// What happened, for people.
        detail: String,
    },
}

/// The client took nothing: its session is over, or its queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("hand something to the session: it is over, or more than the window is under way")]
pub struct NotTaken;

/// What a session is opened with.
#[derive(Debug, Clone)]
pub struct Opening {
    /// Its number.
    pub session: u64,
    /// Where to.
    pub hub: Hub,
    /// How to speak TLS.
    pub config: Arc<ClientConfig>,
    /// The keys, should the session have to attest.
    pub tpm: TpmThread,
    /// The way back, should our key not sign.
    pub recovery: Option<Arc<Recovery>>,
    /// Who we are: also the client identifier.
    pub device: DeviceId,
    /// Where the relay's socket may be.
    pub runtime: PathBuf,
    /// Who takes what comes about firmware, if anybody does.
    pub firmware: Option<Arc<Inbox>>,
}

/// An open session, or one that is being opened. Dropping it ends it without a good-bye.
pub struct Session {
    client: AsyncClient,
    device: DeviceId,
    task: AbortHandle,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Session {
    /// Starts a session on the runtime; what becomes of it is told to `events`.
    ///
    /// # Errors
    /// There is no place for the relay's socket.
    pub fn open(opening: Opening, events: Recipient<SessionEvent>) -> io::Result<Self> {
        let relay = Relay::open(&opening.runtime)?;
        let socket = relay.socket().to_str().ok_or_else(|| io::Error::other("its path is no text"))?;
        let mut options = MqttOptions::new(opening.device.as_str(), socket, 0);
        options
            .set_transport(Transport::unix())
            .set_clean_start(true)
            .set_keep_alive(KEEP_ALIVE)
            .set_connection_timeout(CONNACK_TIME_MAX.as_secs())
            .set_outgoing_inflight_upper_limit(IN_FLIGHT_READINGS_MAX);
        let mut requests_max = REQUESTS_MAX;
        if opening.firmware.is_some() {
            options.set_max_packet_size(Some(FIRMWARE_PACKET_BYTES_MAX));
            requests_max += FIRMWARE_REQUESTS;
        }
        let (client, eventloop) = AsyncClient::new(options, requests_max);
        let device = opening.device.clone();
        let speaker = client.clone();
        // On the runtime, not on the arbiter: the TPM signs during the handshake, and that blocks its thread.
        let task = tokio::spawn(Box::pin(async move {
            let session = opening.session;
            let (cause, detail) = run(&opening, relay, (speaker, eventloop), &events).await;
            events.do_send(SessionEvent { session, news: News::Closed { cause, detail } });
        }));
        Ok(Self { client, device, task: task.abort_handle() })
    }

    /// Publishes a reading with QoS 1.
    ///
    /// # Errors
    /// More than the window is under way, or the session is over.
    pub fn publish(&self, reading: &Reading) -> Result<(), NotTaken> {
        if reading.firmware_ticket().is_some() {
            let topic = reading.topic(&self.device);
            let published = self.client.try_publish(topic, QoS::AtLeastOnce, false, reading.payload.clone());
            return published.map_err(|_| NotTaken);
        }
        let (format, media_type) = if is_sealed(&reading.payload) {
            (0, SEALED_MEDIA_TYPE)
        } else {
            (1, Encoding::Json.media_type())
        };
        let properties = PublishProperties {
            payload_format_indicator: Some(format),
            content_type: Some(media_type.to_owned()),
            ..PublishProperties::default()
        };
        let topic = reading.topic(&self.device);
        self.client
            .try_publish_with_properties(topic, QoS::AtLeastOnce, false, reading.payload.clone(), properties)
            .map_err(|_| NotTaken)
    }

    /// Asks for blocks of firmware with QoS 0: what is lost is asked for again.
    ///
    /// # Errors
    /// More requests wait than there may, or the session is over.
    pub fn ask(&self, get: Bytes) -> Result<(), NotTaken> {
        let topic = UpdateTopic::Get.of(&self.device);
        self.client.try_publish(topic, QoS::AtMostOnce, false, get).map_err(|_| NotTaken)
    }

    /// Says good-bye after what was published.
    ///
    /// # Errors
    /// The session is over.
    pub fn disconnect(&self) -> Result<(), NotTaken> {
        self.client.try_disconnect().map_err(|_| NotTaken)
    }
}

/// From TCP to the end; gives why it ended.
async fn run(
    opening: &Opening,
    relay: Relay,
    client: (AsyncClient, EventLoop),
    events: &Recipient<SessionEvent>,
) -> (Cause, String) {
    let stream = match opening.hub.connect(Arc::clone(&opening.config)).await {
        Ok(stream) => stream,
        Err(loss) => {
            if let (Loss::Unsigned(_), Some(recovery)) = (&loss, &opening.recovery) {
                recovery.ask().await;
            }
            return of_loss(&loss);
        }
    };
    let attester = match Attester::of(opening.tpm.clone(), stream.get_ref().1) {
        Ok(attester) => attester,
        Err(error) => return (Cause::Lost, format!("failed to bind the session to its connection: {error}")),
    };
    let carrying = async {
        let client = relay.accept().await.map_err(Loss::Broken);
        match client {
            Ok(client) => carry(client, stream).await,
            Err(loss) => Some(loss),
        }
    };
    let driving = drive(opening, client, &attester, events);
    pin!(carrying, driving);
    // Neither is cut off by the other: what is between them still arrives.
    let (ended, loss) = tokio::select! {
        ended = &mut driving => {
            let loss = timeout(LAST_WORDS_TIME_MAX * 2, carrying).await;
            (ended, loss.unwrap_or(None))
        }
        loss = &mut carrying => (driving.await, loss),
    };
    match (ended, loss) {
        // TLS tells more than a client that only sees its socket close.
        (Ended::Broken(_), Some(loss)) => of_loss(&loss),
        (Ended::Broken(detail), None) => (Cause::Lost, detail),
        (Ended::Refused(detail), _) => (Cause::SessionRefused, detail),
        (Ended::Told(detail), _) => (Cause::Lost, detail),
        (Ended::GoodBye, _) => (Cause::Lost, "closed".to_owned()),
    }
}

fn of_loss(loss: &Loss) -> (Cause, String) {
    let cause = match loss {
        Loss::CertificateRefused(_) => Cause::CertificateRefused,
        _ => Cause::Lost,
    };
    (cause, format!("failed to {loss}"))
}

/// How the client saw the end.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// We said good-bye.
    GoodBye,
    /// The hub refused the session.
    Refused(String),
    /// The hub said why.
    Told(String),
    /// The connection broke.
    Broken(String),
}

/// What comes about firmware goes to whoever writes it, past the uplink: it has a bound of its own there.
struct Delivery<'a> {
    inbox: &'a Inbox,
    offer: String,
    /// How the topic of a block begins.
    blocks: String,
}

impl<'a> Delivery<'a> {
    fn of(opening: &'a Opening) -> Option<Self> {
        let inbox = opening.firmware.as_deref()?;
        let offer = UpdateTopic::Offer.of(&opening.device);
        let blocks = format!("devices/{}/firmware/block/", opening.device);
        Some(Self { inbox, offer, blocks })
    }

    fn filters(&self) -> [Filter; 2] {
        [
            Filter::new(self.offer.clone(), QoS::AtLeastOnce),
            Filter::new(format!("{}+", self.blocks), QoS::AtMostOnce),
        ]
    }

    /// Whether it was about firmware.
    fn takes(&self, publish: &Publish) -> bool {
        if publish.topic == self.offer.as_bytes() {
            self.inbox.offer(publish.payload.clone());
        } else if publish.topic.starts_with(self.blocks.as_bytes()) {
            self.inbox.block(publish.payload.clone());
        } else {
            return false;
        }
        true
    }
}

async fn drive(
    opening: &Opening,
    (client, mut eventloop): (AsyncClient, EventLoop),
    attester: &Attester,
    events: &Recipient<SessionEvent>,
) -> Ended {
    let session = opening.session;
    let delivery = Delivery::of(opening);
    let say = |news| {
        // Before anybody can ask for something.
        if let (News::Opened { .. }, Some(delivery)) = (&news, &delivery)
            && client.try_subscribe_many(delivery.filters()).is_err()
        {
            // It is the first thing that this client is asked for, and there is room.
            debug!("the client does not take the subscription to firmware");
        }
        events.do_send(SessionEvent { session, news });
    };
    let tell = |event: &Event| {
        if let Some(news) = news_of(event) {
            say(news);
        }
    };
    // What is told once the quarantine is over.
    let mut opened = None;
    loop {
        match eventloop.poll().await {
            // It is on the wire when it is told.
            Ok(Event::Outgoing(Outgoing::Disconnect)) => return Ended::GoodBye,
            Ok(Event::Incoming(Packet::ConnAck(connack))) if quarantine_of(&connack).is_some() => {
                let seconds = quarantine_of(&connack).unwrap_or_default();
                opened = news_of(&Event::Incoming(Packet::ConnAck(connack)));
                say(News::Quarantined { seconds });
                if client.try_publish(REQUEST_TOPIC, QoS::AtMostOnce, false, Vec::new()).is_err() {
                    return Ended::Broken("the client does not take a request to attest".to_owned());
                }
            }
            Ok(Event::Incoming(Packet::Publish(publish)))
                if delivery.as_ref().is_some_and(|delivery| delivery.takes(&publish)) => {}
            Ok(Event::Incoming(Packet::Publish(publish))) => match shown(&publish, attester).await {
                Ok(Shown::Answer(answer)) => {
                    if client.try_publish(ANSWER_TOPIC, QoS::AtMostOnce, false, answer).is_err() {
                        return Ended::Broken("the client does not take an answer".to_owned());
                    }
                }
                Ok(Shown::Attested) => opened.take().into_iter().for_each(say),
                // The hub ends the session, and says why.
                Ok(Shown::Nothing) => {}
                Err(error) => {
                    return Ended::Broken(format!("failed to attest this session: failed to {error}"));
                }
            },
            Ok(Event::Incoming(Packet::SubAck(suback)))
                if !suback
                    .return_codes
                    .iter()
                    .all(|code| matches!(code, SubscribeReasonCode::Success(_))) =>
            {
                warn!(answer = ?suback.return_codes, "the hub lets this device have no firmware");
            }
            Ok(event) => tell(&event),
            Err(error) => {
                // What came before the end still counts.
                eventloop.state.events.iter().for_each(tell);
                return end_of(&error);
            }
        }
    }
}

/// How long the hub keeps this session in quarantine, if it does.
fn quarantine_of(connack: &ConnAck) -> Option<String> {
    let said = &connack.properties.as_ref()?.user_properties;
    said.iter().find(|(name, _)| name == QUARANTINE_PROPERTY).map(|(_, seconds)| seconds.clone())
}

/// What follows from a message of the hub to this session.
enum Shown {
    Answer(Vec<u8>),
    Attested,
    Nothing,
}

async fn shown(publish: &Publish, attester: &Attester) -> Result<Shown, AttestError> {
    if publish.topic == CHALLENGE_TOPIC.as_bytes() {
        return Ok(Shown::Answer(attester.answer(&publish.payload).await?));
    }
    let is_well = publish.topic == RESULT_TOPIC.as_bytes()
        && matches!(Outcome::decode(&publish.payload), Ok(Outcome::Attested));
    Ok(if is_well { Shown::Attested } else { Shown::Nothing })
}

fn news_of(event: &Event) -> Option<News> {
    match event {
        Event::Incoming(Packet::ConnAck(connack)) => {
            let window = connack.properties.as_ref().and_then(|properties| properties.receive_max);
            // MQTT 5 §3.2.2.3.3: 65,535 when the hub says nothing.
            Some(News::Opened { window: window.unwrap_or(u16::MAX) })
        }
        // At QoS 0 there is no packet identifier: that was no reading.
        Event::Outgoing(Outgoing::Publish(packet)) if *packet > 0 => Some(News::Sent { packet: *packet }),
        Event::Incoming(Packet::PubAck(puback)) => {
            let reason = puback.properties.as_ref().and_then(|properties| properties.reason_string.clone());
            let verdict = verdict_of(puback);
            let reason =
                reason.or_else(|| (verdict != PubackVerdict::Stored).then(|| format!("{:?}", puback.reason)));
            Some(News::Answered { packet: puback.pkid, verdict, reason })
        }
        _ => None,
    }
}

fn verdict_of(puback: &PubAck) -> PubackVerdict {
    match puback.reason {
        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => PubackVerdict::Stored,
        PubAckReason::QuotaExceeded
        | PubAckReason::UnspecifiedError
        | PubAckReason::ImplementationSpecificError
        | PubAckReason::PacketIdentifierInUse => PubackVerdict::Later,
        PubAckReason::NotAuthorized | PubAckReason::TopicNameInvalid | PubAckReason::PayloadFormatInvalid => {
            PubackVerdict::Never
        }
    }
}

fn end_of(error: &ConnectionError) -> Ended {
    match error {
        ConnectionError::ConnectionRefused(code) => {
            let detail = format!("the hub refused the session: {code:?}");
            match code {
                ConnectReturnCode::NotAuthorized
                | ConnectReturnCode::Banned
                | ConnectReturnCode::BadUserNamePassword
                | ConnectReturnCode::BadAuthenticationMethod => Ended::Refused(detail),
                _ => Ended::Told(detail),
            }
        }
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, reason_string }) => {
            let words = reason_string.as_deref().unwrap_or("it does not say why");
            let detail = format!("the hub ended the session: {reason_code:?}, {words}");
            match reason_code {
                DisconnectReasonCode::NotAuthorized => Ended::Refused(detail),
                _ => Ended::Told(detail),
            }
        }
        other => Ended::Broken(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_of_a_puback_has_a_verdict() {
        let verdict = |reason| verdict_of(&PubAck { pkid: 1, reason, properties: None });
        assert_eq!(verdict(PubAckReason::Success), PubackVerdict::Stored);
        assert_eq!(verdict(PubAckReason::NoMatchingSubscribers), PubackVerdict::Stored);
        assert_eq!(verdict(PubAckReason::QuotaExceeded), PubackVerdict::Later);
        assert_eq!(verdict(PubAckReason::NotAuthorized), PubackVerdict::Never);
    }

    #[test]
    fn a_refused_session_is_told_from_one_that_broke() {
        let refused = |code| end_of(&ConnectionError::ConnectionRefused(code));
        assert!(matches!(refused(ConnectReturnCode::NotAuthorized), Ended::Refused(_)));
        assert!(matches!(refused(ConnectReturnCode::ServerBusy), Ended::Told(_)));
        let left = StateError::ServerDisconnect {
            reason_code: DisconnectReasonCode::ServerShuttingDown,
            reason_string: Some("back soon".into()),
        };
        let told = "the hub ended the session: ServerShuttingDown, back soon";
        assert_eq!(end_of(&left.into()), Ended::Told(told.into()));
        assert!(matches!(end_of(&StateError::ConnectionAborted.into()), Ended::Broken(_)));
    }
}
