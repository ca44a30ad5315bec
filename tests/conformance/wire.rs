//! The vectors against a broker on loopback.
//!
//! Time is real here, so a step that lets time pass listens for that long. After each step the broker is asked
//! something that its router answers in turn: what should not come would have come by then.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use muster_mqtt::{ConnAck, ConnAckProperties, Decoder, Packet, ReasonCode, Version};
use muster_schemas::TenantId;
use rustls::ClientConfig;
use tokio::{sync::Semaphore, time::timeout};

use crate::{
    hub::Hub,
    socket::{Socket, Transport},
    vector::{Step, Vector, bytes},
    vectors,
};

/// How long what must come may take. It is not waited out, unless a vector fails.
const PATIENCE: Duration = Duration::from_secs(30);
/// How much less than expected may be left of a message's time, since time is real, in seconds.
const LATE_S_MAX: u32 = 5;
/// Vectors under way at once.
const VECTORS_AT_ONCE: usize = 32;
/// The packet identifier of the question that ends a step. No vector uses it.
const QUESTION: u16 = 0xffff;

/// One client of a vector.
struct Client {
    socket: Option<Socket>,
    version: Version,
    decoder: Decoder,
    /// Decodes what is expected; it knows the topic aliases of its own side.
    expected: Decoder,
    /// It has been let in.
    connected: bool,
    /// The first packet has been seen.
    is_told: bool,
}

impl Client {
    async fn open(
        hub: &Hub,
        config: Arc<ClientConfig>,
        transport: Transport,
        version: Version,
    ) -> io::Result<Self> {
        Ok(Self {
            socket: Some(Socket::open(hub.address(transport), config, transport).await?),
            version,
            decoder: Decoder::client(version),
            expected: Decoder::client(version),
            connected: false,
            is_told: false,
        })
    }

    async fn step(&mut self, step: &Step, words: bool) -> Result<(), String> {
        let (welcome, expect) = match step.expect.strip_prefix("welcome back") {
            Some(rest) => (Some(true), rest),
            None => match step.expect.strip_prefix("welcome") {
                Some(rest) => (Some(false), rest),
                None => (None, step.expect.as_str()),
            },
        };
        let told = Told { words, connack: welcome.is_none() };
        let mut wanted = packets(&mut self.expected, &bytes(expect), !self.is_told)?;
        if let Some(session_present) = welcome {
            let (code, properties) = (ReasonCode::Success, ConnAckProperties::default());
            wanted.insert(0, Packet::ConnAck(Box::new(ConnAck { session_present, code, properties })));
        }
        let mut heard = Vec::new();
        if step.after_ms > 0 {
            let listening = self.hear(&mut heard, usize::MAX);
            if let Ok(heard) = timeout(Duration::from_millis(step.after_ms), listening).await {
                heard?;
            }
        }
        if let Some(socket) = &mut self.socket {
            // The broker may have closed already; what it said before that is still to be read.
            let _ = timeout(PATIENCE, socket.send(&bytes(&step.send))).await.map_err(|_| "nobody reads")?;
        } else if !step.send.is_empty() {
            return Err("the connection has ended".to_owned());
        }
        self.hear_in_time(&mut heard, wanted.len()).await?;
        if step.closed {
            self.hear_in_time(&mut heard, usize::MAX).await?;
        } else if self.connected && !step.cut {
            self.ask(&mut heard).await?;
        }
        if step.cut || step.closed {
            if step.closed && self.socket.is_some() {
                return Err("the connection is still open".to_owned());
            }
            self.socket = None;
        }
        let comparable =
            |packets: Vec<Packet>| packets.into_iter().map(|packet| comparable(packet, told)).collect();
        let (wanted, mut heard): (Vec<_>, Vec<_>) = (comparable(wanted), comparable(heard));
        for (wanted, heard) in wanted.iter().filter_map(expiry).zip(heard.iter_mut().filter_map(expiry_mut)) {
            if (*heard..=heard.saturating_add(LATE_S_MAX)).contains(&wanted) {
                *heard = wanted;
            }
        }
        compare(&wanted, &heard)
    }

    /// Asks what the router answers, and hears everything before the answer.
    async fn ask(&mut self, heard: &mut Vec<Packet>) -> Result<(), String> {
        let question: &[u8] = match self.version {
            Version::V311 => &[0xa2, 5, 0xff, 0xff, 0, 1, b'-'],
            Version::V5 => &[0xa2, 6, 0xff, 0xff, 0, 0, 1, b'-'],
        };
        let Some(socket) = &mut self.socket else { return Ok(()) };
        let _ = timeout(PATIENCE, socket.send(question)).await.map_err(|_| "nobody reads")?;
        let is_answer =
            |packet: &Packet| matches!(packet, Packet::UnsubAck(a) if a.packet_id.get() == QUESTION);
        while !heard.iter().any(is_answer) {
            if self.socket.is_none() {
                return Err(format!("the connection has ended; heard {heard:?}"));
            }
            let count = heard.len() + 1;
            self.hear_in_time(heard, count).await?;
        }
        heard.retain(|packet| !is_answer(packet));
        Ok(())
    }

