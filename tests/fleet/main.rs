//! Two hundred chips, each a TPM of its own, through all that may become of a device. After each step the registry is
//! compared with what it must be.
//!
//! A program of its own, one story at a time: the TPM library is in this process, and its connections are inherited by
//! whatever is started while it speaks to a TPM. That TPM would wait for the end of them.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the whole program is a test"
)]

use std::{
    collections::BTreeMap,
    ops::Range,
    path::Path,
    process::Command,
    sync::{Arc, Mutex as Turn, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use muster_simulators::{
    chip::publish_root,
    fleet::{Member, Office, Session, SessionEnd},
    hub::Hub,
    process::now,
};
use muster_tpm::manufacturer::SimulatedManufacturer;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    runtime::{Builder, Runtime},
    sync::{Mutex, Semaphore},
    task::JoinSet,
};

/// How long a session may go on that has lost what it rests on.
const ENDED_WITHIN: Duration = Duration::from_secs(5);
/// How many devices act at one time.
const AT_ONCE: usize = 16;

/// Whose turn it is.
static TURN: Turn<()> = Turn::new(());

type Shared = Arc<Mutex<Member>>;
/// What the registry says of a device: tenant, state and serial number.
type Row = (String, String, String);

struct Fleet {
    runtime: Runtime,
    hub: Hub,
    office: Office,
    members: Vec<Shared>,
    /// What the registry must say, by id.
    expected: BTreeMap<String, Row>,
    folder: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Fleet {
    /// Makes a hub with two tenants, and so many chips that nobody knows.
    fn raise(count: u16) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = TempDir::new().expect("a folder for the story");
        let manufacturer = SimulatedManufacturer::well_known().expect("a manufacturer");
        let root = publish_root(&manufacturer, folder.path()).expect("its root");
        let mut hub = Hub::init(&folder.path().join("hub"), &root).expect("a hub");
        hub.start().expect("it starts");
        let runtime = Builder::new_multi_thread().worker_threads(4).enable_all().build().expect("a runtime");
        let office = office(&runtime, &hub);
        let (members, expected) = (Vec::new(), BTreeMap::new());
        let mut fleet = Self { runtime, hub, office, members, expected, folder, _turn: turn };
        for tenant in ["acme", "globex"] {
            let body = json!({"tenant": tenant, "accept_simulated_tpms": true});
            assert_eq!(fleet.post("/api/v1/tenants", &body).0, 201);
        }
        fleet.manufacture(count);
        fleet
    }

    /// Adds chips. They are started here, on a thread that stays, and end with it.
    fn manufacture(&mut self, count: u16) {
        let begin = u16::try_from(self.members.len()).expect("a small number");
        let chips: Vec<_> = (begin..begin + count)
            .map(|number| {
                let state = self.folder.path().join(format!("tpm-{number}"));
                (number, Member::power_on(&state).expect("swtpm"), state)
            })
            .collect();
        let way = (self.hub.mqtt().parse().expect("an address"), self.hub.root());
        let mut assembled: Vec<_> = std::thread::scope(|scope| {
            let (way, mut piles) = (&way, vec![Vec::new(), Vec::new(), Vec::new(), Vec::new()]);
            for (place, chip) in chips.into_iter().enumerate() {
                piles[place % 4].push(chip);
            }
            let work = piles.into_iter().map(|pile| {
                scope.spawn(move || {
                    let assemble = |(number, swtpm, state): (u16, _, std::path::PathBuf)| {
                        let way = (way.0, way.1.as_path());
                        (number, Member::assemble(swtpm, &state, number, way).expect("a chip"))
                    };
                    pile.into_iter().map(assemble).collect::<Vec<_>>()
                })
            });
            let work: Vec<_> = work.collect();
            work.into_iter().flat_map(|pile| pile.join().expect("made")).collect()
        });
        assembled.sort_by_key(|(number, _)| *number);
        self.members.extend(assembled.into_iter().map(|(_, member)| Arc::new(Mutex::new(member))));
    }

    fn post(&mut self, path: &str, body: &Value) -> (u16, Value) {
        self.runtime.block_on(self.office.post(path, body)).expect("the API answers")
    }

    fn command(&mut self, tenant: &str, number: usize, command: &str, body: &Value) -> (u16, Value) {
        let id = self.id(number);
        self.post(&format!("/api/v1/tenants/{tenant}/devices/{id}/{command}"), body)
    }

    fn id(&self, number: usize) -> String {
        self.members[number].blocking_lock().id().to_string()
    }

    fn claim(&mut self, tenant: &str) -> String {
        let (status, claim) =
            self.post(&format!("/api/v1/tenants/{tenant}/claims"), &json!({"expires_in_s": 3_600}));
        assert_eq!(status, 201, "{claim}");
        claim["code"].as_str().expect("a code").to_owned()
    }

    /// Lets several devices do something, some at a time; gives what came of it in their order.
    fn all<T, F>(&self, numbers: impl IntoIterator<Item = usize>, act: impl Fn(usize, Shared) -> F) -> Vec<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let _within = self.runtime.enter();
        let mut set = JoinSet::new();
        for (order, number) in numbers.into_iter().enumerate() {
            let (places, acting) = (places.clone(), act(number, self.members[number].clone()));
            set.spawn(async move {
                let _place = places.acquire().await.expect("open");
                (order, acting.await)
            });
        }
        let mut outcomes = self.runtime.block_on(set.join_all());
        outcomes.sort_by_key(|(order, _)| *order);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }

    /// Lets devices enrol; gives for each why it was refused, if it was.
    fn enrol(&mut self, numbers: Range<usize>, claims: &[String]) -> Vec<Option<&'static str>> {
        let begin = numbers.start;
        let outcomes = self.all(numbers, |number, member| {
            let claim = claims.get(number - begin).cloned();
            async move {
                let refused = member.lock().await.enrol(claim).await.map(Result::err);
                refused.map(|refused| refused.map(|refused| refused.code.as_str()))
            }
        });
        let mut answered = Vec::new();
        for outcome in outcomes {
            let mut log = || {
                let hub = self.hub.process().expect("it runs");
                // All that it has to say about it.
                let _ = hub.wait_line("the end", Duration::from_secs(1), |_| None::<()>);
                hub.tail()
            };
            answered.push(outcome.unwrap_or_else(|error| panic!("{error}\n{}", log())));
        }
        answered
    }

    fn connect(&self, numbers: Range<usize>) -> Vec<Result<Session, SessionEnd>> {
        self.all(numbers, |_, member| async move { member.lock().await.connect().await.expect("an answer") })
    }

    /// What the registry says.
    fn rows(&mut self) -> BTreeMap<String, Row> {
        let mut rows = BTreeMap::new();
        for tenant in ["acme", "globex"] {
            let path = format!("/api/v1/tenants/{tenant}/devices");
            let (status, listed) = self.runtime.block_on(self.office.get(&path)).expect("the API answers");
            assert_eq!(status, 200);
            for device in listed.as_array().expect("a list") {
                let text = |name: &str| device[name].as_str().expect("text").to_owned();
                rows.insert(text("device"), (text("tenant"), text("state"), text("certificate_serial")));
                let mut chips = self.members.iter().map(|member| member.blocking_lock());
                let chip = chips.find(|chip| chip.id().as_str() == text("device"));
                let hash = chip.map(|chip| hex(chip.ek_hash()));
                assert_eq!(hash.as_deref(), device["ek_hash"].as_str(), "the hash of a row is its chip's");
            }
        }
        rows
    }

    /// Compares the registry with what it must be: these have new certificates, and their state and tenant are those; all
    /// others are as they were.
    fn is_right(&mut self, step: &str, changed: Range<usize>, tenant: &str, state: &str, is_new: bool) {
        let now = self.rows();
        for number in changed {
            let id = self.id(number);
            let row = now.get(&id).unwrap_or_else(|| panic!("{step}: {id} has no row"));
            let before = self.expected.insert(id, row.clone());
            assert_eq!((row.0.as_str(), row.1.as_str()), (tenant, state), "{step}");
            let same = before.is_some_and(|before| before.2 == row.2);
            assert_eq!(same, !is_new, "{step}: whether the certificate is another");
        }
        assert_eq!(now, self.expected, "{step}: nothing else has changed");
    }

    fn alarms(&mut self) -> Vec<(String, String)> {
        let (_, listed) = self.runtime.block_on(self.office.get("/api/v1/alarms")).expect("the API answers");
        let alarms = listed["alarms"].as_array().expect("a list").iter();
        let text = |alarm: &Value, name: &str| alarm[name].as_str().unwrap_or_default().to_owned();
        alarms.map(|alarm| (text(alarm, "kind"), text(alarm, "device"))).collect()
    }
}

