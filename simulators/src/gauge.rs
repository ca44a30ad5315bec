//! What another process costs: its processor time and its memory, as the kernel counts them. Linux only.

use std::{
    fs, io,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use crate::{
    limits::{QUIET_POLL_TIME, QUIET_TIME_MAX},
    process::now,
};

/// Looks at one process from outside.
#[derive(Debug, Clone, Copy)]
pub struct Gauge {
    pid: u32,
}

/// A moment, and what the process had used by then.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    at: Instant,
    cpu: Duration,
}

/// What passed since a mark.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// On the clock.
    pub wall: Duration,
    /// On processors, in user and system mode together, of all threads.
    pub cpu: Duration,
}

/// Memory of a process, in KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Resident now.
    pub resident_kib: u64,
    /// Of that what is its own: neither program text nor libraries, which processes share.
    pub own_kib: u64,
    /// Most that ever was.
    pub peak_kib: u64,
}

impl Mark {
    /// What passed from an earlier mark of the same process to this one.
    pub fn since(self, earlier: Self) -> Span {
        Span {
            wall: self.at.saturating_duration_since(earlier.at),
            cpu: self.cpu.saturating_sub(earlier.cpu),
        }
    }
}

impl Gauge {
    /// A gauge for the process with this id.
    pub fn new(pid: u32) -> Self {
        Self { pid }
    }

    /// The process that it looks at.
    pub fn process(&self) -> u32 {
        self.pid
    }

    /// Begins a span.
    ///
    /// # Errors
    /// The process has gone.
    pub fn mark(&self) -> io::Result<Mark> {
        Ok(Mark { at: now(), cpu: self.cpu()? })
    }

    /// What passed since `mark`.
    ///
    /// # Errors
    /// The process has gone.
    pub fn since(&self, mark: Mark) -> io::Result<Span> {
        Ok(self.mark()?.since(mark))
    }

    /// Waits until the process does nothing any more, or for [`QUIET_TIME_MAX`].
    ///
    /// # Errors
    /// The process has gone.
    pub async fn quiet(&self) -> io::Result<()> {
        let deadline = now() + QUIET_TIME_MAX;
        let mut before = self.cpu()?;
        while now() < deadline {
            sleep(QUIET_POLL_TIME).await;
            let after = self.cpu()?;
            if after == before {
                return Ok(());
            }
            before = after;
        }
        Ok(())
    }

    /// Its memory.
    ///
    /// # Errors
    /// The process has gone.
    pub fn memory(&self) -> io::Result<Memory> {
        memory_of(&self.read("status")?).ok_or_else(|| io::Error::other("/proc told no memory"))
    }

    fn cpu(&self) -> io::Result<Duration> {
        let ticks =
            ticks_of(&self.read("stat")?).ok_or_else(|| io::Error::other("/proc told no processor time"))?;
        Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
    }

    fn read(&self, name: &str) -> io::Result<String> {
        fs::read_to_string(format!("/proc/{}/{name}", self.pid))
    }
}

/// Ticks in user and system mode, fields 14 and 15 of `/proc/<pid>/stat`. The second field, the name, may hold spaces
/// and parentheses.
fn ticks_of(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut times = rest.split(' ').skip(11).map(|field| field.parse::<u64>().ok());
    Some(times.next()?? + times.next()??)
}

fn memory_of(status: &str) -> Option<Memory> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().split(' ').next()?.parse().ok()
    };
    Some(Memory { resident_kib: field("VmRSS:")?, own_kib: field("RssAnon:")?, peak_kib: field("VmHWM:")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_past_a_name_with_parentheses() {
        let stat = "42 (a (b) c) S 1 42 42 0 -1 4194560 900 0 3 0 120 30 7 8 20 0 9 0 1234 1000 200 0";
        assert_eq!(ticks_of(stat), Some(150));
        assert_eq!(ticks_of("42 (a) S 1"), None);
    }

    #[test]
    fn memory_is_read_by_name() {
        let status = "Name:\tmuster\nVmPeak:\t  9999 kB\nVmHWM:\t   31240 kB\nVmRSS:\t   28100 kB\nRssAnon:\t   9000 kB\n";
        assert_eq!(
            memory_of(status),
            Some(Memory { resident_kib: 28_100, own_kib: 9_000, peak_kib: 31_240 })
        );
        assert_eq!(memory_of("Name:\tkthreadd\n"), None);
    }
}