    async fn hear_in_time(&mut self, heard: &mut Vec<Packet>, count: usize) -> Result<(), String> {
        let in_time = timeout(PATIENCE, self.hear(heard, count)).await;
        in_time.map_err(|_| format!("nothing more came; heard {heard:?}"))?
    }

    /// Hears packets until there are so many, or the connection ends.
    async fn hear(&mut self, heard: &mut Vec<Packet>, count: usize) -> Result<(), String> {
        while heard.len() < count {
            let Some(socket) = &mut self.socket else { return Ok(()) };
            let mut read = Vec::new();
            if !socket.receive(&mut read).await {
                self.socket = None;
            }
            for packet in packets(&mut self.decoder, &read, !self.is_told)? {
                self.connected |=
                    matches!(&packet, Packet::ConnAck(connack) if connack.code == ReasonCode::Success);
                self.is_told = true;
                heard.push(packet);
            }
        }
        Ok(())
    }
}

/// What a vector compares of the packets that say something to people or of our limits.
#[derive(Debug, Clone, Copy)]
struct Told {
    /// That there is a reason string, whatever it says.
    words: bool,
    /// The whole of CONNACK, and not only that it lets in, and to which session.
    connack: bool,
}

/// Takes the packets that are complete.
fn packets(decoder: &mut Decoder, bytes: &[u8], is_first: bool) -> Result<Vec<Packet>, String> {
    // A refusal has the shape of 3.1.1 if that is what the client might understand.
    if is_first && decoder.buffer().is_empty() && matches!(bytes, [0x20, 2, ..]) {
        *decoder = Decoder::client(Version::V311);
    }
    decoder.buffer().extend_from_slice(bytes);
    let mut found = Vec::new();
    while let Some(packet) = decoder.next().map_err(|error| format!("no packet: {error}"))? {
        found.push(packet);
    }
    Ok(found)
}

/// The packet with nothing in it that is not compared.
fn comparable(mut packet: Packet, told: Told) -> Packet {
    let reason = match &mut packet {
        Packet::ConnAck(connack) => {
            if let Some(id) = &mut connack.properties.assigned_client_id {
                *id = "assigned-1".into();
            }
            if !told.connack {
                connack.properties = ConnAckProperties::default();
            }
            &mut connack.properties.reason
        }
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            &mut ack.reason
        }
        Packet::SubAck(suback) => &mut suback.reason,
        Packet::UnsubAck(unsuback) => &mut unsuback.reason,
        Packet::Disconnect(disconnect) => &mut disconnect.reason,
        _ => return packet,
    };
    *reason = reason.take().filter(|_| told.words).map(|_| "...".into());
    packet
}

/// What is left of a message's time, in seconds.
fn expiry(packet: &Packet) -> Option<u32> {
    let Packet::Publish(publish) = packet else { return None };
    publish.message.properties.as_ref()?.expiry_interval_s
}

fn expiry_mut(packet: &mut Packet) -> Option<&mut u32> {
    let Packet::Publish(publish) = packet else { return None };
    Arc::make_mut(&mut publish.message).properties.as_mut()?.expiry_interval_s.as_mut()
}

/// Answers and messages come in their order each; how they interleave is not told by the standard.
fn compare(wanted: &[Packet], heard: &[Packet]) -> Result<(), String> {
    let is_message = |packet: &&Packet| matches!(packet, Packet::Publish(_));
    let (messages, answers): (Vec<_>, Vec<_>) = wanted.iter().partition(is_message);
    let (messages_heard, answers_heard): (Vec<_>, Vec<_>) = heard.iter().partition(is_message);
    if messages == messages_heard && answers == answers_heard {
        return Ok(());
    }
    Err(format!("\n  expected {wanted:?}\n  heard    {heard:?}"))
}

