//! Which deltas are made, and in which order: one at a time, for the versions that most devices run.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::{
    digest::Digest,
    limits::{DELTA_FROM_MAX, DELTA_JOBS_MAX},
};

/// Something to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Job {
    /// Which image comes out of it.
    pub image: Digest,
    /// On which image it is a patch; none: the image packed.
    pub from: Option<Digest>,
}

/// An image of the same class that devices may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// Which.
    pub image: Digest,
    /// How many devices say that they run it.
    pub devices: u64,
}

/// The queue of jobs, of which one is under way. A core: whoever owns the thread asks it what is next.
#[derive(Debug, Clone, Default)]
pub struct Workshop {
    waiting: VecDeque<Job>,
    running: Option<Job>,
    done: BTreeSet<Job>,
}

impl Workshop {
    /// With what is there already.
    pub fn new(done: impl IntoIterator<Item = Job>) -> Self {
        Self { done: done.into_iter().collect(), ..Self::default() }
    }

    /// Plans what to make for a new image: first the image packed, against which patches are weighed, then patches
    /// from the versions that most devices run, at most four. What is there, waits or did not pay is not made again.
    /// At 256 jobs no more are taken: devices get the packed image, and the next plan may find room.
    pub fn plan(&mut self, image: Digest, versions: &[Version]) -> usize {
        let mut devices: BTreeMap<Digest, u64> = BTreeMap::new();
        for version in versions.iter().filter(|version| version.image != image && version.devices > 0) {
            *devices.entry(version.image).or_default() += version.devices;
        }
        let mut most: Vec<(Digest, u64)> = devices.into_iter().collect();
        most.sort_by_key(|&(digest, devices)| (std::cmp::Reverse(devices), digest));
        let froms = most.into_iter().take(DELTA_FROM_MAX).map(|(digest, _)| Some(digest));
        let mut taken = 0;
        for from in [None].into_iter().chain(froms) {
            let job = Job { image, from };
            let known = self.done.contains(&job) || self.running == Some(job) || self.waiting.contains(&job);
            if !known && self.waiting.len() < DELTA_JOBS_MAX {
                self.waiting.push_back(job);
                taken += 1;
            }
        }
        taken
    }

    /// What to make next; nothing while something is being made.
    pub fn next_job(&mut self) -> Option<Job> {
        if self.running.is_some() {
            return None;
        }
        self.running = self.waiting.pop_front();
        self.running
    }

    /// The one under way has ended, with something or with nothing worth it.
    pub fn finished(&mut self) {
        self.done.extend(self.running.take());
    }

    /// The one under way failed for a reason that may pass: it may be planned again.
    pub fn failed(&mut self) {
        self.running = None;
    }

    /// An image is gone: nothing is made of it or for it. What is under way ends, and is thrown away by whoever sees
    /// that its image is gone.
    pub fn forget(&mut self, image: &Digest) {
        let about = |job: &Job| job.image == *image || job.from.as_ref() == Some(image);
        self.waiting.retain(|job| !about(job));
        self.done.retain(|job| !about(job));
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}