/// The operator at work.
fn office(runtime: &Runtime, hub: &Hub) -> Office {
    let (identity, address) = (hub.operator(), hub.api().replace("https://localhost", "127.0.0.1"));
    runtime.block_on(Office::open(&identity, &address)).expect("the API answers")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn are_open(fleet: &Fleet, sessions: &mut [Result<Session, SessionEnd>]) -> bool {
    fleet.runtime.block_on(async {
        for session in sessions {
            let Ok(session) = session else { return false };
            if !session.is_open().await {
                return false;
            }
        }
        true
    })
}

/// Waits until all of these have ended, and says with which words.
fn end(fleet: &Fleet, sessions: Vec<Result<Session, SessionEnd>>, since: Instant) -> Vec<SessionEnd> {
    fleet.runtime.block_on(async {
        let mut ends = Vec::new();
        for session in sessions {
            let mut session = session.expect("it was open");
            let left = ENDED_WITHIN.saturating_sub(since.elapsed()).max(Duration::from_millis(10));
            ends.push(session.ended(left).await.expect("closed within five seconds"));
        }
        ends
    })
}

fn codes_of(sessions: Vec<Result<Session, SessionEnd>>) -> Vec<&'static str> {
    let told = |session: Result<Session, SessionEnd>| match session {
        Ok(_) => "open",
        Err(SessionEnd::Told(code, _)) if code.as_u8() == 0x8A => "banned",
        Err(SessionEnd::Told(code, _)) if code.as_u8() == 0x87 => "not authorized",
        Err(_) => "closed",
    };
    let mut codes: Vec<_> = sessions.into_iter().map(told).collect();
    codes.dedup();
    codes
}

