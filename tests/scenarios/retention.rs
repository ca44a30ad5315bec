//! How long telemetry is kept: who may say it, what is refused, and that what is too old is gone.

use muster_simulators::hub::HubError;
use serde_json::{Value, json};

use crate::{people::Place, rules::until_stored};

/// The answer, or the complaint.
fn told(outcome: Result<Value, HubError>) -> Result<Value, String> {
    outcome.map_err(|error| match error {
        HubError::Command { stderr, .. } => stderr,
        other => panic!("{other}"),
    })
}

#[test]
fn a_user_says_how_long_streams_are_kept_and_what_is_older_goes() {
    let mut place = Place::ruled();
    let password = place.device("meter", "d7");
    let out = place.path("app").display().to_string();
    place.hub.operate(&["app", "create", "--tenant", "acme", "dashboard", "--out", &out]).expect("an app");
    let out = place.path("stranger").display().to_string();
    place.hub.operate(&["user", "create", "--tenant", "globex", "eve", "--out", &out]).expect("a user");
    for (stream, days) in [("debug", 3), ("power", 3), ("debug", 1), ("power", 1)] {
        place.tells(("meter", &password), stream, days, days);
    }
    until_stored(&place, "meter", "debug", 2);
    until_stored(&place, "meter", "power", 2);

    let root = |words: &[&str]| place.root(&[&["telemetry", "retention"], words].concat());
    assert_eq!(root(&["show"]), json!({"rules": []}), "for ever, unless somebody says it");
    root(&["set", "*", "--full-days", "9"]);
    let rules = root(&["set", "debug", "--full-days", "2"]);
    let debug = json!({"streams": "debug", "full_days": 2});
    assert_eq!(
        rules,
        json!({"rules": [debug, {"streams": "*", "full_days": 9}]}),
        "before what would hide it"
    );
    root(&["set", "*", "--full-days", "7", "--every", "15m", "--coarse-days", "365"]);
    let all = json!({"streams": "*", "full_days": 7, "every_s": 900, "coarse_days": 365});
    let rules = json!({"rules": [debug, all]});
    assert_eq!(root(&["show"]), rules);

    // Whoever may not, and what makes no sense, changes nothing.
    let as_one = |who: &str, words: &[&str]| {
        let words = [&["telemetry", "retention"], words, &["--tenant", "acme"]].concat();
        told(place.hub.run(&place.path(who), &words))
    };
    for (who, words, part) in [
        ("app", &["set", "x", "--full-days", "1"][..], "forbidden"),
        ("stranger", &["show"][..], "tenant_unknown"),
        ("stranger", &["set", "x", "--full-days", "1"][..], "tenant_unknown"),
        ("acme-root", &["set", "x", "--full-days", "0"][..], "retention"),
        ("acme-root", &["remove", "x"][..], "none that names exactly these"),
    ] {
        let complaint = as_one(who, words).expect_err("refused");
        assert!(complaint.contains(part), "{who} {words:?}: {complaint}");
    }
    assert_eq!(as_one("app", &["show"]).expect("a member reads it"), rules);
    assert_eq!(told(place.hub.operate(&["telemetry", "retention", "show", "--tenant", "acme"])), Ok(rules));

    // What is open is stored when the hub stops; what is too old is deleted when it looks.
    place.hub.stop();
    place.hub.start().expect("comes back");
    until_stored(&place, "meter", "debug", 1);
    let root = ("acme", "root");
    assert_eq!(place.sees(root, "acme", "meter", "debug"), Ok(vec![1]));
    assert_eq!(place.sees(root, "acme", "meter", "power").map(|values| values.len()), Ok(2));
    let left = place.root(&["telemetry", "retention", "remove", "debug"]);
    assert_eq!(left, json!({"rules": [all]}));
}
