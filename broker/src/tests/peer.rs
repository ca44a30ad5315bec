//! A scripted MQTT client.

use std::num::NonZeroU16;

use bytes::Bytes;
use muster_mqtt::{
    Ack, ConnAck, Connect, ConnectProperties, Decoder, Disconnect, Outgoing, Packet, PacketId, Publish,
    ReasonCode, Subscribe, SubscriptionOptions, Version, Will, encode,
};
use muster_schemas::{Message, Qos};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream},
    time::timeout,
};

use super::PATIENCE;

pub(super) fn id(number: u16) -> PacketId {
    PacketId::new(number).expect("not 0")
}

pub(super) fn message(topic: &str, qos: Qos, payload: impl Into<Bytes>) -> Message {
    let topic = topic.parse().expect("a topic");
    Message { topic, qos, retain: false, payload: payload.into(), properties: None }
}

/// PUBLISH. The packet id counts from 1; it is left out at QoS 0.
pub(super) fn publish(number: u16, message: Message) -> Packet {
    let packet_id = (message.qos != Qos::AtMostOnce).then(|| id(number));
    let (dup, topic_alias, subscription_ids) = (false, None, Default::default());
    Packet::Publish(Publish { dup, packet_id, topic_alias, subscription_ids, message: message.into() })
}

pub(super) fn puback(number: u16, code: ReasonCode) -> Packet {
    Packet::PubAck(Ack::new(id(number), code))
}

pub(super) fn connect(version: Version, client_id: &str) -> Connect {
    Connect {
        version,
        clean_start: true,
        keep_alive_s: 0,
        client_id: Some(client_id.parse().expect("a client id")),
        username: None,
        password: None,
        will: None,
        properties: ConnectProperties::default(),
    }
}

/// One end of a connection, and what it has to say.
pub(super) struct Peer<S = DuplexStream> {
    pub(super) stream: S,
    connect: Connect,
    decoder: Decoder,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    /// A client of MQTT 5 that has not yet said anything.
    pub(super) fn new(stream: S, client_id: &str) -> Self {
        Self { stream, connect: connect(Version::V5, client_id), decoder: Decoder::client(Version::V5) }
    }

    pub(super) fn speaks(mut self, version: Version) -> Self {
        self.connect.version = version;
        self.decoder = Decoder::client(version);
        self
    }

    pub(super) fn takes_at_once(mut self, messages: u16) -> Self {
        self.connect.properties.receive_maximum = NonZeroU16::new(messages);
        self
    }

    pub(super) fn keeps_alive(mut self, seconds: u16) -> Self {
        self.connect.keep_alive_s = seconds;
        self
    }

    pub(super) fn leaves_behind(self, message: Message) -> Self {
        self.leaves_behind_after(message, 0)
    }

    pub(super) fn leaves_behind_after(mut self, message: Message, delay_interval_s: u32) -> Self {
        self.connect.will = Some(Will { message, delay_interval_s });
        self
    }

    /// Names a method of enhanced authentication.
    pub(super) fn proves_by(mut self, method: &str) -> Self {
        self.connect.properties.authentication_method = Some(method.into());
        self
    }

    /// Wants its session to outlive the connection, and to go on with an earlier one.
    pub(super) fn stays(mut self, expiry_s: u32) -> Self {
        self.connect.clean_start = false;
        self.connect.properties.session_expiry_s = Some(expiry_s);
        self
    }

    /// Says CONNECT and expects to be let in.
    pub(super) async fn connected(mut self) -> Self {
        self.send_connect().await;
        self.is_let_in().await;
        self
    }

    /// Says CONNECT and expects to be let in; says whether an earlier session goes on.
    pub(super) async fn resumed(mut self) -> (Self, bool) {
        self.send_connect().await;
        let present = self.is_let_in().await.session_present;
        (self, present)
    }