/// Whether all were refused that have a revoked certificate: with that word by the registry, or from when the list is
/// published, half a second later, within the handshake.
fn are_out(codes: &[&str], word: &str) -> bool {
    !codes.is_empty() && codes.iter().all(|code| *code == word || *code == "closed")
}

#[test]
fn two_hundred_chips_are_enrolled_revoked_cleared_replaced_and_released_and_the_registry_is_right_after_each()
{
    let mut fleet = Fleet::raise(200);
    let claims: Vec<_> = (0..200).map(|_| fleet.claim("acme")).collect();
    assert!(fleet.enrol(0..200, &claims).iter().all(Option::is_none), "all enrol");
    fleet.is_right("enrolled", 0..200, "acme", "active", true);
    let mut sessions = fleet.connect(0..200);
    assert!(are_open(&fleet, &mut sessions));
    let mut others = sessions.split_off(40);

    // Revoked: their sessions end, theirs alone, and their chips are barred whatever claim they show.
    let since = now();
    for number in 0..40 {
        let body = json!({"reason": "key_compromise", "compromised_since_s": 1_700_000_000});
        let (status, answer) = fleet.command("acme", number, "revoke", &body);
        assert_eq!((status, &answer["changed"]), (200, &Value::Bool(true)), "{answer}");
    }
    for end in end(&fleet, sessions, since) {
        let SessionEnd::Told(code, reason) = end else { panic!("not told") };
        assert!(code.as_u8() == 0x87 && reason.contains("revoked"), "{reason}");
    }
    assert!(are_open(&fleet, &mut others), "nobody else is dropped");
    fleet.is_right("revoked", 0..40, "acme", "revoked", false);
    assert!(are_out(&codes_of(fleet.connect(0..40)), "banned"));
    let claims: Vec<_> = (0..40).map(|_| fleet.claim("globex")).collect();
    assert!(fleet.enrol(0..40, &claims).iter().all(|refused| *refused == Some("chip_barred")));
    fleet.is_right("barred", 0..40, "acme", "revoked", false);
    // Some of it was a mistake: the operator takes it back, and they enrol anew.
    for number in 30..40 {
        assert_eq!(fleet.command("acme", number, "resume", &json!({})).0, 200);
    }
    assert!(are_out(&codes_of(fleet.connect(30..40)), "not authorized"), "what was revoked stays revoked");
    assert!(fleet.enrol(30..40, &[]).iter().all(Option::is_none));
    fleet.is_right("taken back", 30..40, "acme", "active", true);
    assert_eq!(codes_of(fleet.connect(30..40)), ["open"]);

    // Cleared: they come back by themselves, as who they were, and the operator hears of it.
    for number in 40..80 {
        fleet.members[number].blocking_lock().clear().expect("cleared");
    }
    let since = now();
    assert!(fleet.enrol(40..80, &[]).iter().all(Option::is_none), "no claim is needed");
    let rest = others.split_off(40);
    let _told = end(&fleet, std::mem::replace(&mut others, rest), since);
    fleet.is_right("cleared", 40..80, "acme", "active", true);
    assert_eq!(codes_of(fleet.connect(40..80)), ["open"]);
    let alarms = fleet.alarms();
    let raised = |wanted: &str| alarms.iter().filter(|(kind, _)| kind == wanted).count();
    assert_eq!((raised("cleared"), raised("barred_chip")), (40, 40), "{alarms:?}");

    // Set up anew after a power cut: their keys are still in the chip, the certificate is not.
    for number in 80..120 {
        fleet.members[number].blocking_lock().power_cycle().expect("back");
    }
    assert!(fleet.enrol(80..120, &[]).iter().all(Option::is_none));
    fleet.is_right("set up anew", 80..120, "acme", "active", true);
    assert_eq!(fleet.alarms().len(), alarms.len(), "a reboot is no alarm");

    // Replaced: twenty new chips come in the places of twenty, without a claim.
    fleet.manufacture(20);
    for number in 120..140 {
        let with = hex(fleet.members[number + 80].blocking_lock().ek_hash());
        assert_eq!(fleet.command("acme", number, "replace", &json!({"with": with})).0, 200);
    }
    fleet.is_right("to be replaced", 120..140, "acme", "retired", false);
    assert!(fleet.enrol(200..220, &[]).iter().all(Option::is_none));
    fleet.is_right("replaced", 200..220, "acme", "active", true);
    assert!(fleet.enrol(120..140, &[]).iter().all(|refused| *refused == Some("chip_barred")));

    // Released, and claimed by another tenant.
    for number in 140..160 {
        assert_eq!(fleet.command("acme", number, "release", &json!({})).0, 200);
        let id = fleet.id(number);
        fleet.expected.remove(&id);
    }
    fleet.is_right("released", 0..0, "", "", false);
    assert!(fleet.enrol(140..160, &[]).iter().all(|refused| *refused == Some("unknown_chip")));
    let claims: Vec<_> = (0..20).map(|_| fleet.claim("globex")).collect();
    assert!(fleet.enrol(140..160, &claims).iter().all(Option::is_none));
    fleet.is_right("claimed by another", 140..160, "globex", "active", true);
    assert_eq!(codes_of(fleet.connect(140..160)), ["open"]);

    // Suspended and resumed, with the certificate that they have.
    for number in 160..180 {
        assert_eq!(fleet.command("acme", number, "suspend", &json!({})).0, 200);
    }
    fleet.is_right("suspended", 160..180, "acme", "suspended", false);
    assert_eq!(codes_of(fleet.connect(160..180)), ["banned"]);
    assert!(fleet.enrol(160..180, &[]).iter().all(|refused| *refused == Some("device_suspended")));
    for number in 160..180 {
        assert_eq!(fleet.command("acme", number, "resume", &json!({})).0, 200);
    }
    fleet.is_right("resumed", 160..180, "acme", "active", false);
    assert_eq!(codes_of(fleet.connect(160..180)), ["open"]);

    // Nobody has touched the last twenty: their sessions are those of the beginning. And a restart forgets nothing.
    let mut untouched = others.split_off(100);
    assert!(untouched.len() == 20 && are_open(&fleet, &mut untouched));
    fleet.hub.kill();
    fleet.hub.start().expect("it starts again");
    fleet.office = office(&fleet.runtime, &fleet.hub);
    fleet.is_right("after a power cut of the hub", 0..0, "", "", false);
    assert!(are_out(&codes_of(fleet.connect(0..30)), "banned"));
}

