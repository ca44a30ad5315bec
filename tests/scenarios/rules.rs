//! Who is shown what. A tenant's officers see an item once it is older than a month, if they are assigned to the district
//! where it was captured; everybody who is not let in by a rule sees nothing, on every way in.

use std::{fs, path::PathBuf, time::SystemTime};

use muster_simulators::hub::HubError;
use serde_json::Value;

use crate::people::Place;

const DAY_S: u64 = 86_400;
const OFFICERS: &str = include_str!("../../hub/policy/examples/officers.cedar");

/// Whoever runs the command line: its answer, or the code of the refusal.
fn told(outcome: Result<Value, HubError>) -> Result<Value, String> {
    outcome.map_err(|error| match error {
        HubError::Command { stderr, .. } => stderr,
        other => panic!("{other}"),
    })
}

impl Place {
    /// A hub whose tenant acme has devices with passwords, and an administrator.
    pub fn ruled() -> Self {
        let mut place = Self::prepare();
        place.begin();
        place.hub.operate(&["tenant", "legacy-passwords", "--tenant", "acme", "on"]).expect("on");
        place.user("acme", "root");
        place
    }

    fn identity(&self, tenant: &str, id: &str) -> PathBuf {
        self.path(&format!("{tenant}-{id}"))
    }

    /// A user with a certificate.
    fn user(&self, tenant: &str, id: &str) {
        let out = self.identity(tenant, id).display().to_string();
        self.hub.operate(&["user", "create", "--tenant", tenant, id, "--out", &out]).expect("a user");
    }

    /// Runs the command line as somebody.
    fn as_user(&self, (tenant, id): (&str, &str), arguments: &[&str]) -> Result<Value, String> {
        told(self.hub.run(&self.identity(tenant, id), arguments))
    }

    pub fn root(&self, arguments: &[&str]) -> Value {
        self.as_user(("acme", "root"), arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
    }

    fn put(&self, text: &str) -> Result<Value, String> {
        fs::write(self.path("rules.cedar"), text).expect("written");
        let file = self.path("rules.cedar").display().to_string();
        self.as_user(("acme", "root"), &["policy", "put", &file])
    }

    /// A device of a district, and its password.
    pub fn device(&self, id: &str, district: &str) -> String {
        let made = self.hub.operate(&["device", "password", "set", "--tenant", "acme", id]).expect("set");
        self.root(&["device", "set", id, &format!("district={district}")]);
        made["password"].as_str().expect("shown once").to_owned()
    }

    /// A device tells one value, captured so many days ago.
    pub fn tells(&self, (device, password): (&str, &str), stream: &str, days: u64, value: u64) {
        let at = now_s() - days * DAY_S;
        let pack = format!("[{{\"n\":\"v\",\"t\":{at},\"v\":{value}}}]");
        let said = self.does(&format!(
            "mosquitto_pub $MQTT -V 5 --cafile ca.pem -u acme/{device} -P {password} \
             -t devices/{device}/telemetry/{stream} -m '{pack}' -q 1 -d"
        ));
        assert!(said.contains("RC:0)") || said.contains("RC:16)"), "{said}");
    }

    /// The values that somebody is shown of a device's stream, or the code of the refusal.
    pub fn sees(
        &self,
        who: (&str, &str),
        tenant: &str,
        device: &str,
        stream: &str,
    ) -> Result<Vec<u64>, String> {
        let range = [
            "telemetry",
            "range",
            "--tenant",
            tenant,
            "--device",
            device,
            "--stream",
            stream,
            "--from",
            "90d",
        ];
        let ranged = values(&self.as_user(who, &range)?);
        let last = self.as_user(
            who,
            &["telemetry", "last", "--tenant", tenant, "--device", device, "--stream", stream],
        )?;
        let last = values(&last);
        assert!(
            last.iter().all(|value| ranged.contains(value)),
            "the last is one of those: {last:?} of {ranged:?}"
        );
        Ok(ranged)
    }
}

#[expect(clippy::disallowed_methods, reason = "a device says when it measured")]
fn now_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs()
}

