//! Stories of the core, with slots in a folder, a boot loader as a function, and a hub that the test plays.

use aws_lc_rs::digest::{SHA256, digest};
use muster_schemas::firmware::{Encoding, Freshness, Nonce, Sequence, Transfer};
use muster_slots::{floor::NoCounter, fs::Disk, loader::choose, slot::Layout, slots::Slots};
use muster_suit::{
    Envelope, NewManifest, Role, Root, RootDraft, Signer as _, SoftKey, class_id, sign_freshness, sign_offer,
    vendor_id,
};
use tempfile::TempDir;

use super::*;
use crate::{
    firmware::{FirmwareSettings, NoRecord, shelf},
    state::StateDir,
};

const START_S: u64 = 1_790_000_000;
const HOUR_S: u64 = 3_600;

fn sha(bytes: &[u8]) -> Digest {
    Digest(digest(&SHA256, bytes).as_ref().try_into().expect("32 bytes"))
}

/// The tenant's keys and the hub's.
struct Owner {
    root_key: SoftKey,
    firmware: SoftKey,
    hub: SoftKey,
    root: Root,
}

impl Owner {
    fn new() -> Self {
        let key = || SoftKey::generate().expect("a key");
        let (root_key, firmware, hub) = (key(), key(), key());
        let role = |key: &SoftKey| Role::new(vec![key.public().clone()], 1);
        let root = Root {
            tenant: "acme".parse().expect("a tenant"),
            version: 1,
            expires_s: START_S + 300 * 24 * HOUR_S,
            root: role(&root_key),
            firmware: role(&firmware),
            hub: role(&hub),
        };
        Self { root_key, firmware, hub, root }
    }

    fn root_bytes(&self) -> Vec<u8> {
        let mut draft = RootDraft::new(self.root.clone()).expect("a root");
        draft.sign(&self.root_key).expect("signed");
        draft.encode()
    }

    /// What the hub lays at the offer: this image, for this try.
    fn announces(
        &self,
        image: &[u8],
        execution: u32,
        change: impl FnOnce(&mut Offer, &mut NewManifest),
    ) -> Vec<u8> {
        let vendor = vendor_id("acme.example");
        let mut manifest = NewManifest {
            sequence: Sequence(2),
            vendor,
            class: class_id(vendor, "pump-mk2"),
            image: sha(image),
            size: image.len() as u64,
            version: Some("1.1".parse().expect("a version")),
            uri: None,
            invoke: true,
        };
        let mut offer = Offer {
            tenant: self.root.tenant.clone(),
            device: "pump-7".parse().expect("a device"),
            execution: ExecutionId::new(execution).expect("a number"),
            attempt: 1,
            manifest: sha(b""),
            sequence: Sequence(0),
            not_before_s: START_S - HOUR_S,
            expires_s: START_S + HOUR_S,
            window: None,
            nonce: None::<Nonce>,
            consent: false,
            transfers: vec![Transfer {
                encoding: Encoding::Full,
                from: None,
                size: image.len() as u64,
                digest: sha(image),
                uris: Vec::new(),
            }],
        };
        change(&mut offer, &mut manifest);
        let unsigned = manifest.envelope();
        let envelope = Envelope::open(&unsigned).expect("an envelope");
        (offer.manifest, offer.sequence) = (envelope.digest(), manifest.sequence);
        let freshness = Freshness {
            tenant: offer.tenant.clone(),
            class: class_id(vendor, "pump-mk2"),
            sequence: manifest.sequence,
            manifest: envelope.digest(),
            time_s: START_S - 60,
            expires_s: START_S + 20 * HOUR_S,
            nonce: None,
        };
        Announcement {
            offer: sign_offer(&offer, &self.hub).expect("signed"),
            freshness: sign_freshness(&freshness, &self.hub).expect("signed"),
            envelope: envelope.signed_by(&self.firmware).expect("signed"),
            roots: Vec::new(),
        }
        .encode()
    }
}

/// A device, the time at it, and what it wants.
struct Pump {
    folder: TempDir,
    state: Option<Arc<StateDir>>,
    core: Option<Core<Disk, NoCounter>>,
    now: Now,
    asked: Vec<Get>,
    said: Vec<(u64, Report)>,
    checks: usize,
    rebooting: bool,
}

fn old() -> Vec<u8> {
    b"the old image".to_vec()
}

