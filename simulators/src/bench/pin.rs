//! Which processors a broker and its load run on. Where the kernel puts them makes more of a difference to how long a lone
//! message takes than any broker does: to wake another processor costs many times what the message does.

use std::{fs, io};

use rustix::{
    process::Pid,
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

/// Where a broker and its load run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Places {
    /// Where the kernel likes.
    Free,
    /// Both on the first processor.
    Together,
    /// The broker on the first processor, the load on the second.
    Apart,
}

/// Gives the load's processors back when it is dropped.
pub struct Pinned(CpuSet);

impl Places {
    /// Puts all threads that process `pid` has now, and this thread, where they are to run.
    ///
    /// # Errors
    /// There are not as many processors, or the process is gone.
    pub fn pin(self, pid: u32) -> io::Result<Option<Pinned>> {
        let load = match self {
            Self::Free => return Ok(None),
            Self::Together => 0,
            Self::Apart => 1,
        };
        for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
            let id = thread?.file_name().to_str().and_then(|id| id.parse().ok()).and_then(Pid::from_raw);
            sched_setaffinity(id, &only(0))?;
        }
        let before = Pinned(sched_getaffinity(None)?);
        sched_setaffinity(None, &only(load))?;
        Ok(Some(before))
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // What was allowed before is allowed again; if it is not, the next lines of the table show it.
        let _ = sched_setaffinity(None, &self.0);
    }
}

fn only(processor: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(processor);
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_put_on_one_processor_and_freed_again() {
        let mut broker = std::process::Command::new("sleep").arg("60").spawn().expect("a process");
        let before = sched_getaffinity(None).expect("affinity");
        let pinned = Places::Together.pin(broker.id()).expect("there is a first processor");
        assert_eq!(sched_getaffinity(None).expect("affinity").count(), 1);
        drop(pinned);
        assert_eq!(sched_getaffinity(None).expect("affinity"), before);
        assert!(Places::Free.pin(broker.id()).is_ok_and(|pinned| pinned.is_none()));
        broker.kill().and_then(|()| broker.wait()).expect("it ends");
        assert!(Places::Apart.pin(broker.id()).is_err(), "it is gone");
    }
}
