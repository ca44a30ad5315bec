//! Many sessions that are open and say nothing, watched for when each of them is ended.

use std::time::{Duration, Instant};

use super::limits::ANSWER_TIME_MAX;
use crate::{
    load::{
        LoadError,
        link::{Link, Scratch},
        poll::{Poll, Ready},
        wire::{self, kind},
    },
    process::now,
};

/// Open sessions, each at its place.
pub struct Crowd {
    poll: Poll,
    scratch: Scratch,
    ready: Vec<Ready>,
    members: Vec<Member>,
}

/// One session.
#[derive(Default)]
struct Member {
    /// While it is open.
    link: Option<Link>,
    /// When the broker said that it ends, and why; or when it just closed.
    ended: Option<(Instant, Option<u8>)>,
    answered: bool,
}

impl Crowd {
    /// Of connections whose sessions are open.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn new(links: Vec<Link>) -> Result<Self, LoadError> {
        let poll = Poll::new()?;
        let mut members = Vec::with_capacity(links.len());
        for (place, mut link) in links.into_iter().enumerate() {
            link.watch(&poll, place)?;
            members.push(Member { link: Some(link), ..Member::default() });
        }
        let mut crowd = Self { poll, scratch: Scratch::new(), ready: Vec::new(), members };
        // Everybody is ready to be written to at first.
        while crowd.look(Duration::from_millis(20))? > 0 {}
        Ok(crowd)
    }

    /// Waits for news, not longer than `longest`, and takes them. Says how many there were.
    ///
    /// # Errors
    /// The kernel refuses, or somebody was sent what is no MQTT.
    pub fn look(&mut self, longest: Duration) -> Result<usize, LoadError> {
        self.ready.clear();
        self.poll.wait(longest, &mut self.ready)?;
        let at = now();
        for event in &self.ready {
            let Some(Member { link, ended, answered }) = self.members.get_mut(event.link) else { continue };
            let Some(open) = link else { continue };
            let heard = open.read(&mut self.scratch, |bytes, _| -> Result<(), LoadError> {
                while let Some(packet) = wire::take(bytes)? {
                    match packet.kind {
                        kind::DISCONNECT => *ended = Some((at, Some(packet.reason()))),
                        kind::PINGRESP => *answered = true,
                        other => return Err(LoadError::Unexpected(other)),
                    }
                }
                Ok(())
            });
            match heard {
                Ok(_) if open.write(&self.poll, event.link).is_ok() => {}
                Err(LoadError::Unexpected(other)) => return Err(LoadError::Unexpected(other)),
                // It was closed; with the link goes its socket, and nobody watches it any more.
                Ok(_) | Err(_) => {
                    ended.get_or_insert((at, None));
                    *link = None;
                }
            }
        }
        Ok(self.ready.len())
    }

    /// When the session at this place was ended.
    pub fn ended_at(&self, place: usize) -> Option<Instant> {
        Some(self.members.get(place)?.ended?.0)
    }

    /// Why, by its own words.
    pub fn reason(&self, place: usize) -> Option<u8> {
        self.members.get(place)?.ended?.1
    }

    /// How many have been ended.
    pub fn ended_count(&self) -> usize {
        self.members.iter().filter(|member| member.ended.is_some()).count()
    }

    /// Pings everybody who is there, and says how many answered.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn ping(&mut self) -> Result<usize, LoadError> {
        for (place, member) in self.members.iter_mut().enumerate() {
            member.answered = false;
            let Some(link) = &mut member.link else { continue };
            link.outbox.extend(wire::PINGREQ);
            // Who has been closed meanwhile is found out by reading.
            let _ = link.write(&self.poll, place);
        }
        let deadline = now() + ANSWER_TIME_MAX;
        let waits = |member: &Member| member.link.is_some() && !member.answered;
        while self.members.iter().any(waits) && now() < deadline {
            self.look(Duration::from_millis(100))?;
        }
        Ok(self.members.iter().filter(|member| member.answered).count())
    }
}
