//! What is refused is written down, for its tenant and nobody else, and nothing of that goes missing unseen.

use muster_mqtt::ReasonCode;
use muster_schemas::{
    Kind, Qos,
    audit::{Act, AuditEntry},
};

use super::*;
use crate::{
    limits::{AUDIT_OWN_WAITING_MAX, AUDIT_PAGE_MAX},
    store::{Commit, Write},
};

const FOREIGN: &str = "devices/pump-2/events/x";

fn told(entry: &AuditEntry) -> (Act, Option<&str>, u8) {
    (entry.act, entry.subject.as_deref(), entry.code)
}

#[test]
fn every_refusal_stands_in_the_trail_of_its_tenant() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open_with(dir.path(), &["acme", "globex"], |quotas| {
            quotas.device.quota.connections_max = 1
        });
        let mut device = site.device("acme", "pump-1").connected().await;
        device.send(&publish(0, message(FOREIGN, Qos::AtMostOnce, "1"))).await;
        device.send(&publish(1, message(FOREIGN, Qos::AtLeastOnce, "2"))).await;
        assert!(matches!(device.next().await, Packet::PubAck(ack) if ack.code == ReasonCode::NotAuthorized));
        device.subscribes(&["#"]).await;
        let second = site.device("acme", "pump-1").knocks().await;
        assert_eq!(second.code, ReasonCode::QuotaExceeded);
        let will = message(FOREIGN, Qos::AtMostOnce, "forged");
        let dying = site.device("acme", "pump-3").leaves_behind(will).knocks().await;
        assert_eq!(dying.code, ReasonCode::NotAuthorized);
        device.send_bytes(&[0x00, 0x00]).await;
        device.is_told_to_go().await;

        let expected = [
            (Act::Publish, Some(FOREIGN), ReasonCode::NotAuthorized, 2),
            (Act::Subscribe, Some("#"), ReasonCode::NotAuthorized, 1),
            (Act::Connect, None, ReasonCode::QuotaExceeded, 1),
            (Act::Connect, Some(FOREIGN), ReasonCode::NotAuthorized, 1),
            (Act::Session, None, ReasonCode::MalformedPacket, 1),
        ];
        let is_told = |(act, subject, code, times): &(Act, Option<&str>, ReasonCode, u64)| {
            let entries = site.audited("acme").into_iter();
            let same = entries.filter(|entry| told(entry) == (*act, *subject, *code as u8));
            same.map(|entry| entry.times).sum::<u64>() == *times
        };
        until("all of it is on disk", || expected.iter().all(is_told)).await;
        let entries = site.audited("acme");
        assert_eq!(entries.iter().map(|entry| entry.times).sum::<u64>(), 6, "and nothing else");
        let [first, ..] = &entries[..] else { panic!("no entry") };
        let actor = first.actor.as_ref().unwrap();
        assert_eq!((actor.kind, actor.id.as_str()), (Kind::Device, "pump-1"));
        assert!(first.reason.contains("device-own-topics"));
        assert_eq!(site.audited("globex"), []);
    });
}

#[test]
fn a_trail_goes_on_after_a_restart_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    for life in 1..=2 {
        story(async {
            let site = Site::open(dir.path(), &["acme"]);
            let mut device = site.device("acme", "pump-1").connected().await;
            device.subscribes(&["#"]).await;
            until("it is on disk", || site.audited("acme").len() == life).await;
            let page = site.trail("acme").page(None, 1).unwrap();
            assert_eq!((page.entries[0].0, page.kept), (life as u64, Some(1..=life as u64)));
            site.store.close();
        });
    }
}

#[test]
fn what_is_refused_after_a_pause_is_written_as_well() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        let mut device = site.device("acme", "pump-1").connected().await;
        for (count, filter) in (1..).zip(["a", "b", "c"]) {
            device.subscribes(&[filter]).await;
            // The auditor has written all that there is, and rests.
            until("it is on disk", || site.audited("acme").len() == count).await;
        }
    });
}

#[test]
fn an_entry_that_was_taken_out_or_moved_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        let mut device = site.device("acme", "pump-1").connected().await;
        device.subscribes(&["a", "b", "c", "d"]).await;
        until("it is on disk", || site.audited("acme").len() == 4).await;
        let (table, handle) = (site.store.table("audit").unwrap(), site.keys("acme").handle());
        let key = |number: u64| [handle.as_slice(), &number.to_be_bytes()].concat();
        let write = |write| {
            let (done, stored) = std::sync::mpsc::sync_channel(1);
            let done = Box::new(move |outcome| done.send(outcome).unwrap());
            site.store.commit(Commit { writes: vec![write], fence: None, permit: None, done });
            stored.recv().unwrap().unwrap();
        };
        write(Write::Delete { table: table.clone(), key: key(2) });
        let page = site.trail("acme").page(Some(0), AUDIT_PAGE_MAX).unwrap();
        assert_eq!((page.missing, page.entries.len(), page.kept), (vec![2..=2], 3, Some(1..=4)));
        write(Write::Delete { table: table.clone(), key: key(4) });
        let page = site.trail("acme").page(None, AUDIT_PAGE_MAX).unwrap();
        assert_eq!(
            (page.missing, page.entries.len()),
            (vec![2..=2, 4..=4], 2),
            "nor is the end cut off unseen"
        );
        let ends = table.get(&key(0)).unwrap().unwrap();
        write(Write::Delete { table: table.clone(), key: key(0) });
        assert!(site.trail("acme").page(None, 1).is_err(), "nor is it empty without its row of ends");
        write(Write::Put { table: table.clone(), key: key(0), value: ends });
        let moved = table.get(&key(1)).unwrap().unwrap();
        write(Write::Put { table, key: key(2), value: moved });
        let error = site.trail("acme").page(Some(0), AUDIT_PAGE_MAX).unwrap_err();
        assert_eq!(error.to_string(), "open entry 2 of the audit trail");
    });
}

#[test]
fn a_flood_of_refusals_is_told_as_a_number_and_hides_nobody_else() {
    const FLOOD: u64 = 2_000;
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        let mut flooding = site.device("acme", "pump-1").connected().await;
        let mut other = site.device("acme", "pump-2").connected().await;
        for number in 0..FLOOD {
            let topic = format!("devices/pump-9/events/{number}");
            flooding.send(&publish(0, message(&topic, Qos::AtMostOnce, "x"))).await;
        }
        other.subscribes(&["#"]).await;
        let times = |name: &str| -> u64 {
            let of = |entry: &AuditEntry| entry.actor.as_ref().is_some_and(|actor| actor.id.as_str() == name);
            site.audited("acme").iter().filter(|entry| of(entry)).map(|entry| entry.times).sum()
        };
        until("all of it is told", || times("pump-1") == FLOOD && times("pump-2") == 1).await;
        // A turn or two of the auditor.
        assert!(site.audited("acme").len() <= 4 * (AUDIT_OWN_WAITING_MAX + 2));
    });
}
