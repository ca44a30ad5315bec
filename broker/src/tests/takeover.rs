//! Whose a client identifier is.

use muster_mqtt::{ReasonCode, Version};
use muster_schemas::Kind;

use super::{site::admitted, *};
use crate::Access;

#[test]
fn a_principal_takes_over_its_own_client_identifier() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        let mut first = site.device("acme", "pump-1").connected().await;
        let mut second = site.device("acme", "pump-1").speaks(Version::V311).connected().await;
        let told = first.is_told_to_go().await;
        assert_eq!(told.code, ReasonCode::SessionTakenOver);
        assert!(told.reason.unwrap().contains("another connection of yours"));
        // The end of the first did not forget the second.
        until("the first has ended", || site.counters("acme").sessions.value() == 1).await;
        let mut third = site.device("acme", "pump-1").connected().await;
        second.is_closed().await;
        third.hears_nothing().await;
    });
}

#[test]
fn nobody_takes_over_the_session_of_another_principal() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme", "globex"]);
        let mut device = site.device("acme", "pump-1").connected().await;
        for (tenant, kind, name) in [
            ("acme", Kind::App, "pump-1"),
            ("acme", Kind::Device, "pump-2"),
            ("globex", Kind::Device, "pump-1"),
        ] {
            let other = site.peer(admitted(tenant, kind, name, Access::app()), "pump-1");
            other.connected().await.hears_nothing().await;
            device.hears_nothing().await;
        }
    });
}

#[test]
fn one_principal_may_have_several_clients() {
    let dir = tempfile::tempdir().unwrap();
    story(async {
        let site = Site::open(dir.path(), &["acme"]);
        let app = || admitted("acme", Kind::App, "dashboard", Access::app());
        let mut one = site.peer(app(), "one").connected().await;
        let mut two = site.peer(app(), "two").connected().await;
        one.hears_nothing().await;
        two.hears_nothing().await;
    });
}
