//! Many connections opened at once, a bounded number at a time, each up to its CONNACK.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use muster_mqtt::Version;

use super::{
    LoadError,
    dial::Dial,
    histogram,
    link::{Link, Scratch},
    poll::{Poll, Ready},
    wire::{self, Opening, kind},
};
use crate::process::now;

/// Longest that one connection may take to open, and longest without any news.
pub const OPEN_TIME_MAX: Duration = Duration::from_secs(20);

/// Keep alive, in seconds: longer than any run, so that nobody has to ping. Not 0, which rumqttd refuses.
pub const KEEP_ALIVE_S: u16 = 3_600;

/// What every connection of a run has in common.
pub struct Sessions<'a> {
    /// How to get there.
    pub dial: &'a mut Dial,
    /// The protocol version.
    pub version: Version,
    /// Keep alive, in seconds.
    pub keep_alive_s: u16,
    /// How many are being opened at one time.
    pub opening_max: usize,
}

/// What is to be opened.
pub struct Wanted {
    /// The client id.
    pub client_id: String,
    /// Whether its session outlives the connection.
    pub persistent: bool,
    /// What it subscribes to, and at which QoS.
    pub filter: Option<(String, u8)>,
}

impl Wanted {
    /// A session that subscribes to nothing.
    pub fn plain(client_id: String) -> Self {
        Self { client_id, persistent: false, filter: None }
    }
}

/// A connection that is being opened.
struct Pending {
    link: Link,
    wanted: usize,
    begun: Instant,
    acknowledged: bool,
}

/// Opens all, and hands each to `opened` with its place in `wanted`; gives how long each took, in nanoseconds.
///
/// # Errors
/// The first that fails.
pub fn open_all(
    sessions: &mut Sessions<'_>,
    wanted: &[Wanted],
    mut opened: impl FnMut(usize, Link) -> Result<(), LoadError>,
) -> Result<Histogram<u64>, LoadError> {
    let mut poll = Poll::new()?;
    let mut scratch = Scratch::new();
    let mut times = histogram()?;
    let mut places: Vec<Option<Pending>> = (0..sessions.opening_max).map(|_| None).collect();
    let mut free: VecDeque<usize> = (0..sessions.opening_max).collect();
    let (mut begun, mut done) = (0, 0);
    let mut ready: Vec<Ready> = Vec::new();
    let mut last_news = now();
    while done < wanted.len() {
        while let Some(next) = wanted.get(begun) {
            let Some(place) = free.pop_front() else { break };
            let link = begin(sessions, next, &poll, place)?;
            if let Some(slot) = places.get_mut(place) {
                *slot = Some(Pending { link, wanted: begun, begun: now(), acknowledged: false });
            }
            begun += 1;
        }
        ready.clear();
        poll.wait(Duration::from_secs(1), &mut ready)?;
        let at = now();
        if ready.is_empty() && at - last_news > OPEN_TIME_MAX {
            return Err(LoadError::Silent("an answer to CONNECT"));
        }
        for event in &ready {
            last_news = at;
            let Some(slot) = places.get_mut(event.link) else { continue };
            let Some(pending) = slot.as_mut() else { continue };
            let Some(next) = wanted.get(pending.wanted) else { continue };
            let mut open = false;
            if event.readable {
                let acknowledged = &mut pending.acknowledged;
                pending.link.read(&mut scratch, |bytes, out| -> Result<(), LoadError> {
                    while !open && let Some(packet) = wire::take(bytes)? {
                        open = answered(&packet, sessions.version, next, acknowledged, out)?;
                    }
                    Ok(())
                })?;
            }
            if pending.link.has_output() || event.writable {
                pending.link.write(&poll, event.link)?;
            }
            if open && let Some(mut pending) = slot.take() {
                times.saturating_record(nanoseconds(at - pending.begun));
                pending.link.unwatch(&poll)?;
                pending.link.shrink();
                opened(pending.wanted, pending.link)?;
                free.push_back(event.link);
                done += 1;
            }
        }
    }
    Ok(times)
}

/// Opens all and gives them in the order in which they were wanted.
///
/// # Errors
/// The first that fails.
pub fn open_in_order(sessions: &mut Sessions<'_>, wanted: &[Wanted]) -> Result<Vec<Link>, LoadError> {
    let mut links = Vec::with_capacity(wanted.len());
    open_all(sessions, wanted, |place, link| {
        links.push((place, link));
        Ok(())
    })?;
    links.sort_by_key(|(place, _)| *place);
    Ok(links.into_iter().map(|(_, link)| link).collect())
}

fn begin(sessions: &mut Sessions<'_>, wanted: &Wanted, poll: &Poll, place: usize) -> Result<Link, LoadError> {
    let mut link = sessions.dial.begin()?;
    let opening = Opening {
        version: sessions.version,
        client_id: &wanted.client_id,
        clean: true,
        persistent: wanted.persistent,
        keep_alive_s: sessions.keep_alive_s,
    };
    wire::connect(&mut link.outbox, &opening);
    link.watch(poll, place)?;
    Ok(link)
}

/// Whether nothing more is due.
fn answered(
    packet: &wire::Packet<'_>,
    version: Version,
    wanted: &Wanted,
    acknowledged: &mut bool,
    out: &mut Vec<u8>,
) -> Result<bool, LoadError> {
    match (packet.kind, &wanted.filter) {
        (kind::CONNACK, filter) if !*acknowledged => {
            let (_, code) = packet.connack()?;
            if code != 0 {
                return Err(LoadError::Refused { what: "a session", code });
            }
            *acknowledged = true;
            if let Some((filter, qos)) = filter {
                wire::subscribe(out, version, filter, *qos);
            }
            Ok(filter.is_none())
        }
        (kind::SUBACK, Some((_, qos))) if *acknowledged => {
            let code = packet.suback(version)?;
            if code == *qos { Ok(true) } else { Err(LoadError::Refused { what: "a subscription", code }) }
        }
        (kind::DISCONNECT, _) => Err(LoadError::Refused { what: "to go on", code: packet.reason() }),
        _ => Err(LoadError::Unexpected(packet.kind)),
    }
}

/// A duration in nanoseconds.
pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
