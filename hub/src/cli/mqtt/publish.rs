//! `muster pub`: publishes one message, or one for each line of its input, and prints what the hub answers.

use std::{
    collections::BTreeMap,
    io::{self, BufRead as _, BufReader, Read},
    path::Path,
};

use bytes::Bytes;
use bytestring::ByteString;
use clap::Args;
use data_encoding::HEXLOWER_PERMISSIVE;
use muster_mqtt::{Ack, Packet, PacketId, ReasonCode};
use muster_schemas::{Message, MessageProperties, Qos, TopicName};
use serde::Serialize;
use tokio::sync::mpsc;

use super::{Client, Complaint, Exit, Opening, Place, block_on, qos, seconds};
use crate::{
    cli::{Common, Output, World, table::printable},
    limits::{INPUT_LINES_AHEAD_MAX, PACKET_BYTES_MAX_MAX},
};

#[derive(Debug, Args)]
pub(in crate::cli) struct Pub {
    /// Where to.
    topic: TopicName,
    /// The message: text, `-` for standard input, or @file.
    #[arg(required_unless_present = "lines")]
    payload: Option<String>,
    /// Publish one message for each line of standard input.
    #[arg(long, conflicts_with = "payload")]
    lines: bool,
    /// 0 is not answered; 1 is answered when it is safe; 2 is also never doubled.
    #[arg(long, short, default_value = "1", value_parser = qos)]
    qos: Qos,
    /// Have the hub keep it as the topic's retained message; an empty payload clears that.
    #[arg(long, short)]
    retain: bool,
    #[command(flatten)]
    properties: Properties,
    #[command(flatten)]
    place: Place,
}

/// What is said about a message beyond topic and payload.
#[derive(Debug, Args)]
pub(super) struct Properties {
    /// What it is, such as application/json.
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// How long it is worth something while it waits, such as 30s or 1h.
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    expiry: Option<u32>,
    /// Where a reply is expected.
    #[arg(long, value_name = "TOPIC")]
    pub(super) response_topic: Option<TopicName>,
    /// What makes it recognisable as the reply to a request: that request's correlation data, in hexadecimal digits.
    #[arg(long, value_name = "HEX", value_parser = hex)]
    correlation: Option<Bytes>,
    /// A pair of your own; repeat it for more.
    #[arg(long = "property", value_name = "NAME=VALUE", value_parser = property)]
    user: Vec<(ByteString, ByteString)>,
}

impl Properties {
    pub(super) fn message(&self, payload_is_utf8: bool) -> MessageProperties {
        MessageProperties {
            payload_is_utf8,
            expiry_interval_s: self.expiry,
            content_type: self.content_type.clone().map(ByteString::from),
            response_topic: self.response_topic.clone(),
            correlation_data: self.correlation.clone(),
            user_properties: self.user.clone(),
        }
    }
}

fn hex(text: &str) -> Result<Bytes, String> {
    let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes());
    bytes.map(Bytes::from).map_err(|_| format!("{text:?} is not an even number of hexadecimal digits"))
}

fn property(text: &str) -> Result<(ByteString, ByteString), String> {
    let (name, value) =
        text.split_once('=').ok_or_else(|| format!("{text:?} is not of the form name=value"))?;
    Ok((name.into(), value.into()))
}

/// The hub's answer, for a program.
#[derive(Serialize)]
struct Answered<'a> {
    topic: &'a str,
    qos: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u8>,
    answer: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

