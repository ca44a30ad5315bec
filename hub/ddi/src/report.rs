//! From what a device says to what it means for an execution: hawkBit's words against our stages.

use muster_schemas::firmware::{ExecutionId, FailureCode, Outcome, Stage};

use crate::{
    client::Client,
    problem::Problem,
    said::{ConfigData, Confirmed, Execution, Feedback, Finished, StateVersion},
    state::{Action, Phase, Target},
};

/// What a report means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// For which execution.
    pub execution: ExecutionId,
    /// What.
    pub event: Event,
    /// How far it is, as the client counts.
    pub progress: Option<(u64, u64)>,
    /// A number that means something to the client.
    pub code: Option<i64>,
    /// Lines of its log.
    pub details: Vec<String>,
}

/// What a report means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The device is that far: never behind where it was.
    Reached(Stage),
    /// The client says that it is done, before the device has booted what it installed. It is verifying, its attributes
    /// are wanted, and it is a success when [`version_said`] or [`attribute_said`] says so.
    AwaitsVersion,
    /// It is over.
    Ended(Outcome),
    /// It lives, and that is all.
    Alive,
    /// It does not want to, and may change its mind: nothing is over.
    Unwilling,
    /// It was not stopped: it goes on.
    NotStopped,
    /// Somebody agreed.
    Confirmed,
    /// Somebody did not.
    Denied,
}

/// What a report on `deploymentBase/{id}/feedback` means.
pub fn feedback(target: &Target<'_>, id: ExecutionId, said: Feedback) -> Result<Report, Problem> {
    let action = active(target, id)?;
    if action.phase == Phase::Unconfirmed {
        return Err(Problem::NotFound("action"));
    }
    let event = match (said.execution, said.finished) {
        (Execution::Closed, Finished::Failure) => Event::Ended(failed(action, &said.details)),
        (Execution::Closed, Finished::Success | Finished::None) => {
            closed(target.client, action, &said.details)
        }
        (Execution::Canceled, _) if action.is_stopping() => Event::Ended(Outcome::Cancelled),
        (Execution::Canceled, _) => Event::Alive,
        (Execution::Rejected, _) => Event::Unwilling,
        (Execution::Download, _) => reached(action, Stage::Downloading),
        (Execution::Downloaded, _) => reached(action, Stage::Downloaded),
        (Execution::Scheduled, _) => Event::Alive,
        (Execution::Proceeding | Execution::Resumed, _) => {
            reached(action, proceeding(target.client, action, &said.details))
        }
    };
    Ok(report(id, event, said))
}

/// What a report on `cancelAction/{id}/feedback` means.
pub fn cancel_feedback(target: &Target<'_>, id: ExecutionId, said: Feedback) -> Result<Report, Problem> {
    let action = active(target, id)?;
    if action.phase != Phase::Cancelling {
        return Err(Problem::NotFound("action"));
    }
    let event = match (said.execution, said.finished) {
        // What is installed is not stopped: the next boot starts it.
        (Execution::Closed | Execution::Canceled, _) if !action.is_stopping() => Event::NotStopped,
        (Execution::Closed, Finished::Success | Finished::None) | (Execution::Canceled, _) => {
            Event::Ended(Outcome::Cancelled)
        }
        (Execution::Closed, Finished::Failure) | (Execution::Rejected, _) => Event::NotStopped,
        _ => Event::Alive,
    };
    Ok(report(id, event, said))
}

/// What a report on `confirmationBase/{id}/feedback` means.
pub fn confirmation_feedback(
    target: &Target<'_>,
    id: ExecutionId,
    said: Confirmed,
) -> Result<Report, Problem> {
    let action = active(target, id)?;
    match action.phase {
        Phase::Unconfirmed => {
            let event = if said.yes { Event::Confirmed } else { Event::Denied };
            Ok(Report { execution: id, event, progress: None, code: None, details: said.details })
        }
        // It was confirmed already, and the answer was lost: saying it again changes nothing.
        _ if said.yes => Ok(Report {
            execution: id,
            event: Event::Alive,
            progress: None,
            code: None,
            details: said.details,
        }),
        _ => Err(Problem::NotFound("action")),
    }
}

