//! The conformance vectors of `tests/vectors/mqtt`, driven against decoder and session without any I/O.

use std::path::Path;

use muster_mqtt::{Decoder, Outgoing, Packet, PacketLimits, Version, encode};

use crate::{
    stub::Stub,
    vector::{Ends, Vector, bytes, files},
};

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
    let steps = vector.steps();
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
    if Some(ended) == vector.ends {
        Ok(())
    } else {
        Err(format!("ended {ended:?}: {:?}", stub.close_reason()))
    }
}

#[test]
fn every_vector_holds() {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/mqtt");
    let mut count = 0;
    let mut failures = Vec::new();
    for file in files(&all, "") {
        for vector in file.vectors.iter().filter(|vector| vector.is_for_the_core()) {
            count += 1;
            if let Err(failure) = run(vector) {
                failures.push(format!("{}: {}: {failure}", file.shown, vector.name));
            }
        }
    }
    assert!(count >= 1_500, "only {count} vectors found");
    let shown = failures.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "{} of {count} vectors fail, such as:\n{shown}", failures.len());
}