/// The values of readings, whether the answer is a list or a page.
fn values(answer: &Value) -> Vec<u64> {
    let readings = answer.get("readings").unwrap_or(answer).as_array().cloned().unwrap_or_default();
    readings.iter().filter_map(|reading| Some(reading.get("value")?.as_f64()? as u64)).collect()
}

/// Waits until acme's root is shown what was told.
pub fn until_stored(place: &Place, device: &str, stream: &str, wanted: usize) {
    // Each question is a program of its own, and takes its time.
    let is_stored =
        |_: &u32| place.sees(("acme", "root"), "acme", device, stream).is_ok_and(|all| all.len() == wanted);
    assert!((0..600).any(|turn| is_stored(&turn)), "{wanted} readings of {device} are not stored");
}

#[test]
fn officers_see_an_item_of_their_district_once_it_is_older_than_a_month() {
    let place = Place::ruled();
    let here = place.device("here", "d7");
    let there = place.device("there", "d8");
    for (days, stream) in [(29, "young"), (31, "old")] {
        place.tells(("here", &here), stream, days, days);
        place.tells(("there", &there), stream, days, days);
    }
    for device in ["here", "there"] {
        until_stored(&place, device, "young", 1);
        until_stored(&place, device, "old", 1);
    }
    place.user("acme", "anna");
    place.user("acme", "carl");
    place.root(&["user", "set", "anna", "district=d7", "--group", "officers"]);
    place.root(&["user", "set", "carl", "district=d7", "--group", "clerks"]);
    let anna = ("acme", "anna");
    assert_eq!(
        place.sees(anna, "acme", "here", "young"),
        Ok(vec![29]),
        "without rules all is read, as before"
    );

    // Who would no longer administer is told so, and nothing changes.
    let refused = place.put(OFFICERS).expect_err("locked out");
    assert!(refused.contains("locked_out"), "{refused}");
    place.root(&["user", "set", "root", "--group", "administrators"]);
    assert_eq!(place.put(OFFICERS).expect("put")["version"], 1);

    for (who, device, stream, shown) in [
        (anna, "here", "young", vec![]),
        (anna, "here", "old", vec![31]),
        (anna, "there", "old", vec![]),
        (anna, "there", "young", vec![]),
        (("acme", "carl"), "here", "old", vec![]),
        (("acme", "root"), "here", "old", vec![]),
    ] {
        assert_eq!(place.sees(who, "acme", device, stream), Ok(shown), "{who:?} {device} {stream}");
    }
    let can = |who: &str, what: &str, captured: &str| {
        let asked = ["can", who, "view", what, "--captured", captured];
        place.hub.ask_as(&place.identity("acme", "root"), &asked).expect("an answer")
    };
    let answer = can("user/anna", "here/old", "31d");
    assert_eq!(
        (&answer["allowed"], &answer["rule"]),
        (&Value::Bool(true), &Value::from("officers-after-a-month"))
    );
    let answer = can("user/anna", "here/young", "29d");
    assert_eq!(
        (&answer["allowed"], &answer["rule"]),
        (&Value::Bool(false), &Value::from("no-policy-permits"))
    );
    let why = answer["why"].as_str().expect("a reason");
    assert!(why.contains("officers-after-a-month") && why.contains("durationSince"), "{why}");

    // Reassigned: from the next read on.
    place.root(&["user", "set", "anna", "district=d8"]);
    assert_eq!(place.sees(anna, "acme", "here", "old"), Ok(vec![]), "reassigned");
    assert_eq!(place.sees(anna, "acme", "there", "old"), Ok(vec![31]), "the new district");

    // Bad rules are refused with line and column, and those that held go on to hold.
    let refused =
        place.put("permit (principal, action == Action::\"view\", resource)\nwhen { resource.x == 1 };");
    let refused = refused.expect_err("refused");
    assert!(refused.contains("line 2, column") && refused.contains("policies"), "{refused}");
    assert_eq!(place.sees(anna, "acme", "here", "old"), Ok(vec![]));
    // Whoever does not administer changes nothing, and neither does the operator.
    for who in [place.identity("acme", "anna"), place.hub.operator()] {
        for arguments in [
            vec!["policy", "clear", "--tenant", "acme"],
            vec!["user", "set", "anna", "district=d7", "--tenant", "acme"],
            vec!["device", "set", "here", "district=d8", "--tenant", "acme"],
            vec!["policy", "rollback", "1", "--tenant", "acme"],
        ] {
            let refused = told(place.hub.run(&who, &arguments)).expect_err("refused");
            assert!(refused.contains("forbidden"), "{arguments:?}: {refused}");
        }
    }
    // Other rules, and back again.
    let open =
        format!("{OFFICERS}\npermit (principal in Group::\"clerks\", action == Action::\"view\", resource);");
    assert_eq!(place.put(&open).expect("put")["version"], 2);
    assert_eq!(place.sees(("acme", "carl"), "acme", "here", "young"), Ok(vec![29]));
    assert_eq!(place.root(&["policy", "rollback", "1"])["version"], 3);
    assert_eq!(place.sees(("acme", "carl"), "acme", "here", "young"), Ok(vec![]));
    // What holds is stored with the rest.
    let mut place = place;
    place.hub.kill();
    place.hub.start().expect("it starts again");
    assert_eq!(place.sees(("acme", "carl"), "acme", "here", "young"), Ok(vec![]));
    assert_eq!(place.sees(anna, "acme", "there", "old"), Ok(vec![31]));
    let log = place.hub.process().expect("it runs").all_lines().join("\n");
    assert!(log.contains("items denied") && log.contains("no-policy-permits"), "denials are in the log");
}