    /// Says CONNECT, and says whether there was any answer before the end.
    pub(super) async fn is_answered(&mut self) -> bool {
        let connect = self.bytes(&Packet::Connect(Box::new(self.connect.clone())));
        // It may be closed already, and that is an answer to us.
        let _ = self.stream.write_all(&connect).await;
        let read = timeout(PATIENCE, self.stream.read(&mut [0; 64])).await.expect("in time");
        matches!(read, Ok(1..))
    }

    /// Says CONNECT.
    pub(super) async fn send_connect(&mut self) {
        self.send(&Packet::Connect(Box::new(self.connect.clone()))).await;
    }

    /// Expects a CONNACK that lets it in.
    pub(super) async fn is_let_in(&mut self) -> ConnAck {
        let connack = self.hears_connack().await;
        assert_eq!(connack.code, ReasonCode::Success, "{:?}", connack.properties.reason);
        connack
    }

    /// Says CONNECT and expects to be told.
    pub(super) async fn knocks(&mut self) -> ConnAck {
        self.send_connect().await;
        self.hears_connack().await
    }

    async fn hears_connack(&mut self) -> ConnAck {
        match self.next().await {
            Packet::ConnAck(connack) => *connack,
            other => panic!("not a CONNACK: {other:?}"),
        }
    }

    pub(super) async fn send(&mut self, packet: &Packet) {
        let bytes = self.bytes(packet);
        self.send_bytes(&bytes).await;
    }

    pub(super) fn bytes(&self, packet: &Packet) -> Vec<u8> {
        let mut outgoing = Outgoing::default();
        encode(packet, self.connect.version, &mut outgoing);
        outgoing.take_chunks().concat()
    }

    pub(super) async fn send_bytes(&mut self, bytes: &[u8]) {
        let sending = async {
            self.stream.write_all(bytes).await.expect("the broker reads");
            self.stream.flush().await.expect("the broker reads");
        };
        timeout(PATIENCE, sending).await.expect("the broker reads in time");
    }

    /// Subscribes at QoS 2 and expects that to be granted.
    pub(super) async fn subscribed(mut self, filter: &str) -> Self {
        let codes = self.subscribes(&[filter]).await;
        assert_eq!(codes, [ReasonCode::GrantedQos2]);
        self
    }

    /// Subscribes at QoS 2, and returns what it is told.
    pub(super) async fn subscribes(&mut self, filters: &[&str]) -> Vec<ReasonCode> {
        let options = SubscriptionOptions { qos: Qos::ExactlyOnce, ..SubscriptionOptions::default() };
        let filters = filters.iter().map(|filter| (filter.parse().expect("a filter"), options)).collect();
        let (packet_id, subscription_id, user_properties) = (id(999), None, Vec::new());
        self.send(&Packet::Subscribe(Subscribe { packet_id, subscription_id, filters, user_properties }))
            .await;
        match self.next().await {
            Packet::SubAck(suback) => suback.codes,
            other => panic!("not a SUBACK: {other:?}"),
        }
    }

    /// The next packet.
    pub(super) async fn next(&mut self) -> Packet {
        self.next_or_end().await.expect("a packet and not the end")
    }

    /// The next packet, or none if the broker has closed.
    pub(super) async fn next_or_end(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = self.decoder.next().expect("a well formed packet") {
                return Some(packet);
            }
            let reading = self.stream.read_buf(self.decoder.buffer());
            if timeout(PATIENCE, reading).await.expect("a packet in time").unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// Expects that nothing came but what was asked for just now, and that the session lives.
    pub(super) async fn hears_nothing(&mut self) {
        self.send(&Packet::PingReq).await;
        assert_eq!(self.next().await, Packet::PingResp);
    }

    /// Expects a DISCONNECT and the end.
    pub(super) async fn is_told_to_go(&mut self) -> Disconnect {
        let Packet::Disconnect(disconnect) = self.next().await else { panic!("not a DISCONNECT") };
        self.is_closed().await;
        disconnect
    }

    /// Expects the end.
    pub(super) async fn is_closed(&mut self) {
        assert_eq!(self.next_or_end().await, None);
    }
}
