//! Readiness of many sockets, and a timer finer than a millisecond. One thread waits here and nowhere else.

use std::{io, net::TcpStream, os::fd::OwnedFd, time::Duration};

use rustix::{
    event::{
        Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
    },
    io::{Errno, read},
    time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime},
};

/// Events taken at one time; what is more waits in the kernel.
const EVENTS_MAX: usize = 1_024;
/// The token of the timer, which no link has.
const TIMER: u64 = u64::MAX;

/// Sockets that are watched.
pub struct Poll {
    epoll: OwnedFd,
    timer: OwnedFd,
    events: Vec<Event>,
}

/// What became of one wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// Which link.
    pub link: usize,
    /// It can be read, or has ended.
    pub readable: bool,
    /// It can be written.
    pub writable: bool,
}

impl Poll {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// The process may open no more files.
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN)?;
        Ok(Self { epoll, timer, events: Vec::with_capacity(EVENTS_MAX) })
    }

    /// Watches a link for reading, and for writing if that is wanted.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn add(&self, socket: &TcpStream, link: usize, write: bool) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(link as u64), flags(write))?)
    }

    /// Changes whether it is watched for writing.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn change(&self, socket: &TcpStream, link: usize, write: bool) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, socket, EventData::new_u64(link as u64), flags(write))?)
    }

    /// Watches it no more.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn remove(&self, socket: &TcpStream) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, socket)?)
    }

    /// Wakes the waiter again and again, beginning one period from now.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn tick(&self, period: Duration) -> io::Result<()> {
        let period = Timespec::try_from(period).map_err(io::Error::other)?;
        let every = Itimerspec { it_interval: period, it_value: period };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &every)?;
        Ok(())
    }

    /// Waits until something is ready, and appends it to `into`. A tick is no link, it only ends the wait.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn wait(&mut self, longest: Duration, into: &mut Vec<Ready>) -> io::Result<()> {
        let longest = Timespec::try_from(longest).map_err(io::Error::other)?;
        self.events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), Some(&longest)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &self.events {
            let flags = event.flags;
            match event.data.u64() {
                TIMER => {
                    // How often it ticked is of no interest: the schedule is followed by the clock.
                    let _ = read(&self.timer, &mut [0; 8]);
                }
                link => into.push(Ready {
                    link: usize::try_from(link).unwrap_or(usize::MAX),
                    readable: flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR),
                    writable: flags.contains(EventFlags::OUT),
                }),
            }
        }
        Ok(())
    }
}

fn flags(write: bool) -> EventFlags {
    if write { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN }
}
