//! The part of an update in which the new image shows that it is well, within its time.

use muster_schemas::firmware::FailureCode;

use super::{Action, Health, Sign, State, Updater};
use crate::{limits::COMMIT_AGAIN_MS, pointer::Reason};

/// What a new image has shown. All by itself it is the judge of `muster-boot`, which asks no hub.
#[derive(Debug, Clone)]
pub struct Trial {
    version: String,
    health: Health,
    deadline: u64,
    up: bool,
    connected: bool,
    passed: bool,
    ill: Option<String>,
    /// Whether something is being written, or when it is tried again.
    writing: bool,
    again: Option<u64>,
}

/// What to do with an image on trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is not known yet.
    Open,
    /// It is well.
    Well,
    /// It is not, and why.
    Ill(String),
}

impl Trial {
    /// A trial of an image that should say that it is this version.
    pub fn new(version: &str, health: Health, now_ms: u64) -> Self {
        let deadline = now_ms.saturating_add(health.within_ms);
        let version = version.to_owned();
        let (up, connected, passed) = (false, false, false);
        Self { version, health, deadline, up, connected, passed, ill: None, writing: false, again: None }
    }

    /// Takes a sign. What was ill stays ill.
    pub fn take(&mut self, sign: Sign) {
        match sign {
            Sign::Up(version) if version == self.version => self.up = true,
            Sign::Up(version) => {
                self.ill
                    .get_or_insert(format!("it says that it is {version}, and should be {}", self.version));
            }
            Sign::Connected => self.connected = true,
            Sign::Passed => self.passed = true,
            Sign::Ill(why) => {
                self.ill.get_or_insert(why);
            }
        }
    }

    /// How it stands at that time.
    pub fn verdict(&self, now_ms: u64) -> Verdict {
        let Health { needs_connection, needs_command, .. } = self.health;
        let missing = [
            (!self.up, "did not start"),
            (needs_connection && !self.connected, "did not reach the hub"),
            (needs_command && !self.passed, "did not pass its health check"),
        ];
        let missing = missing.iter().find(|(missing, _)| *missing).map(|(_, what)| *what);
        match (&self.ill, missing) {
            (Some(why), _) => Verdict::Ill(why.clone()),
            (None, None) => Verdict::Well,
            (None, Some(what)) if now_ms >= self.deadline => Verdict::Ill(format!("it {what} in time")),
            (None, Some(_)) => Verdict::Open,
        }
    }

    /// When to look again.
    pub fn next_deadline(&self) -> u64 {
        self.again.map_or(self.deadline, |again| again.min(self.deadline))
    }

    pub(super) fn is_too_late(&self, now_ms: u64) -> bool {
        now_ms >= self.deadline
    }

    /// A record could not be written.
    pub(super) fn write_again(&mut self, now_ms: u64) {
        self.writing = false;
        self.again = Some(now_ms.saturating_add(COMMIT_AGAIN_MS));
    }
}

impl Updater {
    pub(super) fn sign(&mut self, now_ms: u64, sign: Sign, actions: &mut Vec<Action>) {
        if let State::Trial(trial) = &mut self.state {
            trial.take(sign);
            self.look_at_trial(now_ms, actions);
        }
    }

    pub(super) fn look_at_trial(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        let State::Trial(trial) = &mut self.state else { return };
        if trial.writing || trial.again.is_some_and(|again| now_ms < again) {
            return;
        }
        let action = match trial.verdict(now_ms) {
            Verdict::Open => return,
            Verdict::Well => Action::Commit,
            Verdict::Ill(why) => Action::RollBack(Reason::new(FailureCode::HealthCheck, &why)),
        };
        trial.writing = true;
        actions.push(action);
    }
}
