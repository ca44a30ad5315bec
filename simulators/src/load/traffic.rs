//! Messages: publishers send as much as may be outstanding, subscribers count what comes, in one thread.
//!
//! ```text
//!   wait ──▶ read every link that is ready ──▶ publishers take turns with the room that came free ──▶ write ──┐
//!    ▲                                                                                                        │
//!    └────────────────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//! The load is lossless and closed: what the broker has not delivered takes room from what is sent next. The first
//! part of the time warms up; then time, deliveries and the broker's processor time are taken at both ends.

use std::{
    process,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use super::{
    LoadError, LoadOptions,
    cost::{Cost, Costs},
    dial::Dial,
    histogram,
    ledger::{Ledger, Tally},
    link::Scratch,
    opening::{KEEP_ALIVE_S, OPEN_TIME_MAX, Sessions, Wanted, nanoseconds, open_all, open_in_order},
    poll::{Poll, Ready},
    publisher::{Publisher, Schedule},
    report::{Messages, Report},
    subscriber::Subscriber,
    wire::{self, Template},
};
use crate::process::now;

/// Longest sleep when nothing comes.
const WAIT_MAX: Duration = Duration::from_millis(20);
/// After so long without a delivery what is missing counts as lost.
const LOST_TIME: Duration = Duration::from_secs(3);
/// Shortest time between two ticks of a fixed rate.
const TICK_MIN: Duration = Duration::from_micros(50);

/// All links and what may still be sent.
struct Traffic<'a> {
    options: &'a LoadOptions,
    poll: Poll,
    scratch: Scratch,
    subscribers: Vec<Subscriber>,
    publishers: Vec<Publisher>,
    /// Deliveries that one message makes.
    fan: u64,
    /// Deliveries that may still be added to what is outstanding.
    room: u64,
    /// Whose turn it is.
    turn: usize,
    schedule: Option<Schedule>,
    begun: Instant,
    delivered: u64,
    /// From sending to delivery, and how late the generator was, both in nanoseconds and only at a fixed rate.
    times: Histogram<u64>,
    lateness: Histogram<u64>,
    is_measuring: bool,
}

/// Runs a load of messages.
///
/// # Errors
/// A connection failed or the broker refused something.
pub fn run(options: &LoadOptions) -> Result<Report, LoadError> {
    let plan = options.plan();
    let tls = options.tls();
    let mut dial = Dial::new(options.address(), tls.as_ref(), options.sources)?;
    let version = options.protocol.into();
    let mut sessions = Sessions {
        dial: &mut dial,
        version,
        keep_alive_s: KEEP_ALIVE_S,
        opening_max: options.opening as usize,
    };
    let run_id = process::id();
    let listening = plan.listeners.iter().enumerate().map(|(number, listener)| Wanted {
        client_id: format!("load-{run_id}-s{number}"),
        persistent: options.persistent,
        filter: Some((listener.filter.clone(), options.qos)),
    });
    let listening: Vec<_> = listening.collect();
    let payload_bytes = options.size as usize;
    let links = open_in_order(&mut sessions, &listening)?.into_iter().zip(&plan.listeners);
    let subscribers = links.map(|(link, listener)| {
        let ledger = Ledger::new(run_id, listener.first, listener.count, payload_bytes);
        Subscriber::new(link, ledger, version)
    });
    let subscribers = subscribers.collect();
    let publishing = (0..plan.topics.len()).map(|number| Wanted::plain(format!("load-{run_id}-p{number}")));
    let publishing: Vec<_> = publishing.collect();
    let links = (0..).zip(open_in_order(&mut sessions, &publishing)?).zip(&plan.topics);
    let publishers = links.map(|((number, link), topic)| {
        let template = Template::new(version, topic, options.qos, payload_bytes);
        Publisher::new(link, run_id, number, options.qos, options.window, template)
    });
    let publishers = publishers.collect();
    let mut traffic = Traffic::new(options, subscribers, publishers, plan.fan)?;
    let messages = traffic.measure()?;
    traffic.end()?;
    if options.persistent {
        // A clean session under the same id ends the one that was kept.
        let again: Vec<_> = listening.into_iter().map(|wanted| Wanted::plain(wanted.client_id)).collect();
        open_all(&mut sessions, &again, |_, _| Ok(()))?;
    }
    Ok(Report::messages(options, messages))
}

impl<'a> Traffic<'a> {
    fn new(
        options: &'a LoadOptions,
        mut subscribers: Vec<Subscriber>,
        mut publishers: Vec<Publisher>,
        fan: u64,
    ) -> Result<Self, LoadError> {
        let poll = Poll::new()?;
        for (token, subscriber) in subscribers.iter_mut().enumerate() {
            subscriber.link.watch(&poll, token)?;
        }
        for (token, publisher) in (subscribers.len()..).zip(&mut publishers) {
            publisher.link.watch(&poll, token)?;
        }
        let schedule = options.fixed_rate().map(|rate| Schedule {
            gap: Duration::from_secs(1) / rate,
            publishers: u32::try_from(publishers.len()).unwrap_or(u32::MAX),
        });
        let room = match options.outstanding {
            // A flood: the sockets are the bound.
            0 => u64::MAX / 2,
            count => u64::from(count).max(fan),
        };
        Ok(Self {
            options,
            poll,
            scratch: Scratch::new(),
            subscribers,
            publishers,
            fan,
            room,
            turn: 0,
            schedule,
            begun: now(),
            delivered: 0,
            times: histogram()?,
            lateness: histogram()?,
            is_measuring: false,
        })
    }