#[test]
fn operators_and_other_tenants_are_shown_nothing_of_a_tenant() {
    let place = Place::ruled();
    let here = place.device("here", "d7");
    place.tells(("here", &here), "old", 31, 31);
    until_stored(&place, "here", "old", 1);
    place.user("globex", "gina");
    let gina = ("globex", "gina");
    let refused = place.sees(gina, "acme", "here", "old").expect_err("a stranger");
    assert!(refused.contains("tenant_unknown"), "{refused}");
    let last = ["telemetry", "last", "--tenant", "acme"];
    let refused = told(place.hub.operate(&last)).expect_err("an operator");
    assert!(refused.contains("forbidden"), "{refused}");
    for arguments in [
        ["policy", "list", "--tenant", "acme"],
        ["dataset", "list", "--tenant", "acme"],
        ["grant", "list", "--tenant", "acme"],
    ] {
        assert!(told(place.hub.operate(&arguments)).expect_err("an operator").contains("forbidden"));
        assert!(place.as_user(gina, &arguments).expect_err("a stranger").contains("tenant_unknown"));
    }

    // Shared, by the name of a set, and read where it lies.
    place.root(&["dataset", "put", "old-things", "--stream", "old"]);
    let grant = place.root(&["grant", "add", "old-things", "--to", "globex", "--expires-in", "1h"]);
    assert_eq!(grant[0]["grant"], 1);
    assert_eq!(place.sees(gina, "acme", "here", "old"), Ok(vec![31]), "what is shared");
    place.tells(("here", &here), "other", 31, 32);
    until_stored(&place, "here", "other", 1);
    assert_eq!(place.sees(gina, "acme", "here", "other"), Ok(vec![]), "and nothing beside it");
    let listed = place.as_user(gina, &["grant", "list"]).expect("its own");
    assert_eq!(listed[0]["data_set"], "old-things");
    // The tenant's own rules hold for guests as well.
    place.root(&["user", "set", "root", "--group", "administrators"]);
    place.put(OFFICERS).expect("put");
    assert_eq!(place.sees(gina, "acme", "here", "old"), Ok(vec![31]), "no rule forbids it");
    let forbid = format!(
        "{OFFICERS}\n@id(\"not-d7\") forbid (principal, action == Action::\"view\", resource)\n\
                          when {{ resource.district.contains(\"d7\") }};"
    );
    place.put(&forbid).expect("put");
    assert_eq!(place.sees(gina, "acme", "here", "old"), Ok(vec![]), "a rule forbids it");
    place.root(&["policy", "rollback", "1"]);
    assert_eq!(place.sees(gina, "acme", "here", "old"), Ok(vec![31]));
    // Taken back: from the next read on.
    place.root(&["grant", "revoke", "1"]);
    let refused = place.sees(gina, "acme", "here", "old").expect_err("taken back");
    assert!(refused.contains("tenant_unknown"), "{refused}");
}

