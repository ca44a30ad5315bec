//! One MQTT 5 session of the command line: it encodes, decodes, keeps alive, and turns what the hub refuses into
//! complaints. What the packets mean is its caller's affair.

use std::{io, num::NonZeroU32, sync::Arc};

use bytes::Bytes;
use muster_mqtt::{
    Ack, Connect, ConnectProperties, Decoder, Disconnect, Outgoing, Packet, PacketId, PacketLimits, Publish,
    ReasonCode, Version, encode, encoded_len,
};
use muster_schemas::{ClientId, Message, Principal};
use muster_trust::{HubTrust, HubVerifier};
use rustls::{
    ClientConfig,
    pki_types::{PrivateKeyDer, ServerName, pem::PemObject as _},
    version::TLS13,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Interval, MissedTickBehavior, interval, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{Complaint, Exit, Identity};
use crate::{
    limits::{MQTT_ANSWER_TIME_MAX, MQTT_IN_FLIGHT_MAX, MQTT_KEEP_ALIVE, MQTT_PACKET_BYTES_MAX},
    random, tls,
};

/// What a session is opened with.
pub(super) struct Opening {
    /// The client identifier.
    pub(super) client_id: ClientId,
    /// Seconds that the session outlives its connection; none is a new one that does not.
    pub(super) expiry_s: Option<u32>,
}

impl Opening {
    /// A session of its own that ends with the connection. The identifier tells the command, for `muster clients`.
    pub(super) fn fresh(command: &str) -> Result<Self, Complaint> {
        let unique = data_encoding::HEXLOWER.encode(&random::array::<4>(&mut random::system()));
        let client_id = format!("muster-{command}-{unique}").parse().map_err(|error| {
            let why = format!("the client identifier {error}");
            Complaint::new(Exit::Failure, "name the session", why, "try again")
        })?;
        Ok(Self { client_id, expiry_s: None })
    }
}

/// An open session.
pub(super) struct Client {
    stream: TlsStream<TcpStream>,
    decoder: Decoder,
    outgoing: Outgoing,
    alive: Interval,
    /// What the whole is for; reads after "cannot".
    what: String,
    address: String,
    next_packet_id: PacketId,
    /// Largest packet that the hub takes, in bytes.
    packet_bytes_max: usize,
    /// How many unanswered messages the hub takes, and we want to have.
    pub(super) in_flight_max: usize,
    /// Whether the hub went on with an earlier session.
    pub(super) session_present: bool,
    /// Seconds that the session outlives its connection, as the hub has it.
    pub(super) expiry_s: u32,
    /// Its name at the hub.
    pub(super) client_id: String,
}

impl Client {
    pub(super) async fn open(identity: &Identity, opening: Opening, what: &str) -> Result<Self, Complaint> {
        let (host, port) = &identity.mqtt;
        let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let unreachable = |error: io::Error| of_io(what, &address, error);
        let name = ServerName::try_from(host.clone())
            .map_err(|_| unreachable(io::Error::other("it is neither a DNS name nor an address")))?;
        let config = tls_config(identity).map_err(|error| unreachable(io::Error::other(error)))?;
        let connecting = async {
            let tcp = TcpStream::connect((host.as_str(), *port)).await?;
            tcp.set_nodelay(true)?;
            TlsConnector::from(Arc::new(config)).connect(name, tcp).await
        };
        let stream = timeout(MQTT_ANSWER_TIME_MAX, connecting)
            .await
            .map_err(|_| unreachable(io::ErrorKind::TimedOut.into()))?
            .map_err(unreachable)?;
        let limits = PacketLimits { packet_bytes_max: MQTT_PACKET_BYTES_MAX, ..PacketLimits::default() };
        let mut alive = interval(MQTT_KEEP_ALIVE / 2);
        alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        alive.reset();
        let mut client = Self {
            stream,
            decoder: Decoder::client_within(Version::V5, limits),
            outgoing: Outgoing::default(),
            alive,
            what: what.to_owned(),
            address,
            next_packet_id: PacketId::FIRST,
            packet_bytes_max: usize::MAX,
            in_flight_max: MQTT_IN_FLIGHT_MAX,
            session_present: false,
            expiry_s: opening.expiry_s.unwrap_or(0),
            client_id: opening.client_id.as_str().to_owned(),
        };
        client.connect(opening).await?;
        Ok(client)
    }

    async fn connect(&mut self, Opening { client_id, expiry_s }: Opening) -> Result<(), Complaint> {
        let packet_bytes_max = u32::try_from(MQTT_PACKET_BYTES_MAX).ok().and_then(NonZeroU32::new);
        self.say(&Packet::Connect(Box::new(Connect {
            version: Version::V5,
            clean_start: expiry_s.is_none(),
            keep_alive_s: u16::try_from(MQTT_KEEP_ALIVE.as_secs()).unwrap_or(u16::MAX),
            client_id: Some(client_id),
            username: None,
            password: None,
            will: None,
            properties: ConnectProperties {
                session_expiry_s: expiry_s,
                packet_bytes_max,
                ..ConnectProperties::default()
            },
        })))
        .await?;
        let connack = match self.answer("CONNACK").await? {
            Packet::ConnAck(connack) if !connack.code.is_failure() => connack,
            Packet::ConnAck(connack) => {
                let reason = connack.properties.reason.as_deref();
                return Err(self.refused("the hub refused the session", connack.code, reason));
            }
            other => return Err(self.unexpected(&other, "CONNACK")),
        };
        self.session_present = connack.session_present;
        self.expiry_s = connack.properties.session_expiry_s.unwrap_or(self.expiry_s);
        if let Some(most) = connack.properties.receive_maximum {
            self.in_flight_max = self.in_flight_max.min(usize::from(most.get()));
        }
        if let Some(bytes) = connack.properties.packet_bytes_max {
            self.packet_bytes_max = usize::try_from(bytes.get()).unwrap_or(usize::MAX);
        }
        Ok(())
    }

    /// A packet identifier that was not used for as long as possible.
    pub(super) fn packet_id(&mut self) -> PacketId {
        let id = self.next_packet_id;
        self.next_packet_id = PacketId::new(id.get().wrapping_add(1)).unwrap_or(PacketId::FIRST);
        id
    }

    /// Sends a packet.
    pub(super) async fn say(&mut self, packet: &Packet) -> Result<(), Complaint> {
        encode(packet, Version::V5, &mut self.outgoing);
        self.flush().await
    }

    /// Sends a message; with an identifier when its quality of service has answers.
    pub(super) async fn publish(
        &mut self,
        message: Message,
        packet_id: Option<PacketId>,
    ) -> Result<(), Complaint> {
        let (dup, topic_alias, subscription_ids) = (false, None, Default::default());
        let message = message.into();
        let packet = Packet::Publish(Publish { dup, packet_id, topic_alias, subscription_ids, message });
        let bytes = encoded_len(&packet, Version::V5);
        if bytes > self.packet_bytes_max {
            let why = format!(
                "the message takes {bytes} bytes, and the hub takes at most {} in a packet",
                self.packet_bytes_max
            );
            let next = "send less, or ask the operator to raise limits.packet_bytes_max";
            return Err(Complaint::new(Exit::Failure, self.what.clone(), why, next));
        }
        self.say(&packet).await
    }

    /// Acknowledges.
    pub(super) async fn acknowledge(
        &mut self,
        wrap: fn(Ack) -> Packet,
        id: PacketId,
    ) -> Result<(), Complaint> {
        self.say(&wrap(Ack::new(id, ReasonCode::Success))).await
    }

    /// The next packet that means something to the caller. Can be given up and called again.
    pub(super) async fn next(&mut self) -> Result<Packet, Complaint> {
        loop {
            match self.decoder.next() {
                Ok(Some(Packet::PingResp)) => {}
                Ok(Some(Packet::Disconnect(last))) => {
                    let reason = last.reason.as_deref();
                    return Err(self.refused("the hub ended the session", last.code, reason));
                }
                Ok(Some(packet)) => return Ok(packet),
                Ok(None) => self.hear().await?,
                Err(error) => {
                    let why = format!("what {} sends is not MQTT 5: {error}", self.address);
                    let next = "use a muster of the same version as the hub";
                    return Err(Complaint::new(Exit::Failure, self.what.clone(), why, next));
                }
            }
        }
    }

    /// The next packet, if it comes within the time that an answer may take.
    pub(super) async fn answer(&mut self, wanted: &'static str) -> Result<Packet, Complaint> {
        match timeout(MQTT_ANSWER_TIME_MAX, self.next()).await {
            Ok(packet) => packet,
            Err(_) => {
                let why =
                    format!("{} sent no {wanted} within {} s", self.address, MQTT_ANSWER_TIME_MAX.as_secs());
                Err(Complaint::new(Exit::Unreachable, self.what.clone(), why, "try again in a moment"))
            }
        }
    }

    /// Says good-bye. A session that outlives its connection stays with the hub.
    pub(super) async fn leave(mut self) {
        // Good manners: whether it works or not, the command has done what it should.
        if self.say(&Packet::Disconnect(Disconnect::new(ReasonCode::Success))).await.is_ok() {
            let _ = self.stream.shutdown().await;
        }
    }

    /// What the hub refused, in its own words.
    pub(super) fn refused(&self, what: &str, code: ReasonCode, reason: Option<&str>) -> Complaint {
        let why = match reason {
            Some(reason) => format!("{what}: {code}: {reason}"),
            None => format!("{what}: {code}"),
        };
        Complaint { code: named(code), ..Complaint::new(Exit::Refused, self.what.clone(), why, next(code)) }
    }

    /// The hub sent what has no place here.
    pub(super) fn unexpected(&self, found: &Packet, wanted: &str) -> Complaint {
        let why = format!("the hub sent {} where {wanted} was due", found.packet_type());
        Complaint::new(Exit::Failure, self.what.clone(), why, "use a muster of the same version as the hub")
    }

    async fn flush(&mut self) -> Result<(), Complaint> {
        let chunks: Vec<Bytes> = self.outgoing.take_chunks();
        let writing = async {
            for chunk in &chunks {
                self.stream.write_all(chunk).await?;
            }
            self.stream.flush().await
        };
        match timeout(MQTT_ANSWER_TIME_MAX, writing).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(of_io(&self.what, &self.address, error)),
            Err(_) => Err(of_io(&self.what, &self.address, io::ErrorKind::TimedOut.into())),
        }
    }

    /// Waits until something has come, and says meanwhile that we are there.
    async fn hear(&mut self) -> Result<(), Complaint> {
        loop {
            tokio::select! {
                read = self.stream.read_buf(self.decoder.buffer()) => {
                    return match read {
                        Ok(0) => Err(of_io(&self.what, &self.address, io::ErrorKind::UnexpectedEof.into())),
                        Ok(_) => Ok(()),
                        Err(error) => Err(of_io(&self.what, &self.address, error)),
                    };
                }
                _ = self.alive.tick() => self.say(&Packet::PingReq).await?,
            }
        }
    }
}