fn new() -> Vec<u8> {
    (0..2_500_000_u32).map(|at| (at ^ (at >> 8)).to_le_bytes()[0]).collect()
}

impl Pump {
    fn new(owner: &Owner) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["slot-a", "slot-b", "state"] {
            std::fs::create_dir(folder.path().join(name)).expect("made");
        }
        std::fs::write(folder.path().join("slot-a/image"), old()).expect("written");
        std::fs::write(folder.path().join("root"), owner.root_bytes()).expect("written");
        let (digest, size, sequence) = (sha(&old()), old().len() as u64, Sequence(1));
        let image = Image { digest, size, sequence, version: "1.0".parse().expect("a version") };
        let now = Now { ms: 0, unix_s: START_S };
        let (asked, said) = (Vec::new(), Vec::new());
        let mut pump =
            Self { folder, state: None, core: None, now, asked, said, checks: 0, rebooting: false };
        pump.slots().provision(image).expect("provisioned");
        pump.boot("1.0");
        pump
    }

    fn slots(&self) -> Slots<Disk> {
        Slots::new(Disk, Layout::in_folder(self.folder.path()))
    }

    /// A new process, with what the boot loader starts.
    fn boot(&mut self, version: &str) -> Slot {
        (self.core, self.state, self.rebooting) = (None, None, false);
        let slot = choose(&self.slots()).expect("boots").slot;
        let state = Arc::new(StateDir::open(&self.folder.path().join("agent")).expect("opens"));
        let settings = self.settings();
        let vendor = settings.vendor;
        let about = About {
            device: "pump-7".parse().expect("a device"),
            vendor,
            class: settings.class,
            slot_bytes: 4_000_000,
            slot,
            version: version.to_owned(),
            health: Health { needs_connection: true, needs_command: true, within_ms: 60_000 },
            download_ms: 3_600_000,
        };
        let record = shelf::read_record(&state, &settings).expect("a record");
        let carrier = Carrier::new(self.slots(), NoCounter);
        let core =
            Core::wake(self.now, about, carrier, record, Arc::<StateDir>::clone(&state)).expect("wakes");
        (self.core, self.state) = (Some(core), Some(state));
        self.tell(Input::Tick);
        slot
    }

    fn settings(&self) -> FirmwareSettings {
        let vendor = vendor_id("acme.example");
        FirmwareSettings {
            vendor,
            class: class_id(vendor, "pump-mk2"),
            root: self.folder.path().join("root"),
            places: crate::firmware::SlotPlaces::Folder(self.folder.path().to_owned()),
            slot: None,
            version_file: None,
            slot_bytes: 4_000_000,
            needs_connection: true,
            check: vec!["true".to_owned()],
            trial: std::time::Duration::from_secs(60),
            download: std::time::Duration::from_secs(3_600),
            reboot: Vec::new(),
        }
    }

    fn tell(&mut self, input: Input) {
        let mut effects = Vec::new();
        self.core.as_mut().expect("it runs").handle(self.now, input, &mut effects);
        for effect in effects {
            match effect {
                Effect::Ask(get) => self.asked.push(get),
                Effect::Say { ticket, report } => self.said.push((ticket, report)),
                Effect::Check => self.checks += 1,
                Effect::Reboot => self.rebooting = true,
            }
        }
    }

    fn connect(&mut self) {
        self.tell(Input::Connected(Some("acme".parse().expect("a tenant"))));
    }

    /// Answers what was asked, for so many windows.
    fn serve(&mut self, image: &[u8], windows: usize) {
        for _ in 0..windows {
            let Some(get) = self.asked.pop() else { return };
            self.asked.clear();
            let block = usize::try_from(get.block_bytes).expect("fits");
            for offset in get.offsets().collect::<Vec<_>>() {
                let at = usize::try_from(offset).expect("fits");
                let Some(rest) = image.get(at..) else { continue };
                let bytes = rest[..block.min(rest.len())].to_vec();
                self.tell(Input::Block(Block { artifact: get.artifact, offset, bytes }.encode()));
            }
        }
    }

    fn ends(&self) -> Vec<(u32, Outcome)> {
        let end = |(_, report): &(u64, Report)| match report {
            Report::Event(Event { execution, what: EventKind::Ended { outcome, .. }, .. }) => {
                Some((execution.number(), *outcome))
            }
            _ => None,
        };
        self.said.iter().filter_map(end).collect()
    }

    fn hear(&mut self) {
        for (ticket, _) in std::mem::take(&mut self.said) {
            self.tell(Input::Heard(ticket));
        }
    }

    fn running(&self) -> Option<Running> {
        self.said.iter().rev().find_map(|(_, report)| match report {
            Report::Running(running) => Some(running.clone()),
            Report::Event(_) => None,
        })
    }

    /// Installed and on trial.
    fn on_trial(owner: &Owner) -> Self {
        let mut pump = Self::new(owner);
        pump.connect();
        pump.tell(Input::Offer(owner.announces(&new(), 7, |_, _| ())));
        pump.serve(&new(), 100);
        assert!(pump.rebooting, "{:?}", pump.said);
        assert_eq!(pump.boot("1.1"), Slot::B);
        pump
    }
}

