//! Stories about the whole bus: scripted peers, a real store in a directory of its own, real actors.
//!
//! A story runs in real time where it waits for the disk, and in virtual time where nothing but timers happens.

mod audit;
mod bombs;
mod congestion;
mod delivery;
mod durable;
mod endings;
mod failure;
mod garbage;
mod house;
mod inspection;
mod isolation;
mod listener;
mod log;
mod peer;
mod plain;
mod pressure;
mod quarantine;
mod questions;
mod refusal;
mod screening;
mod sieve;
mod simulation;
mod site;
mod storage;
mod takeover;
mod websocket;
mod will;
mod withdrawal;

use std::time::Duration;

use muster_mqtt::{Packet, PacketId};

use self::{
    peer::{Peer, id, message, puback, publish},
    site::Site,
};

/// How long a story waits for what must come. It is not waited out, unless the story fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a story in real time.
fn story<F: Future>(story: F) -> F::Output {
    actix::System::new()
        .block_on(async { tokio::time::timeout(4 * PATIENCE, story).await.expect("the story is stuck") })
}

/// Waits until something holds. Others have their turn meanwhile.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("still waiting until {what}"));
}

fn packet_id(packet: &Packet) -> PacketId {
    match packet {
        Packet::Publish(publish) => publish.packet_id.expect("a packet id"),
        other => panic!("not a PUBLISH: {other:?}"),
    }
}