pub(in crate::cli) fn publish(
    command: Pub,
    common: &Common,
    world: &mut World<'_>,
) -> Result<Exit, Complaint> {
    let what = format!("publish to {}", command.topic);
    let identity = command.place.identity(common, &what)?;
    let mut input: Box<dyn Read + Send> = std::mem::replace(&mut world.input, Box::new(io::empty()));
    let single = match &command.payload {
        Some(text) => Some(payload(text, &mut input, &what)?),
        None => None,
    };
    block_on(
        &what,
        Box::pin(async {
            let client = Client::open(&identity, Opening::fresh("pub")?, &what).await?;
            if command.place.verbose {
                writeln!(world.err, "connected as {}", printable(&client.client_id))?;
            }
            let in_flight_max = client.in_flight_max;
            let mut publishing = Publishing {
                command: &command,
                output: common.output,
                world,
                client,
                unanswered: BTreeMap::new(),
                done: 0,
            };
            match single {
                Some(payload) => publishing.send(payload).await?,
                None => {
                    let mut lines = lines_of(input, &what)?;
                    while let Some(line) = publishing.next_line(&mut lines, in_flight_max).await? {
                        publishing.send(line).await?;
                    }
                }
            }
            while !publishing.unanswered.is_empty() {
                let packet = publishing.client.answer("acknowledgement").await?;
                publishing.take(packet).await?;
            }
            let (done, Publishing { world, client, .. }) = (publishing.done, publishing);
            client.leave().await;
            if command.lines && common.output == Output::Table {
                writeln!(world.out, "{done} published")?;
            }
            Ok(Exit::Ok)
        }),
    )
}

/// One run of the command.
struct Publishing<'a, 'w> {
    command: &'a Pub,
    output: Output,
    world: &'a mut World<'w>,
    client: Client,
    /// Packet identifiers of what the hub has not answered yet, and the number of each message.
    unanswered: BTreeMap<PacketId, u64>,
    done: u64,
}

impl Publishing<'_, '_> {
    async fn send(&mut self, payload: Bytes) -> Result<(), Complaint> {
        let Pub { topic, qos, retain, properties, .. } = self.command;
        let properties = Some(Box::new(properties.message(std::str::from_utf8(&payload).is_ok())));
        let message = Message { topic: topic.clone(), qos: *qos, retain: *retain, payload, properties };
        let packet_id = (*qos != Qos::AtMostOnce).then(|| self.client.packet_id());
        self.done += 1;
        self.client.publish(message, packet_id).await?;
        match packet_id {
            Some(id) => drop(self.unanswered.insert(id, self.done)),
            None => self.told(None, None)?,
        }
        Ok(())
    }

    /// The next line, while answers are taken. At the bound of what may be unanswered, answers only.
    async fn next_line(
        &mut self,
        lines: &mut mpsc::Receiver<Result<Bytes, Complaint>>,
        in_flight_max: usize,
    ) -> Result<Option<Bytes>, Complaint> {
        loop {
            let has_room = self.unanswered.len() < in_flight_max;
            tokio::select! {
                line = lines.recv(), if has_room => return line.transpose(),
                packet = self.client.next() => {
                    let packet = packet?;
                    self.take(packet).await?;
                }
            }
        }
    }

