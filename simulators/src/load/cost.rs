//! What a run costs: the broker, the load itself, and whatever else the machine was busy with.

use std::{fs, io, process, time::Duration};

use crate::gauge::{Gauge, Mark, Memory};

/// Looks at the broker, if its process is known, at this process, and at the machine.
pub struct Costs {
    broker: Option<Gauge>,
    own: Gauge,
}

/// A moment.
pub struct Moment {
    broker: Option<Mark>,
    own: Mark,
    machine: Option<Duration>,
}

/// What passed between two moments.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// On the clock.
    pub wall: Duration,
    /// The broker's processor time.
    pub broker: Option<Duration>,
    /// This process's.
    pub own: Duration,
    /// Everybody else's.
    pub others: Option<Duration>,
}

impl Costs {
    /// For a broker with this process id.
    pub fn new(pid: Option<u32>) -> Self {
        Self { broker: pid.map(Gauge::new), own: Gauge::new(process::id()) }
    }

    /// Takes the moment.
    ///
    /// # Errors
    /// The broker has gone.
    pub fn take(&self) -> io::Result<Moment> {
        let broker = self.broker.as_ref().map(Gauge::mark).transpose()?;
        let machine = fs::read_to_string("/proc/stat").ok().as_deref().and_then(busy);
        Ok(Moment { broker, own: self.own.mark()?, machine })
    }

    /// The broker's memory.
    ///
    /// # Errors
    /// The broker has gone.
    pub fn memory(&self) -> io::Result<Option<Memory>> {
        self.broker.as_ref().map(Gauge::memory).transpose()
    }
}

impl Cost {
    /// What passed from one moment to another.
    pub fn between(before: &Moment, after: &Moment) -> Self {
        let own = after.own.since(before.own);
        let broker = after.broker.zip(before.broker).map(|(after, before)| after.since(before).cpu);
        let machine = after.machine.zip(before.machine).map(|(after, before)| after.saturating_sub(before));
        let ours = own.cpu + broker.unwrap_or_default();
        Self { wall: own.wall, broker, own: own.cpu, others: machine.map(|all| all.saturating_sub(ours)) }
    }

    /// Processor time of somebody as a share of one processor, in percent.
    pub fn percent(&self, time: Duration) -> f64 {
        100.0 * time.as_secs_f64() / self.wall.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// Time that all processors were busy, from the first line of `/proc/stat`: user, nice, system, (idle, waiting,)
/// interrupts of both kinds; guests are counted in user already.
fn busy(stat: &str) -> Option<Duration> {
    let first = stat.lines().next()?.strip_prefix("cpu ")?;
    let times: Vec<u64> = first.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    let (&[user, nice, system, _idle, _waiting, hard, soft], _) = times.split_first_chunk()?;
    let ticks = user + nice + system + hard + soft;
    Some(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_machine_is_told_from_an_idle_one() {
        let stat = "cpu  100 20 30 9999 50 1 2 0 0 0\ncpu0 1 2 3\n";
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        assert_eq!(busy(stat), Some(Duration::from_secs_f64(153.0 / ticks)));
        assert_eq!(busy("intr 7\n"), None);
    }
}
