//! What is known of a wave, or of a campaign, without looking at its devices.

use crate::{
    cell::{Cell, REVERTED, STARTED, VERIFIED},
    plan::{Classes, Failure, Limit, Success},
    state::{STATUSES, Status},
};

/// Counts that each transition keeps right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Devices in each status.
    by: [u32; STATUSES],
    /// Devices that were offered it at least once.
    pub started: u32,
    /// Devices that started and ended: failed, rolled back, timed out, rejected.
    pub(crate) classes: [u32; 4],
    /// Devices that started and whose end says nothing of the image.
    pub(crate) excused: u32,
    /// Devices that ended before they were offered it.
    pub(crate) unstarted: u32,
    /// Devices that succeeded and proved it.
    pub verified: u32,
    /// Devices that had ended otherwise, and later said that they run the image.
    pub late: u32,
    /// Devices that had succeeded, and later said that they run another image.
    pub reverted: u32,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            by: [0; STATUSES],
            started: 0,
            classes: [0; 4],
            excused: 0,
            unstarted: 0,
            verified: 0,
            late: 0,
            reverted: 0,
        }
    }
}

impl Counts {
    /// Devices in that status.
    pub fn of(&self, status: Status) -> u32 {
        self.by.get(usize::from(status.number())).copied().unwrap_or(0)
    }

    /// Devices in all.
    pub fn all(&self) -> u32 {
        self.by.iter().sum()
    }

    /// Devices that have not ended.
    pub fn open(&self) -> u32 {
        let open = Status::ALL.iter().filter(|status| !status.is_ended());
        open.map(|status| self.of(*status)).sum()
    }

    /// Devices that have an offer that has not ended.
    pub fn in_flight(&self) -> u32 {
        Status::ALL.iter().filter(|status| status.is_in_flight()).map(|status| self.of(*status)).sum()
    }

    fn slot(&mut self, status: Status) -> Option<&mut u32> {
        self.by.get_mut(usize::from(status.number()))
    }

    pub(crate) fn join(&mut self, status: Status) {
        self.slot(status).into_iter().for_each(|count| *count += 1);
    }

    pub(crate) fn turn(&mut self, from: Status, to: Status, started: bool) {
        self.slot(from).into_iter().for_each(|count| *count = count.saturating_sub(1));
        self.join(to);
        if !to.is_ended() || from.is_ended() {
            return;
        }
        match (started, to.class()) {
            (false, _) => self.unstarted += 1,
            (true, Some(class)) => self.classes.get_mut(class).into_iter().for_each(|count| *count += 1),
            (true, None) => self.excused += u32::from(to.is_excused()),
        }
    }

    /// Counts a device that is already somewhere, as when a snapshot is read.
    pub(crate) fn add(&mut self, cell: &Cell) {
        let started = cell.has(STARTED);
        self.started += u32::from(started);
        match cell.status.is_ended() {
            true => {
                self.join(cell.stage);
                self.turn(cell.stage, cell.status, started);
            }
            false => self.join(cell.status),
        }
        self.verified += u32::from(cell.status == Status::Succeeded && cell.has(VERIFIED));
        self.late += u32::from(cell.has(crate::cell::LATE));
        if cell.has(REVERTED) {
            self.revert();
        }
    }

    /// One that had succeeded runs another image: that counts as one that went back.
    pub(crate) fn revert(&mut self) {
        self.reverted += 1;
        let [_, rolled_back, _, _] = &mut self.classes;
        *rolled_back += 1;
    }

    /// Whether a wave with these is good enough.
    pub(crate) fn suffice(&self, success: &Success) -> bool {
        let eligible = u64::from(self.all() - self.unstarted.min(self.all()));
        let started = u64::from(self.started);
        let judged = u64::from(self.started - self.excused.min(self.started));
        let succeeded = u64::from(self.of(Status::Succeeded) - self.reverted.min(self.of(Status::Succeeded)));
        let is_enough = started * 1_000 >= eligible * u64::from(success.started_permille);
        // Nothing is concluded of nobody, unless there is nobody left.
        (judged > 0 || self.open() == 0)
            && is_enough
            && succeeded * 1_000 >= judged * u64::from(success.permille)
    }

    /// Devices that count against a threshold, and devices that started, since `base`.
    pub(crate) fn since(&self, base: &Self, classes: Classes) -> (u32, u32) {
        let Classes { failed, rolled_back, timed_out, rejected } = classes;
        let counted = [failed, rolled_back, timed_out, rejected];
        let each = self.classes.iter().zip(&base.classes).zip(counted);
        let sum =
            each.filter(|(_, counted)| *counted).map(|((now, then), _)| now.saturating_sub(*then)).sum();
        (sum, self.started.saturating_sub(base.started))
    }

    /// Whether it is too much.
    pub(crate) fn trips(&self, base: &Self, failure: &Failure) -> bool {
        let (bad, started) = self.since(base, failure.classes);
        let is_known = bad > 0 && started >= failure.started_min;
        is_known
            && match failure.limit {
                Limit::Count(count) => bad >= count,
                Limit::Permille(permille) => {
                    u64::from(bad) * 1_000 >= u64::from(permille) * u64::from(started)
                }
            }
    }
}