    /// Takes an answer of the hub.
    async fn take(&mut self, packet: Packet) -> Result<(), Complaint> {
        match packet {
            Packet::PubAck(ack) => self.answered(&ack),
            Packet::PubRec(ack) if ack.code.is_failure() => self.answered(&ack),
            Packet::PubRec(ack) => {
                // What it says stands; the second half of the exchange is between the two programs.
                self.told(Some(ack.code), ack.reason.as_deref())?;
                self.client.acknowledge(Packet::PubRel, ack.packet_id).await
            }
            Packet::PubComp(ack) => {
                self.unanswered.remove(&ack.packet_id);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn answered(&mut self, ack: &Ack) -> Result<(), Complaint> {
        let number = self.unanswered.remove(&ack.packet_id);
        if ack.code.is_failure() {
            let which = match number {
                Some(number) if self.command.lines => format!("the hub refused line {number}"),
                _ => "the hub refused it".to_owned(),
            };
            return Err(self.client.refused(&which, ack.code, ack.reason.as_deref()));
        }
        self.told(Some(ack.code), ack.reason.as_deref())
    }

    /// Prints an answer. Many lines for a person are one line in the end.
    fn told(&mut self, code: Option<ReasonCode>, reason: Option<&str>) -> Result<(), Complaint> {
        let answer = match code {
            None => "sent; QoS 0 is not answered".to_owned(),
            Some(ReasonCode::NoMatchingSubscribers) => {
                format!("{}: nobody is subscribed", ReasonCode::NoMatchingSubscribers)
            }
            Some(code) => code.to_string(),
        };
        if self.output == Output::Json {
            let answered = Answered {
                topic: self.command.topic.as_str(),
                qos: self.command.qos as u8,
                code: code.map(ReasonCode::as_u8),
                answer: &answer,
                reason,
            };
            let text = serde_json::to_string(&answered).map_err(io::Error::other)?;
            writeln!(self.world.out, "{text}")?;
        } else if !self.command.lines {
            let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            writeln!(self.world.out, "{}", printable(&format!("{answer}{reason}")))?;
        }
        Ok(())
    }
}

/// The payload that an argument stands for.
pub(super) fn payload(text: &str, input: &mut dyn Read, what: &str) -> Result<Bytes, Complaint> {
    let failed = |from: &str, why: String| {
        Complaint::new(
            Exit::Usage,
            what,
            format!("failed to read {from}: {why}"),
            "give the message as text, @file or -",
        )
    };
    let read = |from: &str, source: &mut dyn Read| {
        let mut bytes = Vec::new();
        let most = PACKET_BYTES_MAX_MAX as u64 + 1;
        source.take(most).read_to_end(&mut bytes).map_err(|error| failed(from, error.to_string()))?;
        if bytes.len() > PACKET_BYTES_MAX_MAX {
            return Err(failed(
                from,
                format!("it is longer than {PACKET_BYTES_MAX_MAX} bytes, which no hub takes"),
            ));
        }
        Ok(Bytes::from(bytes))
    };
    match text.strip_prefix('@') {
        Some(path) => {
            let mut file =
                std::fs::File::open(Path::new(path)).map_err(|error| failed(path, error.to_string()))?;
            read(path, &mut file)
        }
        None if text == "-" => read("standard input", input),
        None => Ok(Bytes::from(text.to_owned())),
    }
}

/// The lines of the input, read on a thread of its own, since reading blocks. At the bound it reads no further.
fn lines_of(
    input: Box<dyn Read + Send>,
    what: &str,
) -> Result<mpsc::Receiver<Result<Bytes, Complaint>>, Complaint> {
    let (sender, receiver) = mpsc::channel(INPUT_LINES_AHEAD_MAX);
    let what_read = what.to_owned();
    let reading = move || {
        let mut input = BufReader::new(input);
        loop {
            let mut line = Vec::new();
            let read = (&mut input).take(PACKET_BYTES_MAX_MAX as u64 + 1).read_until(b'\n', &mut line);
            let failed = |why: String| {
                let why = format!("failed to read standard input: {why}");
                Complaint::new(Exit::Failure, what_read.clone(), why, "see what feeds it")
            };
            let line = match read {
                Ok(0) => return,
                Ok(_) if line.len() > PACKET_BYTES_MAX_MAX => Err(failed(format!(
                    "a line is longer than {PACKET_BYTES_MAX_MAX} bytes, which no hub takes"
                ))),
                Ok(_) => {
                    let end = line.strip_suffix(b"\n").unwrap_or(&line);
                    Ok(Bytes::copy_from_slice(end.strip_suffix(b"\r").unwrap_or(end)))
                }
                Err(error) => Err(failed(error.to_string())),
            };
            let last = line.is_err();
            if sender.blocking_send(line).is_err() || last {
                return;
            }
        }
    };
    std::thread::Builder::new().name("input".to_owned()).spawn(reading).map_err(|error| {
        Complaint::new(Exit::Failure, what, format!("failed to start a thread: {error}"), "try again")
    })?;
    Ok(receiver)
}
