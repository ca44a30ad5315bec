//! Connections: opened and held, or opened and closed one after another.

use std::{process, time::Duration};

use super::{
    LoadError, LoadOptions, Scenario,
    cost::{Cost, Costs},
    dial::Dial,
    link::Scratch,
    opening::{KEEP_ALIVE_S, OPEN_TIME_MAX, Sessions, Wanted, open_all},
    poll::Poll,
    report::{Connections, Report},
    wire::{self, kind},
};
use crate::{gauge::Gauge, process::now};

/// Opens connections as the options say.
///
/// # Errors
/// A connection failed or was refused.
pub fn run(options: &LoadOptions) -> Result<Report, LoadError> {
    let tls = options.tls();
    let mut dial = Dial::new(options.address(), tls.as_ref(), options.sources)?;
    let is_tls = dial.is_tls();
    let mut sessions = Sessions {
        dial: &mut dial,
        version: options.protocol.into(),
        keep_alive_s: KEEP_ALIVE_S,
        opening_max: options.opening as usize,
    };
    let id = process::id();
    let wanted = (0..options.connections).map(|number| Wanted::plain(format!("load-{id}-c{number}")));
    let wanted: Vec<_> = wanted.collect();
    let poll = Poll::new()?;
    let is_held = options.scenario == Scenario::Idle;
    let mut held = Vec::with_capacity(if is_held { wanted.len() } else { 0 });
    settle(options)?;
    let costs = Costs::new(options.pid);
    let (memory_before, before) = (costs.memory()?, costs.take()?);
    let times = open_all(&mut sessions, &wanted, |place, mut link| {
        if is_held {
            held.push(link);
            return Ok(());
        }
        link.watch(&poll, place)?;
        link.outbox.extend(wire::DISCONNECT);
        Ok(link.write(&poll, place)?)
    })?;
    let cost = Cost::between(&before, &costs.take()?);
    let (mut memory, mut idle, mut alive) = (None, None, 0);
    if is_held {
        let resting = costs.take()?;
        rest(options.hold_time())?;
        idle = Some(Cost::between(&resting, &costs.take()?));
        memory = memory_before.zip(costs.memory()?);
        alive = count_alive(held)?;
    }
    Ok(Report::connections(
        options,
        Connections { is_tls, opened: times.len(), alive, times, cost, idle, memory },
    ))
}

/// Waits until the broker does nothing.
fn settle(options: &LoadOptions) -> Result<(), LoadError> {
    let Some(pid) = options.pid else { return Ok(()) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    Ok(runtime.block_on(Gauge::new(pid).quiet())?)
}

/// Lets time pass.
fn rest(time: Duration) -> Result<(), LoadError> {
    let mut timer = Poll::new()?;
    let end = now() + time;
    while now() < end {
        timer.wait(end.saturating_duration_since(now()), &mut Vec::new())?;
    }
    Ok(())
}

/// Pings every connection and counts the answers.
fn count_alive(mut links: Vec<super::link::Link>) -> Result<usize, LoadError> {
    let mut poll = Poll::new()?;
    let mut scratch = Scratch::new();
    for (place, link) in links.iter_mut().enumerate() {
        link.outbox.extend(wire::PINGREQ);
        link.watch(&poll, place)?;
    }
    let (mut answered, mut ended) = (0, 0);
    let mut ready = Vec::new();
    let deadline = now() + OPEN_TIME_MAX;
    while answered + ended < links.len() && now() < deadline {
        ready.clear();
        poll.wait(Duration::from_millis(200), &mut ready)?;
        for event in &ready {
            let Some(link) = links.get_mut(event.link) else { continue };
            let mut came = false;
            let heard = link.read(&mut scratch, |bytes, _| -> Result<(), LoadError> {
                while let Some(packet) = wire::take(bytes)? {
                    came |= packet.kind == kind::PINGRESP;
                }
                Ok(())
            });
            let written = link.write(&poll, event.link);
            if heard.is_err() || written.is_err() {
                ended += 1;
                link.unwatch(&poll)?;
            } else if came {
                answered += 1;
                link.outbox.extend(wire::DISCONNECT);
                // Whether the broker hears it makes no difference here.
                let _ = link.write(&poll, event.link);
                link.unwatch(&poll)?;
            }
        }
    }
    Ok(answered)
}