#[test]
fn an_app_is_given_live_what_it_may_view_and_nothing_else() {
    let mut place = Place::ruled();
    let here = place.device("here", "d7");
    let there = place.device("there", "d8");
    for app in ["board", "wall"] {
        let out = place.identity("acme", app).display().to_string();
        place.hub.operate(&["app", "create", "--tenant", "acme", app, "--out", &out]).expect("an app");
    }
    place.root(&["app", "set", "board", "district=d7"]);
    place.root(&["app", "set", "wall", "--group", "officers", "district=d7"]);
    place.root(&["user", "set", "root", "--group", "administrators"]);
    let by_district = "@id(\"own-district\") permit (principal is App, action == Action::\"view\", resource)
        when { principal.district.containsAny(resource.district) };
        permit (principal in Group::\"administrators\", action == Action::\"administer\", resource);";
    place.put(by_district).expect("put");
    let listen = |app: &str, seconds: u64| {
        format!(
            "mosquitto_sub $MQTT -V 5 --cafile ca.pem --cert acme-{app}/cert.pem --key acme-{app}/key.pem \
             -t 'devices/+/telemetry/#' -q 1 -i {app} -c -x 3600 -W {seconds} -F '%t' || true"
        )
    };
    // A session that outlives its connection: what is published while it is away waits for it.
    for app in ["board", "wall"] {
        place.does(&listen(app, 1));
    }
    for _ in 0..3 {
        place.tells(("here", &here), "gate", 0, 1);
        place.tells(("there", &there), "gate", 0, 2);
    }
    let given = place.does(&listen("board", 3));
    assert_eq!(given.matches("devices/here/telemetry/gate").count(), 3, "{given}");
    assert!(!given.contains("devices/there/"), "{given}");
    assert!(place.does(&listen("wall", 2)).contains("devices/here/"), "an app of the district");

    // Reassigned, and ruled by age: the next message already is not given.
    place.root(&["app", "set", "board", "district=d8"]);
    place.tells(("here", &here), "gate", 0, 3);
    place.tells(("there", &there), "gate", 0, 4);
    let given = place.does(&listen("board", 3));
    assert!(given.contains("devices/there/") && !given.contains("devices/here/"), "{given}");
    place.put(OFFICERS).expect("put");
    place.tells(("here", &here), "gate", 31, 5);
    let given = place.does(&listen("wall", 3));
    // What came before the rules changed is given by the rules of now.
    assert!(!given.contains("devices/"), "an officer is given nothing live: {given}");
    let log = place.hub.process().expect("it runs").all_lines().join("\n");
    assert!(log.contains("live telemetry denied"), "denials are in the log");
    // A trace would show what rules keep back.
    let trace = ["trace", "--topic", "devices/#", "--payload"];
    let refused = place.as_user(("acme", "wall"), &trace).expect_err("refused");
    assert!(refused.contains("access rules"), "{refused}");
}