/// What it means for an action that a device states a version by `PUT installedBase`.
pub fn version_said(action: &Action, said: &StateVersion) -> Option<Outcome> {
    let is_it = action.chunks.iter().any(|chunk| chunk.name == said.name && chunk.version == said.version);
    is_it.then(|| running(action)).flatten()
}

/// What it means for an action that a device sends its attributes, of which `key` is the one that has its version.
pub fn attribute_said(action: &Action, said: &ConfigData, key: &str) -> Option<Outcome> {
    let version = said.attributes.get(key)?.as_ref()?;
    action.chunks.iter().any(|chunk| chunk.version == *version).then(|| running(action)).flatten()
}

/// It runs what it was to install. In between it may say so of what it has only unpacked, which means nothing.
fn running(action: &Action) -> Option<Outcome> {
    match action.stage {
        Stage::Offered => Some(Outcome::AlreadyInstalled),
        Stage::Rebooting | Stage::Verifying => Some(Outcome::Succeeded),
        Stage::Downloading | Stage::Downloaded | Stage::Installing => None,
    }
}

fn active<'a>(target: &'a Target<'_>, id: ExecutionId) -> Result<&'a Action, Problem> {
    match target.open(id) {
        Some(action) => Ok(action),
        None if target.is_over(id) => Err(Problem::Gone),
        None => Err(Problem::NotFound("action")),
    }
}

fn report(execution: ExecutionId, event: Event, said: Feedback) -> Report {
    Report { execution, event, progress: said.progress, code: said.code, details: said.details }
}

fn reached(action: &Action, stage: Stage) -> Event {
    Event::Reached(stage.max(action.stage))
}

/// `closed` without failure. Not every client means by it that the device has booted; and swupdate says it also when
/// it did nothing at all, because it was told to skip. It never is, here; if it says so all the same, it is no
/// success.
fn closed(client: Client, action: &Action, details: &[String]) -> Event {
    if details.iter().any(|line| line.contains("Skipped Update")) {
        return Event::Unwilling;
    }
    match client.closes_after_boot() {
        // It cannot have booted what it never had.
        true if action.stage > Stage::Offered || action.served => Event::Ended(Outcome::Succeeded),
        _ => Event::AwaitsVersion,
    }
}

/// Clients say `proceeding` for everything from the first byte to the last line of the installer. What we sent says
/// which.
fn proceeding(client: Client, action: &Action, details: &[String]) -> Stage {
    let installed =
        client == Client::Swupdate && details.iter().any(|line| line.contains("All Chunks Installed"));
    match (installed, action.served) {
        (true, _) => Stage::Rebooting,
        (false, true) => Stage::Installing,
        (false, false) => Stage::Downloading,
    }
}

/// A failure after the installer was done means that the device runs the old image again.
fn failed(action: &Action, details: &[String]) -> Outcome {
    match action.stage {
        Stage::Rebooting | Stage::Verifying => Outcome::RolledBack,
        _ => Outcome::Failed { code: reason(details) },
    }
}

/// What clients write, as far as we have seen it. It is for people and for counting, and decides nothing.
const REASONS: &[(&str, FailureCode)] = &[
    ("hash mismatch", FailureCode::DigestMismatch),
    ("checksum", FailureCode::DigestMismatch),
    ("not compatible with", FailureCode::WrongClass),
    ("compatible mismatch", FailureCode::WrongClass),
    ("no downgrading", FailureCode::Downgrade),
    ("signature", FailureCode::Signature),
    ("verification failed", FailureCode::Signature),
    ("no space", FailureCode::NoSpace),
    ("not enough free", FailureCode::NoSpace),
    ("timeout", FailureCode::Timeout),
    ("timed out", FailureCode::Timeout),
    ("download failed", FailureCode::Transfer),
    ("channel error", FailureCode::Transfer),
    ("decompress", FailureCode::Decompress),
];

fn reason(details: &[String]) -> FailureCode {
    let lines: Vec<String> = details.iter().map(|line| line.to_lowercase()).collect();
    let found = REASONS.iter().find(|(words, _)| lines.iter().any(|line| line.contains(words)));
    found.map_or(FailureCode::Other, |(_, code)| *code)
}