fn tls_config(identity: &Identity) -> Result<ClientConfig, rustls::Error> {
    // As a device does: a hub that may serve the tenant, whatever its name.
    let trust = Arc::new(HubTrust::default());
    let tenant = identity.principal.tenant.clone();
    trust.expect_tenant(Some(tenant).filter(|tenant| *tenant != Principal::operator_tenant()));
    let verifier = HubVerifier::new(&identity.roots, tls::provider(), trust)
        .map_err(|why| rustls::Error::General(format!("ca.pem holds no root of a hub: {why}")))?;
    let key = PrivateKeyDer::from_pem_slice(&identity.key_pem)
        .map_err(|_| rustls::Error::General("key.pem holds no private key".to_owned()))?;
    let mut config = ClientConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(identity.chain.clone(), key)?;
    config.alpn_protocols = vec![b"mqtt".to_vec()];
    Ok(config)
}

/// Why there is no connection, or no longer one.
fn of_io(what: &str, address: &str, error: io::Error) -> Complaint {
    let told = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match told {
        Some(rustls::Error::AlertReceived(alert)) => Complaint::new(
            Exit::Refused,
            what,
            format!("the hub at {address} refused your certificate ({alert:?})"),
            "use a current certificate of this hub: --identity <dir>",
        ),
        Some(error) => Complaint::new(
            Exit::Unreachable,
            what,
            format!("what answers at {address} does not prove to be your hub: {}", muster_trust::told(error)),
            "make sure that --mqtt is right, and that ca.pem of the identity is this hub's root",
        ),
        None if error.kind() == io::ErrorKind::UnexpectedEof => Complaint::new(
            Exit::Unreachable,
            what,
            format!("the hub at {address} closed the connection without a word"),
            "see the hub's log; try again in a moment",
        ),
        None => Complaint::new(
            Exit::Unreachable,
            what,
            format!("the hub at {address} does not answer: {error}"),
            "start it with `muster serve`, or name another: --mqtt <host:port>",
        ),
    }
}

