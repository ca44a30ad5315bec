//! hawkBit's words against our stages, as a table.

use muster_schemas::firmware::{FailureCode, Outcome, Stage};

use super::world::*;
use crate::*;

fn event(client: Client, action: &Action, said: Feedback) -> Event {
    feedback(&target(client, Some(action)), id(7), said).unwrap().event
}

#[test]
fn every_execution_and_result_has_a_meaning() {
    let table = [
        ("closed", "failure", Event::Ended(Outcome::Failed { code: FailureCode::Other })),
        ("closed", "success", Event::AwaitsVersion),
        ("closed", "none", Event::AwaitsVersion),
        ("download", "none", Event::Reached(Stage::Downloading)),
        ("downloaded", "success", Event::Reached(Stage::Downloaded)),
        ("canceled", "success", Event::Alive),
        ("rejected", "none", Event::Unwilling),
        ("proceeding", "none", Event::Reached(Stage::Downloading)),
        ("resumed", "none", Event::Reached(Stage::Downloading)),
        ("scheduled", "none", Event::Alive),
    ];
    for (execution, finished, expected) in table {
        let said = status(execution, finished, &[]);
        assert_eq!(event(Client::Unknown, &action(), said), expected, "{execution}+{finished}");
    }
    let sent = Action { served: true, ..action() };
    assert_eq!(
        event(Client::Unknown, &sent, status("proceeding", "none", &[])),
        Event::Reached(Stage::Installing)
    );
    let stopping = Action { phase: Phase::Cancelling, ..action() };
    let canceled = event(Client::Unknown, &stopping, status("canceled", "none", &[]));
    assert_eq!(canceled, Event::Ended(Outcome::Cancelled));
}

#[test]
fn a_late_report_never_moves_a_device_backwards() {
    for stage in [Stage::Installing, Stage::Rebooting, Stage::Verifying] {
        let action = Action { stage, ..action() };
        for execution in ["download", "downloaded", "proceeding", "resumed"] {
            let event = event(Client::Unknown, &action, status(execution, "none", &[]));
            assert!(matches!(event, Event::Reached(reached) if reached >= stage), "{execution}: {event:?}");
        }
    }
}

#[test]
fn the_reason_of_a_failure_is_taken_from_the_lines_of_the_client() {
    let table = [
        ("ERROR : HASH mismatch : 01ab <--> 02cd", FailureCode::DigestMismatch),
        ("SW not compatible with hardware", FailureCode::WrongClass),
        ("No downgrading allowed: new version 1.0", FailureCode::Downgrade),
        ("Signature verification failed", FailureCode::Signature),
        ("write: No space left on device", FailureCode::NoSpace),
        ("something broke", FailureCode::Other),
    ];
    for (line, code) in table {
        let event = event(Client::Swupdate, &action(), status("closed", "failure", &["x", line]));
        assert_eq!(event, Event::Ended(Outcome::Failed { code }), "{line}");
    }
}

#[test]
fn a_failure_after_the_reboot_is_a_device_that_went_back() {
    for stage in [Stage::Rebooting, Stage::Verifying] {
        let action = Action { stage, ..action() };
        let event = event(Client::Swupdate, &action, status("closed", "failure", &["HASH mismatch"]));
        assert_eq!(event, Event::Ended(Outcome::RolledBack));
    }
}

#[test]
fn what_is_over_is_410_and_what_never_was_404() {
    let (open, before) = (action(), Action { execution: id(5), ..action() });
    let mut device = target(Client::Unknown, Some(&open));
    let over = [id(4)];
    (device.installed, device.over) = (Some(&before), &over);
    let answer = |number| match feedback(&device, id(number), status("proceeding", "none", &[])) {
        Ok(_) => 200,
        Err(problem) => problem.status(),
    };
    assert_eq!([7, 5, 4, 9].map(answer), [200, 410, 410, 404]);
    let waiting = Action { phase: Phase::Unconfirmed, ..action() };
    let early = feedback(&target(Client::Unknown, Some(&waiting)), id(7), status("proceeding", "none", &[]));
    assert_eq!(early.unwrap_err().status(), 404);
}

#[test]
fn a_stop_ends_in_being_stopped_or_in_going_on() {
    let stopping = Action { phase: Phase::Cancelling, stage: Stage::Downloading, ..action() };
    let device = target(Client::Swupdate, Some(&stopping));
    let table = [
        ("closed", "success", Event::Ended(Outcome::Cancelled)),
        ("closed", "failure", Event::NotStopped),
        ("rejected", "none", Event::NotStopped),
        ("proceeding", "none", Event::Alive),
    ];
    for (execution, finished, expected) in table {
        let report = cancel_feedback(&device, id(7), status(execution, finished, &[])).unwrap();
        assert_eq!(report.event, expected, "{execution}+{finished}");
    }
    let open = action();
    let not_stopping =
        cancel_feedback(&target(Client::Swupdate, Some(&open)), id(7), status("closed", "success", &[]));
    assert_eq!(not_stopping.unwrap_err().status(), 404);
}

#[test]
fn a_person_agrees_once_or_twice_and_declines_before_it_began() {
    let yes = || {
        read_confirmation(Format::Json, br#"{"confirmation":"confirmed","code":10,"details":["ok"]}"#)
            .unwrap()
    };
    let no = || read_confirmation(Format::Json, br#"{"confirmation":"denied"}"#).unwrap();
    let waiting = Action { phase: Phase::Unconfirmed, ..action() };
    let device = target(Client::Unknown, Some(&waiting));
    assert_eq!(confirmation_feedback(&device, id(7), yes()).unwrap().event, Event::Confirmed);
    assert_eq!(confirmation_feedback(&device, id(7), no()).unwrap().event, Event::Denied);
    let open = action();
    let device = target(Client::Unknown, Some(&open));
    assert_eq!(confirmation_feedback(&device, id(7), yes()).unwrap().event, Event::Alive);
    assert_eq!(confirmation_feedback(&device, id(7), no()).unwrap_err().status(), 404);
    assert!(read_confirmation(Format::Json, br#"{"confirmation":"perhaps"}"#).is_err());
}