async fn run(
    hub: &Hub,
    tenant: &TenantId,
    vector: &Vector,
    transport: Transport,
    version: Version,
) -> Result<(), String> {
    is_served(hub, tenant, transport).await?;
    let mut clients: BTreeMap<String, Client> = BTreeMap::new();
    let mut known: BTreeMap<String, Arc<ClientConfig>> = BTreeMap::new();
    for (number, step) in vector.steps().iter().enumerate() {
        if !clients.contains_key(&step.client) {
            let who = vector.clients.get(&step.client).map_or("app", String::as_str);
            let config = known.entry(who.to_owned()).or_insert_with(|| hub.client(tenant, who)).clone();
            let opening = Client::open(hub, config, transport, version).await;
            clients.insert(step.client.clone(), opening.map_err(|error| error.to_string())?);
        }
        let client = clients.get_mut(&step.client).expect("it was opened");
        client
            .step(step, vector.words)
            .await
            .map_err(|failure| format!("step {} {}: {failure}", number + 1, step.client))?;
    }
    for (name, client) in &mut clients {
        let mut heard = Vec::new();
        if client.connected {
            client.ask(&mut heard).await.map_err(|failure| format!("{name} at the end: {failure}"))?;
        }
        compare(&[], &heard).map_err(|failure| format!("{name} at the end: {failure}"))?;
    }
    Ok(())
}

/// Waits until the tenant's supervisor has started; until then everybody hears that the server is busy.
async fn is_served(hub: &Hub, tenant: &TenantId, transport: Transport) -> Result<(), String> {
    let connect = bytes("10 10 00 04 'MQTT' 05 02 00 00 00 00 03 'ask'");
    let config = hub.client(tenant, "app");
    loop {
        let opening = Client::open(hub, config.clone(), transport, Version::V5).await;
        let mut client = opening.map_err(|error| error.to_string())?;
        if let Some(socket) = &mut client.socket {
            socket.send(&connect).await.map_err(|error| error.to_string())?;
        }
        client.hear_in_time(&mut Vec::new(), 1).await?;
        if client.connected {
            return Ok(());
        }
    }
}

/// Runs these vectors, and returns how each ended: its file and name, and why it fails if it does.
fn outcomes(transport: Transport, chosen: fn(&Vector) -> bool) -> Vec<(String, Option<String>)> {
    let dir = tempfile::tempdir().expect("a folder");
    let mut all = Vec::new();
    for file in vectors::files() {
        for vector in file.vectors.into_iter().filter(|vector| vector.is_for_the_wire() && chosen(vector)) {
            all.push((file.shown.clone(), file.version, vector));
        }
    }
    actix::System::new().block_on(async move {
        let (hub, at_once) = (Arc::new(Hub::open(dir.path())), Arc::new(Semaphore::new(VECTORS_AT_ONCE)));
        let mut running = Vec::new();
        for (number, (file, version, vector)) in all.into_iter().enumerate() {
            let (hub, at_once) = (hub.clone(), at_once.clone());
            running.push(actix_rt::spawn(async move {
                let _turn = at_once.acquire().await.expect("never closed");
                let tenant = hub.tenant(&format!("tenant-{number}"));
                let failure = run(&hub, &tenant, &vector, transport, version).await.err();
                (format!("{file}: {}", vector.name), failure)
            }));
        }
        let mut outcomes = Vec::new();
        for vector in running {
            outcomes.push(vector.await.expect("a vector does not panic"));
        }
        outcomes
    })
}

fn every_vector_holds_over(transport: Transport) {
    let outcomes = outcomes(transport, |vector| !vector.pending);
    let count = outcomes.len();
    let failures: Vec<_> =
        outcomes.into_iter().filter_map(|(name, failure)| Some(format!("{name}: {}", failure?))).collect();
    assert!(count >= 400, "only {count} vectors found");
    assert!(failures.is_empty(), "{} of {count} vectors fail:\n{}", failures.len(), failures.join("\n"));
}

/// A stream in both directions [MQTT-4.2.0-1] [MQTT311-7.1.1-1], and nothing on it but what the standard knows
/// [MQTT311-7.0.0-2].
#[test]
fn every_vector_holds_over_tls() {
    every_vector_holds_over(Transport::Tls);
}

/// Packets are cut into frames wherever they may be [MQTT-6.0.0-2] [MQTT311-6.0.0-2], and the broker chose the
/// subprotocol `mqtt` [MQTT-6.0.0-4] [MQTT311-6.0.0-4].
#[test]
fn every_vector_holds_over_websocket() {
    every_vector_holds_over(Transport::WebSocket);
}

/// To be asked for when something new works: fails with the pending vectors that hold by now.
#[test]
#[ignore = "waits for what does not come yet"]
fn pending_vectors_do_not_hold_yet() {
    let (failing, holding): (Vec<_>, Vec<_>) = outcomes(Transport::Tls, |vector| vector.pending)
        .into_iter()
        .partition(|(_, failure)| failure.is_some());
    let names = |outcomes: &[(String, Option<String>)]| {
        outcomes
            .iter()
            .map(|(name, why)| format!("{name} {}", why.as_deref().unwrap_or_default()))
            .collect::<Vec<_>>()
    };
    assert!(
        holding.is_empty(),
        "no longer pending:\n{}\nstill pending:\n{}",
        names(&holding).join("\n"),
        names(&failing).join("\n")
    );
}
