//! The part of an update in which blocks arrive: one window after another, marked each MiB.

use std::{mem, vec};

use muster_schemas::firmware::{Block, FailureCode, Outcome, Stage};

use super::{Action, Order, State, Telling, Updater, Way, reserved, window::Window};
use crate::{
    limits::{MARK_BYTES, PROGRESS_REPORTS_MAX, WRONG_WINDOWS_MAX},
    slots::Plan,
};

#[derive(Debug, Clone)]
pub(super) struct Receiving {
    order: Box<Order>,
    /// The way that is being tried.
    way: Way,
    /// The ways that are left.
    ways: vec::IntoIter<Way>,
    /// None until the slot is ready.
    window: Option<Window>,
    /// How far it is in the file.
    kept: u64,
    /// How far a mark was asked for.
    marked: u64,
    reported: u64,
    wrong: u32,
    deadline: Option<u64>,
}

impl Receiving {
    /// None if the order names no way.
    pub(super) fn new(mut order: Box<Order>, now_ms: u64) -> Option<Self> {
        let deadline = order.download_ms.map(|time| now_ms.saturating_add(time));
        let mut ways = mem::take(&mut order.ways).into_iter();
        let way = ways.next()?;
        Some(Self { order, way, ways, window: None, kept: 0, marked: 0, reported: 0, wrong: 0, deadline })
    }

    pub(super) fn plan(&self, telling: Option<Telling>) -> Plan {
        Plan {
            execution: self.order.execution,
            attempt: self.order.attempt,
            reserved: reserved(telling),
            image: self.order.image.clone(),
            transfer: self.way.transfer.clone(),
        }
    }

    pub(super) fn is_beginning(&self) -> bool {
        self.window.is_none() && self.kept == 0
    }

    /// Whether what failed may go well another way: what arrived was wrong, or did not unpack.
    pub(super) fn next_way(&mut self, code: FailureCode) -> bool {
        let may = matches!(code, FailureCode::DigestMismatch | FailureCode::Decompress);
        let Some(way) = self.ways.next().filter(|_| may) else { return false };
        (self.way, self.window) = (way, None);
        (self.kept, self.marked, self.reported, self.wrong) = (0, 0, 0, 0);
        true
    }

    pub(super) fn rest(&mut self) {
        if let Some(window) = &mut self.window {
            window.deadline = None;
        }
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        let asked = self.window.as_ref().and_then(|window| window.deadline);
        asked.into_iter().chain(self.deadline).min()
    }

    pub(super) fn is_too_late(&self, now_ms: u64) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now_ms)
    }

    pub(super) fn is_to_ask_again(&self, now_ms: u64) -> bool {
        let asked = self.window.as_ref().and_then(|window| window.deadline);
        asked.is_some_and(|deadline| deadline <= now_ms)
    }
}

impl Updater {
    pub(super) fn begin(&mut self, actions: &mut Vec<Action>) {
        if let State::Receiving(receiving) = &self.state {
            actions.push(Action::Begin(Box::new(receiving.plan(self.telling))));
        }
    }

    pub(super) fn began(&mut self, now_ms: u64, offset: u64, actions: &mut Vec<Action>) {
        let block_bytes = self.block_bytes;
        let State::Receiving(receiving) = &mut self.state else { return };
        let way = &receiving.way;
        let (artifact, size) = (way.transfer.digest, way.transfer.size);
        let offset = offset.min(size);
        (receiving.kept, receiving.marked, receiving.reported) = (offset, offset, offset);
        receiving.window = (offset < size).then(|| Window::new(artifact, size, offset, block_bytes));
        self.reached(Stage::Downloading, Some(offset), actions);
        if offset == size {
            self.install(actions);
        } else {
            self.ask(now_ms, actions);
        }
    }

    /// Asks for what is missing of the window, if there is anybody to ask.
    pub(super) fn ask(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        let State::Receiving(receiving) = &mut self.state else { return };
        if let Some(window) = receiving.window.as_mut().filter(|_| self.online) {
            self.request = self.request.wrapping_add(1);
            actions.push(Action::Ask(window.ask(now_ms, self.request)));
        }
    }

    pub(super) fn arrived(&mut self, now_ms: u64, block: &Block, actions: &mut Vec<Action>) {
        let block_bytes = self.block_bytes;
        let State::Receiving(receiving) = &mut self.state else { return };
        let Some(window) = receiving.window.as_mut() else { return };
        if !window.take(block) {
            return;
        }
        window.wait(now_ms);
        let (from, end) = (window.from, window.end());
        let Some(bytes) = window.whole().map(<[u8]>::to_vec) else { return };
        let way = &receiving.way;
        let (artifact, size) = (way.transfer.digest, way.transfer.size);
        if way.blocks.as_ref().is_some_and(|list| !list.has(from, &bytes)) {
            receiving.wrong += 1;
            if receiving.wrong >= WRONG_WINDOWS_MAX {
                let code = FailureCode::DigestMismatch;
                let detail = format!("what arrives at byte {from} is not what the list of blocks says");
                return self.end(Outcome::Failed { code }, detail, actions);
            }
            receiving.window = Some(Window::new(artifact, size, from, block_bytes));
            return self.ask(now_ms, actions);
        }
        actions.push(Action::Keep { offset: from, bytes });
        receiving.kept = end;
        receiving.window = (end < size).then(|| Window::new(artifact, size, end, block_bytes));
        if end == size || end - receiving.marked >= MARK_BYTES {
            receiving.marked = end;
            let plan = Box::new(receiving.plan(self.telling));
            actions.push(Action::Mark { verified: end, plan });
        }
        self.ask(now_ms, actions);
    }

    pub(super) fn marked(&mut self, verified: u64, actions: &mut Vec<Action>) {
        let State::Receiving(receiving) = &mut self.state else { return };
        let size = receiving.way.transfer.size;
        let grown = verified.saturating_sub(receiving.reported);
        let is_whole = verified == size;
        if is_whole || grown >= (size / PROGRESS_REPORTS_MAX).max(MARK_BYTES) {
            receiving.reported = verified;
            let stage = if is_whole { Stage::Downloaded } else { Stage::Downloading };
            self.reached(stage, Some(verified), actions);
        }
        if is_whole {
            self.install(actions);
        }
    }

    fn install(&mut self, actions: &mut Vec<Action>) {
        let State::Receiving(receiving) = &self.state else { return };
        let plan = Box::new(receiving.plan(self.telling));
        self.state = State::Installing { receiving: receiving.clone(), cancelled: false };
        self.reached(Stage::Installing, None, actions);
        actions.push(Action::Install(plan));
    }
}
