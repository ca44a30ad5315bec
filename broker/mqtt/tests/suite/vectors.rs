//! The conformance vectors of `tests/vectors/mqtt`, driven against decoder and session without any I/O.

use std::{fs, path::Path};

use muster_mqtt::{Decoder, Outgoing, Packet, PacketLimits, Version, encode};
use serde::Deserialize;

use crate::stub::Stub;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    name: String,
    ends: Ends,
    #[serde(default)]
    send: String,
    #[serde(default)]
    expect: String,
    #[serde(default)]
    steps: Vec<Step>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    #[serde(default)]
    after_ms: u64,
    #[serde(default)]
    send: String,
    #[serde(default)]
    expect: String,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Ends {
    Open,
    Closed,
}

/// Bytes from hexadecimal digits and quoted text.
fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (index, part) in text.split('\'').enumerate() {
        if index % 2 == 1 {
            bytes.extend_from_slice(part.as_bytes());
            continue;
        }
        let digits: Vec<char> = part.chars().filter(|c| !c.is_whitespace()).collect();
        for pair in digits.chunks(2) {
            let pair: String = pair.iter().collect();
            bytes.push(
                u8::from_str_radix(&pair, 16).unwrap_or_else(|_| panic!("{pair:?} is no byte in {text:?}")),
            );
        }
    }
    bytes
}

/// The answer without reason strings.
fn without_words(answer: &[u8], version: Version) -> Vec<u8> {
    let mut decoder = Decoder::client(version);
    decoder.buffer().extend_from_slice(answer);
    let mut outgoing = Outgoing::default();
    while let Some(mut packet) = decoder.next().expect("the server sends packets") {
        match &mut packet {
            Packet::ConnAck(connack) => connack.properties.reason = None,
            Packet::PubAck(ack) | Packet::PubRec(ack) => ack.reason = None,
            Packet::SubAck(suback) => suback.reason = None,
            Packet::Disconnect(disconnect) => disconnect.reason = None,
            _ => {}
        }
        encode(&packet, version, &mut outgoing);
    }
    assert!(decoder.buffer().is_empty(), "the server sends whole packets");
    outgoing.take_chunks().concat()
}

fn run(vector: &Vector) -> Result<(), String> {
    let mut steps = vector.steps.clone();
    if steps.is_empty() {
        steps.push(Step { after_ms: 0, send: vector.send.clone(), expect: vector.expect.clone() });
    }
    // The version is that of the client's first packet; without one it is told by the answer's shape.
    let mut first = Decoder::new(PacketLimits::default());
    first.buffer().extend_from_slice(&bytes(&steps[0].send));
    let _ = first.next();

    let mut stub = Stub::new();
    for (number, step) in steps.iter().enumerate() {
        stub.wait_ms(step.after_ms);
        let answer = stub.send(&bytes(&step.send));
        let by_shape = if answer.get(1) == Some(&2) { Version::V311 } else { Version::V5 };
        let answer = without_words(&answer, first.version().unwrap_or(by_shape));
        let expected = bytes(&step.expect);
        if answer != expected {
            return Err(format!(
                "step {}:\n  expected {expected:02x?}\n  got      {answer:02x?}",
                number + 1
            ));
        }
    }
    let ended = if stub.is_closed() { Ends::Closed } else { Ends::Open };
    if ended == vector.ends { Ok(()) } else { Err(format!("ended {ended:?}: {:?}", stub.close_reason())) }
}

#[test]
fn every_vector_holds() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/mqtt");
    let mut count = 0;
    let mut failures = Vec::new();
    let mut files: Vec<_> =
        fs::read_dir(&directory).expect("vectors").map(|entry| entry.expect("entry").path()).collect();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "json")) {
        let text = fs::read_to_string(file).expect("readable");
        let vectors: Vec<Vector> =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for vector in &vectors {
            count += 1;
            if let Err(failure) = run(vector) {
                failures.push(format!("{}: {}: {failure}", file.display(), vector.name));
            }
        }
    }
    assert!(count >= 1_500, "only {count} vectors found");
    let shown = failures.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "{} of {count} vectors fail, such as:\n{shown}", failures.len());
}