fn failed(code: FailureCode) -> Outcome {
    Outcome::Failed { code }
}

#[test]
fn a_good_image_is_installed_shows_itself_and_is_not_installed_once_more() {
    let owner = Owner::new();
    let mut pump = Pump::on_trial(&owner);
    assert_eq!((pump.checks, pump.core.as_ref().and_then(Core::stage)), (1, Some(Stage::Verifying)));
    pump.connect();
    assert_eq!(pump.ends(), [], "the health check has not passed");
    pump.tell(Input::Sign(Sign::Passed));
    assert_eq!(pump.ends(), [(7, Outcome::Succeeded)]);
    let running = pump.running().expect("it says what runs");
    assert_eq!((running.version.as_str(), running.sequence, running.root), ("1.1", Sequence(2), 1));
    assert_eq!(running.image, Some(sha(&new())));
    assert_eq!(pump.slots().pointer().expect("read").active, Slot::B);

    // Its offer lies there until the hub has looked; a restart in between changes nothing.
    pump.tell(Input::Offer(owner.announces(&new(), 7, |_, _| ())));
    assert_eq!(pump.ends().len(), 1, "it is told at each connection, not for each offer");
    pump.hear();
    assert_eq!(pump.slots().journal().expect("read"), None);
    pump.boot("1.1");
    pump.connect();
    pump.tell(Input::Offer(owner.announces(&new(), 7, |_, _| ())));
    assert_eq!(pump.ends(), [(7, Outcome::Succeeded)]);
    pump.hear();
    // Another campaign with the same manifest is over before it begins.
    pump.tell(Input::Offer(owner.announces(&new(), 8, |_, _| ())));
    assert_eq!(pump.ends(), [(8, Outcome::AlreadyInstalled)]);
    assert!(pump.asked.is_empty());
}

#[test]
fn a_failing_health_check_brings_the_old_image_back_which_tells_and_does_not_try_again() {
    let owner = Owner::new();
    let mut pump = Pump::on_trial(&owner);
    pump.connect();
    pump.tell(Input::Sign(Sign::Ill("the pump does not turn".to_owned())));
    assert!(pump.rebooting && pump.ends().is_empty());
    assert_eq!(pump.boot("1.0"), Slot::A);
    pump.said.clear();
    pump.connect();
    assert_eq!(pump.ends(), [(7, Outcome::RolledBack)]);
    assert_eq!(pump.running().map(|running| running.version), Some("1.0".to_owned()));
    let told = format!("{:?}", pump.said);
    assert!(told.contains("the pump does not turn"), "{told}");
    pump.hear();
    pump.boot("1.0");
    pump.connect();
    pump.tell(Input::Offer(owner.announces(&new(), 7, |_, _| ())));
    assert_eq!((pump.ends(), pump.asked.len()), (vec![(7, Outcome::RolledBack)], 0));
    // The next try of it is another matter.
    pump.tell(Input::Offer(owner.announces(&new(), 7, |offer, _| offer.attempt = 2)));
    assert_eq!(pump.asked.len(), 1);
}

#[test]
fn a_silent_trial_ends_with_its_time() {
    let owner = Owner::new();
    let mut pump = Pump::on_trial(&owner);
    let deadline = pump.core.as_ref().and_then(|core| core.next_deadline(pump.now)).expect("a deadline");
    pump.now.ms = deadline;
    pump.tell(Input::Tick);
    assert!(pump.rebooting);
    assert_eq!(pump.boot("1.0"), Slot::A);
}