/// Attack: the state of a TPM is copied, and the copy is started beside the original.
#[test]
fn a_copied_tpm_beside_the_original_is_an_alarm_and_with_precautions_both_are_out() {
    let mut fleet = Fleet::raise(1);
    let claims = [fleet.claim("acme")];
    assert_eq!(fleet.enrol(0..1, &claims), [None]);
    let mut original = fleet.connect(0..1);
    let copy = fleet.folder.path().join("tpm-1");
    let state = fleet.members[0].blocking_lock().folder().to_owned();
    copy_folder(&state, &copy);
    fleet.manufacture(1);
    assert_eq!(fleet.id(0), fleet.id(1), "the copy is the same chip");

    let since = now();
    assert_eq!(fleet.enrol(1..2, &[]), [None], "once: it was started once more, which every chip may be");
    let _told = end(&fleet, std::mem::take(&mut original), since);
    assert_eq!(codes_of(fleet.connect(0..1)), ["not authorized"], "the original is out");
    assert_eq!(fleet.enrol(0..1, &[]), [None]);
    let id = fleet.id(0);
    assert!(fleet.alarms().contains(&("rollback".to_owned(), id)), "{:?}", fleet.alarms());

    let body = json!({"suspend_clones": true, "approve_cleared": false});
    assert_eq!(fleet.post("/api/v1/tenants/acme/precautions", &body).0, 200);
    assert_eq!(fleet.enrol(1..2, &[]), [None]);
    assert_eq!(fleet.enrol(0..1, &[]), [Some("device_suspended")]);
    assert_eq!(fleet.enrol(1..2, &[]), [Some("device_suspended")]);
    assert_eq!(codes_of(fleet.connect(1..2)), ["banned"]);
}

fn copy_folder(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-r").arg(from).arg(to).status().expect("cp runs");
    assert!(copied.success());
}