/// A stable name for programs: the words of the standard.
fn named(code: ReasonCode) -> String {
    code.text().to_lowercase().replace([' ', '-'], "_")
}

/// What to do about a refusal.
fn next(code: ReasonCode) -> &'static str {
    match code {
        ReasonCode::NotAuthorized => {
            "use another topic or identity; docs/tenants.md says which topics an app may use"
        }
        ReasonCode::TopicNameInvalid | ReasonCode::TopicFilterInvalid => {
            "write another: at most 4,096 bytes and 64 levels, and nothing is published to `$...`"
        }
        ReasonCode::QuotaExceeded | ReasonCode::ReceiveMaximumExceeded | ReasonCode::MessageRateTooHigh => {
            "send less at once, remove what is not needed, or ask the operator for more"
        }
        ReasonCode::NoMatchingSubscribers => {
            "see that whoever answers is connected and subscribed: `muster clients`"
        }
        ReasonCode::PacketTooLarge => "send less, or ask the operator to raise limits.packet_bytes_max",
        ReasonCode::AdministrativeAction => {
            "ask who looks after the hub or the tenant before you connect again"
        }
        ReasonCode::SessionTakenOver => "let each connection have a --session of its own",
        ReasonCode::SharedSubscriptionsNotSupported => "leave --shared out",
        ReasonCode::ServerBusy | ReasonCode::ServerUnavailable | ReasonCode::ServerShuttingDown => {
            "try again in a moment"
        }
        _ => "see the hub's log, which names tenant and client, or ask its operator",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_a_name_and_something_to_do() {
        for code in ReasonCode::ALL {
            assert!(named(*code).chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit()));
            assert!(!next(*code).is_empty());
        }
        assert_eq!(named(ReasonCode::NotAuthorized), "not_authorized");
    }
}