#[test]
fn a_tampered_block_is_found_and_the_old_image_stays() {
    let owner = Owner::new();
    let mut pump = Pump::new(&owner);
    pump.connect();
    pump.tell(Input::Offer(owner.announces(&new(), 7, |_, _| ())));
    let mut tampered = new();
    tampered[1_234_567] ^= 1;
    pump.serve(&tampered, 100);
    assert_eq!(pump.ends(), [(7, failed(FailureCode::DigestMismatch))]);
    assert!(!pump.rebooting);
    assert_eq!(pump.boot("1.0"), Slot::A);
}

#[test]
fn a_transfer_goes_on_where_it_was_after_a_cut_and_after_a_restart() {
    let owner = Owner::new();
    let mut pump = Pump::new(&owner);
    pump.connect();
    pump.tell(Input::Offer(owner.announces(&new(), 7, |_, _| ())));
    pump.serve(&new(), 10);
    let at = pump.asked.last().expect("it asks").offset;
    assert_eq!(at, 10 * 65_536);
    pump.tell(Input::Disconnected);
    pump.asked.clear();
    pump.connect();
    pump.tell(Input::Offer(owner.announces(&new(), 7, |_, _| ())));
    assert_eq!(
        pump.asked.iter().map(|get| get.offset).collect::<Vec<_>>(),
        [at],
        "it asks once, and goes on"
    );
    pump.serve(&new(), 10);
    pump.asked.clear();
    assert_eq!(pump.boot("1.0"), Slot::A);
    pump.connect();
    assert!(pump.asked.is_empty(), "after a restart the offer is judged again");
    pump.tell(Input::Offer(owner.announces(&new(), 7, |_, _| ())));
    assert_eq!(
        pump.asked.last().map(|get| get.offset),
        Some(1024 * 1024),
        "of what was marked nothing is sent again"
    );
    pump.serve(&new(), 100);
    assert!(pump.rebooting);
}

#[test]
fn a_block_of_a_session_that_is_over_makes_nobody_wait() {
    let owner = Owner::new();
    let mut pump = Pump::new(&owner);
    pump.connect();
    pump.tell(Input::Offer(owner.announces(&new(), 7, |_, _| ())));
    let get = pump.asked.pop().expect("it asks");
    pump.tell(Input::Disconnected);
    let far = pump.core.as_ref().and_then(|core| core.next_deadline(pump.now));
    let bytes = new()[..8 * 1_024].to_vec();
    pump.tell(Input::Block(Block { artifact: get.artifact, offset: 0, bytes }.encode()));
    let deadline = pump.core.as_ref().and_then(|core| core.next_deadline(pump.now));
    assert_eq!((far, deadline), (Some(3_600_000), Some(3_600_000)), "that of the whole transfer");
}

#[test]
fn what_may_not_be_installed_is_refused_with_the_reason_and_asks_for_nothing() {
    let owner = Owner::new();
    let mut pump = Pump::new(&owner);
    pump.connect();
    let other = vendor_id("another.example");
    type Change = Box<dyn FnOnce(&mut Offer, &mut NewManifest)>;
    let cases: Vec<(Change, FailureCode)> = vec![
        (Box::new(|offer, _| offer.expires_s = START_S - 1), FailureCode::ExpiredOffer),
        (Box::new(move |_, manifest| manifest.vendor = other), FailureCode::WrongClass),
        (Box::new(|_, manifest| manifest.sequence = Sequence(1)), FailureCode::Downgrade),
        (Box::new(|_, manifest| manifest.size = 4_000_001), FailureCode::NoSpace),
        (Box::new(|_, manifest| manifest.version = None), FailureCode::Other),
    ];
    for (execution, (change, code)) in (20..).zip(cases) {
        pump.tell(Input::Offer(owner.announces(&new(), execution, change)));
        assert_eq!(pump.ends().last(), Some(&(execution, failed(code))));
    }
    // Somebody else's signature: what it says that it is for is enough to tell.
    pump.tell(Input::Offer(Owner::new().announces(&new(), 30, |_, _| ())));
    assert_eq!(pump.ends().last(), Some(&(30, failed(FailureCode::Signature))));
    pump.tell(Input::Offer(owner.announces(&new(), 31, |offer, _| offer.consent = true)));
    assert_eq!(pump.ends().last(), Some(&(31, Outcome::Rejected)));
    pump.tell(Input::Offer(b"nonsense".to_vec()));
    assert!(pump.asked.is_empty());
}