    fn measure(&mut self) -> Result<Messages, LoadError> {
        self.begun = now();
        if let Some(schedule) = self.schedule {
            self.poll.tick(schedule.gap.max(TICK_MIN))?;
        }
        let costs = Costs::new(self.options.pid);
        let warm = self.begun + self.options.warm_up_time();
        while now() < warm {
            self.round(true)?;
        }
        self.is_measuring = true;
        let (before, delivered_before) = (costs.take()?, self.delivered);
        let end = warm + self.options.measured_time();
        while now() < end {
            self.round(true)?;
        }
        self.is_measuring = false;
        let (after, delivered) = (costs.take()?, self.delivered - delivered_before);
        let tally = self.drain()?;
        Ok(Messages {
            delivered,
            cost: Cost::between(&before, &after),
            sent: self.publishers.iter().map(Publisher::sent).sum(),
            tally,
            publishers: self.publishers.len(),
            subscribers: self.subscribers.len(),
            times: self.schedule.map(|_| self.times.clone()),
            lateness: self.schedule.map(|_| self.lateness.clone()),
            memory: costs.memory()?,
        })
    }

    /// Waits for what was sent to come, or for long enough that it is lost.
    fn drain(&mut self) -> Result<Tally, LoadError> {
        let expected = self.publishers.iter().map(Publisher::sent).sum::<u64>() * self.fan;
        let (mut news, mut seen) = (now(), self.delivered);
        loop {
            let is_settled = self.publishers.iter().all(Publisher::is_settled);
            if (self.delivered >= expected && is_settled) || now() - news > LOST_TIME {
                break;
            }
            self.round(false)?;
            if self.delivered != seen {
                (news, seen) = (now(), self.delivered);
            }
        }
        let sent = |publisher: u32| {
            let found = usize::try_from(publisher).ok().and_then(|place| self.publishers.get(place));
            found.map_or(0, Publisher::sent)
        };
        let mut tally = Tally::default();
        for subscriber in &self.subscribers {
            tally.add(subscriber.ledger.tally(sent));
        }
        Ok(tally)
    }

    /// Waits, reads, sends and writes once.
    fn round(&mut self, is_sending: bool) -> Result<(), LoadError> {
        let is_flood = is_sending && self.options.outstanding == 0 && self.schedule.is_none();
        let could_send = is_flood && self.publishers.iter().any(|publisher| publisher.room() > 0);
        let longest = if could_send { Duration::ZERO } else { WAIT_MAX };
        let mut ready: Vec<Ready> = Vec::new();
        self.poll.wait(longest, &mut ready)?;
        let mut came = 0;
        let first_publisher = self.subscribers.len();
        for event in &ready {
            if let Some(subscriber) = self.subscribers.get_mut(event.link) {
                if event.readable {
                    let begun = self.begun;
                    let times = (self.is_measuring && self.schedule.is_some()).then_some(&mut self.times);
                    came += subscriber.read(&mut self.scratch, || nanoseconds(now() - begun), times)?;
                }
                if event.writable || subscriber.link.has_output() {
                    subscriber.link.write(&self.poll, event.link)?;
                }
            } else if let Some(publisher) = self.publishers.get_mut(event.link - first_publisher) {
                if event.readable {
                    publisher.read(&mut self.scratch)?;
                }
                // What it answers goes out with what it sends next.
                if event.writable {
                    publisher.link.write(&self.poll, event.link)?;
                }
            }
        }
        self.delivered += came;
        self.room = self.room.saturating_add(came);
        if is_sending {
            match self.schedule {
                Some(schedule) => self.send_due(schedule),
                None => self.send_turns(),
            }
        }
        for (token, publisher) in (first_publisher..).zip(&mut self.publishers) {
            if publisher.link.output_bytes() > 0 {
                publisher.link.write(&self.poll, token)?;
            }
        }
        Ok(())
    }

    fn send_due(&mut self, schedule: Schedule) {
        let at_ns = nanoseconds(now() - self.begun);
        for publisher in &mut self.publishers {
            if let Some(late) = publisher.send_due(schedule, 0, at_ns)
                && self.is_measuring
            {
                self.lateness.saturating_record(late.max(1));
            }
        }
    }

    /// Gives the room to the publishers in turn, a burst to each, until it or they can take no more.
    fn send_turns(&mut self) {
        let at_ns = nanoseconds(now() - self.begun);
        let burst = u64::from(self.options.burst);
        let (mut passed, count) = (0, self.publishers.len());
        while self.room >= self.fan && passed < count {
            let Some(publisher) = self.publishers.get_mut(self.turn) else { return };
            let messages = publisher.room().min(burst).min(self.room / self.fan);
            publisher.send(messages, at_ns);
            self.room -= messages * self.fan;
            passed = if messages == 0 { passed + 1 } else { 0 };
            self.turn = (self.turn + 1) % count;
        }
    }

    /// Says good-bye on every connection.
    fn end(&mut self) -> Result<(), LoadError> {
        let deadline = now() + OPEN_TIME_MAX;
        let count = self.subscribers.len();
        let subscribers = self.subscribers.iter_mut().map(|subscriber| &mut subscriber.link);
        let publishers = self.publishers.iter_mut().map(|publisher| &mut publisher.link);
        for (token, link) in subscribers.chain(publishers).enumerate() {
            debug_assert!(token < count + self.options.publishers.max(1) as usize, "tokens follow the links");
            link.outbox.extend(wire::DISCONNECT);
            if now() < deadline {
                // The broker may have gone; nothing depends on this.
                let _ = link.write(&self.poll, token);
            }
        }
        Ok(())
    }
}
