//! What is kept in memory of each device of a campaign: 32 bytes.

use muster_schemas::firmware::FailureCode;

use crate::state::{Status, Why};

/// In place of a number of a device.
pub(crate) const NONE: u32 = u32::MAX;

/// One device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell {
    pub status: Status,
    /// Of a device that waits, what for; of one that failed, the code.
    why: u8,
    /// Of one that has ended, where it was before.
    pub stage: Status,
    /// Which attempt is under way, from 1; 0 before the first.
    pub attempt: u8,
    pub wave: u8,
    /// The place of its zone in the campaign's list.
    pub zone: u16,
    pub flags: u16,
    /// The number of the last report of this attempt.
    pub number: u32,
    /// When it has been silent for too long, in seconds of the campaign's clock; 0 if only the campaign's deadline holds.
    pub due_s: u32,
    /// How much has arrived, in KiB.
    pub kib: u32,
    /// Neighbours in the wheel.
    pub next: u32,
    pub prev: u32,
}

const _: () = assert!(size_of::<Cell>() == 32, "a million devices are 32 MB");

/// It is in its wave's queue.
pub(crate) const QUEUED: u16 = 1;
/// It was last seen to go.
pub(crate) const OFFLINE: u16 = 1 << 1;
/// Whoever is there allowed it.
pub(crate) const CONSENTED: u16 = 1 << 2;
/// It was asked to stop.
pub(crate) const CANCELLING: u16 = 1 << 3;
/// Its TPM proved that it runs the image.
pub(crate) const VERIFIED: u16 = 1 << 4;
/// It said that it runs the image.
pub(crate) const BOOTED: u16 = 1 << 5;
/// It said that it succeeded.
pub(crate) const REPORTED: u16 = 1 << 6;
/// It may download, and not yet install.
pub(crate) const HELD: u16 = 1 << 7;
/// It was offered it at least once.
pub(crate) const STARTED: u16 = 1 << 8;
/// After it had ended otherwise it said that it runs the image.
pub(crate) const LATE: u16 = 1 << 9;
/// After it had succeeded it said that it runs another image.
pub(crate) const REVERTED: u16 = 1 << 10;
/// It acknowledged that it was called off, or never had an offer.
pub(crate) const ACKNOWLEDGED: u16 = 1 << 11;
/// Another campaign has it.
pub(crate) const TAKEN: u16 = 1 << 12;
/// It is in its zone's list.
pub(crate) const PARKED: u16 = 1 << 13;
/// All of them.
pub(crate) const FLAGS: u16 = (1 << 14) - 1;

impl Cell {
    pub fn new(wave: u8, zone: u16, flags: u16) -> Self {
        let (status, stage) = (Status::Targeted, Status::Targeted);
        let (why, attempt, number, due_s, kib) = (0, 0, 0, 0, 0);
        Self { status, why, stage, attempt, wave, zone, flags, number, due_s, kib, next: NONE, prev: NONE }
    }

    pub fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    pub fn set(&mut self, flag: u16, on: bool) {
        if on {
            self.flags |= flag;
        } else {
            self.flags &= !flag;
        }
    }

    pub fn detail(&self) -> u8 {
        self.why
    }

    pub fn set_detail(&mut self, detail: u8) {
        self.why = detail;
    }

    /// What it waits for.
    pub fn why(&self) -> Option<Why> {
        if self.status == Status::Waiting { Why::from_number(self.why) } else { None }
    }

    /// Why it failed, or fails for now.
    pub fn code(&self) -> Option<FailureCode> {
        let failed = matches!(self.status, Status::Failed | Status::Retrying);
        if failed { FailureCode::from_number(self.why) } else { None }
    }
}