#[test]
fn an_offer_that_is_taken_away_stops_its_transfer() {
    let owner = Owner::new();
    let mut pump = Pump::new(&owner);
    pump.connect();
    pump.tell(Input::Offer(owner.announces(&new(), 7, |_, _| ())));
    pump.serve(&new(), 3);
    pump.tell(Input::Offer(Vec::new()));
    assert_eq!(pump.ends(), [(7, Outcome::Cancelled)]);
}

#[test]
fn an_order_waits_for_its_window() {
    let owner = Owner::new();
    let mut pump = Pump::new(&owner);
    pump.connect();
    let window = Window { from_s: START_S + 600, to_s: START_S + 1_200 };
    let offer = owner.announces(&new(), 7, |offer, _| offer.window = Some(window));
    pump.tell(Input::Offer(offer.clone()));
    assert!(pump.asked.is_empty());
    assert_eq!(pump.core.as_ref().and_then(|core| core.next_deadline(pump.now)), Some(LOOK_AGAIN_MS));
    pump.now.unix_s = window.from_s;
    pump.tell(Input::Tick);
    assert_eq!(pump.asked.len(), 1);
    let mut late = Pump::new(&owner);
    late.connect();
    late.now.unix_s = window.to_s;
    late.tell(Input::Offer(offer));
    assert!(late.asked.is_empty());
}

#[test]
fn a_root_is_followed_and_kept_and_an_unfollowed_one_refused() {
    let mut owner = Owner::new();
    let mut pump = Pump::new(&owner);
    pump.connect();
    let with_root = |owner: &Owner, execution| {
        let bytes = owner.announces(&new(), execution, |_, _| ());
        let announcement = Announcement::decode(&bytes).expect("read");
        Announcement { roots: vec![owner.root_bytes()], ..announcement }.encode()
    };
    // A thief's next root, signed by the thief alone.
    let mut thief = Owner::new();
    thief.root.version = 2;
    pump.tell(Input::Offer(with_root(&thief, 6)));
    assert_eq!(pump.ends(), [(6, failed(FailureCode::Signature))]);
    owner.root.version = 2;
    owner.firmware = SoftKey::generate().expect("a key");
    owner.root.firmware = Role::new(vec![owner.firmware.public().clone()], 1);
    pump.tell(Input::Offer(with_root(&owner, 7)));
    assert_eq!(pump.asked.len(), 1, "signed with the new key");
    assert_eq!(pump.running().map(|running| running.root), Some(2));
    pump.boot("1.0");
    pump.connect();
    assert_eq!(pump.running().map(|running| running.root), Some(2), "it is kept");
}

#[test]
fn a_damaged_record_is_not_begun_anew() {
    let owner = Owner::new();
    let mut pump = Pump::new(&owner);
    pump.connect();
    pump.tell(Input::Offer(owner.announces(&new(), 7, |_, _| ())));
    let state = pump.state.clone().expect("there");
    let kept =
        state.read_bytes("firmware.cbor", 10_000).expect("read").expect("kept before anything is fetched");
    for length in 0..kept.len() {
        state.keep(&kept[..length]).expect("written");
        assert!(matches!(shelf::read_record(&state, &pump.settings()), Err(NoRecord::Damaged(_))));
    }
    state.keep(&kept).expect("written");
    let record = shelf::read_record(&state, &pump.settings()).expect("whole");
    assert_eq!((record.encode(), record.state.newest), (kept, Sequence(2)));
}

/// One that is full.
struct Full;

impl Shelf for Full {
    fn keep(&self, _: &[u8]) -> Result<(), crate::state::StateError> {
        let source = std::io::ErrorKind::StorageFull.into();
        Err(crate::state::StateError::Io { path: "firmware.cbor".into(), source })
    }
}

#[test]
fn what_cannot_be_remembered_is_not_begun() {
    let owner = Owner::new();
    let mut pump = Pump::new(&owner);
    pump.core.as_mut().expect("it runs").shelf = Arc::new(Full);
    pump.connect();
    pump.tell(Input::Offer(owner.announces(&new(), 7, |_, _| ())));
    assert_eq!(pump.ends(), [(7, failed(FailureCode::Other))]);
    assert!(pump.asked.is_empty());
}
