//! A hub that is killed again and again, and whose power is cut, keeps what it promised.

use muster_simulators::torture::{self, TortureOptions};
use tempfile::TempDir;

#[test]
fn nothing_acknowledged_is_lost_doubled_or_out_of_order_over_kills_and_power_cuts() {
    let mut told = Vec::new();
    let report =
        torture::run(&TortureOptions { kills: 5, cuts: 5, disk_lies: false, seed: 1, keep: None }, &mut told);
    let report = report.unwrap_or_else(|error| panic!("{error}\n{}", String::from_utf8_lossy(&told)));
    assert!(report.is_well(), "{report}");
    let [qos_1, qos_2] = report.numbers.acknowledged;
    assert!(qos_1 > 0 && qos_2 > 0 && report.unsynced.1 > 0, "it was idle: {report}");
}

#[test]
fn a_disk_that_lies_about_its_syncs_is_found_out() {
    let folder = TempDir::new().expect("a folder for what is kept");
    let keep = Some(folder.path().to_owned());
    let options = TortureOptions { kills: 0, cuts: 5, disk_lies: true, seed: 1, keep };
    let outcome = torture::run(&options, &mut Vec::new());
    // The hub says that its store is damaged, or clients miss what was acknowledged.
    assert!(!matches!(&outcome, Ok(report) if report.is_well()), "{outcome:?}");
}
