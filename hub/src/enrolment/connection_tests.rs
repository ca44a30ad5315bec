//! Whole enrolments over an in-memory connection: frames, actor, registry and store are the real ones.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use actix::Addr;
use muster_actors::{Child, Clock, Plan, Supervised};
use muster_broker::store::{RootKey, Store, StoreOptions};
use muster_schemas::{Principal, enrolment::Issued};
use tempfile::TempDir;

use super::*;
use crate::{
    authority::TrustBundle,
    enrolment::{
        actor::{EnrolmentActor, EnrolmentOptions, RegistryDesk},
        limits::SESSION_TTL,
        test_device::{
            Line, NOW_S, TestDevice, challenged, installation, issued, refusal, renewal_challenged,
        },
    },
    pinned::Pins,
    random,
    registry::{
        RegistryActor, RegistryOptions,
        message::{Admit, CreateClaim, CreateTenant, ListDevices},
    },
    witness::Witness,
};

const HERE: [u8; 32] = [1; 32];
const ELSEWHERE: [u8; 32] = [2; 32];

/// A clock that a test moves.
struct TestClock {
    start: Instant,
    passed_ms: AtomicU64,
}

impl Clock for TestClock {
    fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.passed_ms.load(Ordering::Relaxed))
    }

    fn unix_ms(&self) -> u64 {
        NOW_S * 1_000 + self.passed_ms.load(Ordering::Relaxed)
    }
}

struct Hub {
    clock: Arc<TestClock>,
    counters: Counters,
    handle: EnrolmentHandle,
    bundle: TrustBundle,
    address: Addr<RegistryActor>,
    /// Whose sessions were to be closed.
    revoked: Arc<Mutex<Vec<Principal>>>,
    _registry: Supervised<RegistryActor>,
    _enrolment: Supervised<EnrolmentActor>,
    _directory: TempDir,
}

impl Hub {
    /// A hub with two tenants: lab accepts simulated TPMs, and acme does not.
    async fn start() -> Self {
        let directory = TempDir::new().expect("directory");
        let options = StoreOptions { disk_free_bytes_min: 0 };
        let store = Store::open(directory.path(), RootKey::from_bytes([7; 32]), options).expect("opens");
        let start = muster_actors::SystemClock.now();
        let clock = Arc::new(TestClock { start, passed_ms: AtomicU64::new(0) });
        let registry = RegistryOptions {
            store,
            clock: clock.clone(),
            trust_clock: false,
            trust_domain: "muster.example".parse().expect("domain"),
            ended: Arc::new(|_| {}),
            random: Arc::new(random::system),
            known: Default::default(),
            pins: Pins::default(),
            sensitive: Default::default(),
        };
        let registry =
            Child::new("registry", Plan::PARK, move |slot| RegistryActor::new(&registry, slot)).start();
        let address = registry.address().expect("runs");
        let desk = RegistryDesk::from(address.clone());
        let counters = Counters::default();
        let revoked = Arc::<Mutex<Vec<Principal>>>::default();
        let told = revoked.clone();
        let (policy, bundle) = installation();
        let options = EnrolmentOptions {
            policy,
            registry: Arc::new(move || Some(desk.clone())),
            clock: clock.clone(),
            random: Arc::new(random::system),
            counters: counters.clone(),
            witness: Witness::new(clock.clone()),
            revoked: Arc::new(move |principal| told.lock().expect("whole").push(principal.clone())),
        };
        let enrolment =
            Child::new("enrolment", Plan::PARK, move |_| EnrolmentActor::new(options.clone())).start();
        let recipient = enrolment.address().expect("runs").recipient();
        let handle = EnrolmentHandle::new(move || Some(recipient.clone()), counters.clone());
        for (name, accept_simulated_tpms) in [("lab", true), ("acme", false)] {
            let create = CreateTenant { tenant: name.parse().expect("id"), accept_simulated_tpms };
            address.send(create).await.expect("alive").expect("created");
        }
        Self {
            clock,
            counters,
            handle,
            bundle,
            address,
            revoked,
            _registry: registry,
            _enrolment: enrolment,
            _directory: directory,
        }
    }

    async fn claim(&self, tenant: &str) -> String {
        let create = CreateClaim {
            tenant: tenant.parse().expect("id"),
            model: None,
            expires_in_s: 3_600,
            approve: false,
        };
        self.address.send(create).await.expect("alive").expect("created").code.to_string()
    }

    fn connect(&self, exporter: [u8; 32], leaf: Option<Leaf>) -> Line {
        let (stream, theirs) = tokio::io::duplex(64 * 1024);
        let peer = "192.0.2.1:50000".parse().expect("address");
        actix::spawn(serve(theirs, peer, exporter, leaf, self.handle.clone()));
        Line { stream }
    }

    async fn enrol(&self, device: &mut TestDevice) -> Issued {
        let mut line = self.connect(HERE, None);
        let begin = device.begin();
        let challenge = challenged(line.ask(DeviceFrame::Begin(begin)).await);
        let finish = device.finish(&challenge, &HERE);
        let issued = issued(line.ask(DeviceFrame::Finish(finish)).await);
        assert!(line.is_closed().await);
        issued
    }

    async fn begin(&self, device: &mut TestDevice) -> HubFrame {
        let begin = device.begin();
        self.connect(HERE, None).ask(DeviceFrame::Begin(begin)).await
    }

    async fn admits(&self, leaf: Leaf) -> bool {
        self.address.send(Admit(leaf)).await.expect("alive").is_ok()
    }

    /// What the listener reads from the certificate of a device.
    fn leaf(&self, issued: &Issued) -> Leaf {
        self.bundle.leaf(&issued.certificate.clone().into()).expect("one of ours")
    }

    async fn renew(&self, device: &mut TestDevice, leaf: Leaf) -> Issued {
        let mut line = self.connect(HERE, Some(leaf));
        let begin = device.renew_begin();
        let challenge = renewal_challenged(line.ask(DeviceFrame::RenewBegin(begin)).await);
        let finish = device.renew_finish(&challenge, &HERE);
        issued(line.ask(DeviceFrame::RenewFinish(finish)).await)
    }

    fn refused(&self, code: RefusalCode) -> u64 {
        let counted = self.counters.counted().refused;
        counted.iter().find(|(name, _)| *name == code.as_str()).map_or(0, |(_, count)| *count)
    }
}

fn story(story: impl AsyncFnOnce(Hub)) {
    actix::System::new().block_on(async { story(Hub::start().await).await });
}

#[test]
fn a_new_device_with_a_claim_gets_its_certificate_and_is_admitted_with_it() {
    story(async |hub| {
        let mut device = TestDevice::claiming(1, &hub.claim("lab").await);
        let issued = hub.enrol(&mut device).await;
        let leaf = hub.leaf(&issued);
        assert_eq!(
            leaf.principal.to_string(),
            format!("spiffe://muster.example/t/lab/device/{}", issued.device)
        );
        assert_eq!(issued.mqtt_endpoint, "hub.example:8883");
        assert!(hub.admits(leaf).await);
        let counted = hub.counters.counted();
        assert_eq!((counted.begun, counted.challenged, counted.issued), (1, 1, 1));
        assert_eq!(counted.refused, []);
    });
}

#[test]
fn an_unknown_chip_without_a_claim_is_refused_as_unknown() {
    story(async |hub| {
        assert_eq!(refusal(hub.begin(&mut TestDevice::new(1)).await), RefusalCode::UnknownChip);
        assert_eq!(hub.refused(RefusalCode::UnknownChip), 1);
    });
}

#[test]
fn a_simulated_chip_is_refused_where_the_tenant_does_not_accept_its_class() {
    story(async |hub| {
        let mut device = TestDevice::claiming(1, &hub.claim("acme").await);
        assert_eq!(refusal(hub.begin(&mut device).await), RefusalCode::ClassNotAllowed);
        // The claim was not used up: in another class of chip it is still good.
        let list = ListDevices { tenant: "acme".parse().expect("id"), after: None, limit: 10 };
        assert_eq!(hub.address.send(list).await.expect("alive").expect("known"), []);
    });
}

#[test]
fn a_claim_serves_one_chip() {
    story(async |hub| {
        let claim = hub.claim("lab").await;
        hub.enrol(&mut TestDevice::claiming(1, &claim)).await;
        let mut other = TestDevice::claiming(2, &claim);
        assert_eq!(refusal(hub.begin(&mut other).await), RefusalCode::ClaimUsed);
    });
}

#[test]
fn of_two_chips_that_race_with_one_claim_one_is_enrolled() {
    story(async |hub| {
        let claim = hub.claim("lab").await;
        let mut racers = Vec::new();
        for seed in [1, 2] {
            let mut device = TestDevice::claiming(seed, &claim);
            let mut line = hub.connect([seed; 32], None);
            let begin = device.begin();
            let challenge = challenged(line.ask(DeviceFrame::Begin(begin)).await);
            racers.push((device.finish(&challenge, &[seed; 32]), line));
        }
        let mut answers = Vec::new();
        for (finish, mut line) in racers {
            answers.push(line.ask(DeviceFrame::Finish(finish)).await);
        }
        let second = answers.pop().expect("two");
        issued(answers.pop().expect("two"));
        assert_eq!(refusal(second), RefusalCode::ClaimUsed);
    });
}

#[test]
fn a_device_whose_answer_was_lost_enrols_again_with_the_same_claim() {
    story(async |hub| {
        let mut device = TestDevice::claiming(1, &hub.claim("lab").await);
        let first = hub.enrol(&mut device).await;
        let second = hub.enrol(&mut device).await;
        assert_eq!(first.device, second.device);
        assert!(!hub.admits(hub.leaf(&first)).await, "only the last one issued is good");
        assert!(hub.admits(hub.leaf(&second)).await);
        assert_eq!(hub.counters.counted().cleared, 0);
    });
}

#[test]
fn a_cleared_chip_enrols_without_a_claim_and_its_old_certificate_ends() {
    story(async |hub| {
        let mut device = TestDevice::claiming(1, &hub.claim("lab").await);
        let before = hub.enrol(&mut device).await;
        assert!(hub.revoked.lock().expect("whole").is_empty());
        device.turn_slot();
        device.claim = None;
        let after = hub.enrol(&mut device).await;
        assert_eq!(before.device, after.device);
        assert_eq!(
            *hub.revoked.lock().expect("whole"),
            [hub.leaf(&before).principal],
            "its sessions are closed"
        );
        assert!(!hub.admits(hub.leaf(&before)).await);
        assert_eq!(hub.counters.counted().cleared, 1);
    });
}

#[test]
fn a_replayed_finish_is_refused() {
    story(async |hub| {
        let mut device = TestDevice::claiming(1, &hub.claim("lab").await);
        let begin = device.begin();
        let mut line = hub.connect(HERE, None);
        let challenge = challenged(line.ask(DeviceFrame::Begin(begin)).await);
        let finish = device.finish(&challenge, &HERE);
        issued(line.ask(DeviceFrame::Finish(finish.clone())).await);
        let replayed = hub.connect(HERE, None).ask(DeviceFrame::Finish(finish)).await;
        assert_eq!(refusal(replayed), RefusalCode::SessionUnknown);
    });
}

#[test]
fn a_finish_on_another_connection_is_refused_and_the_first_goes_on() {
    story(async |hub| {
        let mut device = TestDevice::claiming(1, &hub.claim("lab").await);
        let begin = device.begin();
        let mut line = hub.connect(HERE, None);
        let challenge = challenged(line.ask(DeviceFrame::Begin(begin)).await);
        let finish = device.finish(&challenge, &HERE);
        let elsewhere = hub.connect(ELSEWHERE, None).ask(DeviceFrame::Finish(finish.clone())).await;
        assert_eq!(refusal(elsewhere), RefusalCode::WrongChannel);
        issued(line.ask(DeviceFrame::Finish(finish)).await);
    });
}

#[test]
fn a_finish_after_a_minute_is_refused_as_late() {
    story(async |hub| {
        let mut device = TestDevice::claiming(1, &hub.claim("lab").await);
        let begin = device.begin();
        let mut line = hub.connect(HERE, None);
        let challenge = challenged(line.ask(DeviceFrame::Begin(begin)).await);
        let ttl_ms = u64::try_from(SESSION_TTL.as_millis()).expect("a minute");
        hub.clock.passed_ms.fetch_add(ttl_ms, Ordering::Relaxed);
        let finish = device.finish(&challenge, &HERE);
        assert_eq!(refusal(line.ask(DeviceFrame::Finish(finish)).await), RefusalCode::SessionExpired);
        assert!(line.is_closed().await);
    });
}

#[test]
fn a_renewal_gives_a_certificate_for_the_new_key_and_ends_the_old_one_once_it_is_used() {
    story(async |hub| {
        let mut device = TestDevice::claiming(1, &hub.claim("lab").await);
        let first = hub.enrol(&mut device).await;
        device.turn_slot();
        let second = hub.renew(&mut device, hub.leaf(&first)).await;
        assert!(hub.admits(hub.leaf(&first)).await, "the new one has not connected yet");
        assert!(hub.admits(hub.leaf(&second)).await);
        assert!(!hub.admits(hub.leaf(&first)).await);
        assert_eq!(hub.counters.counted().renewed, 1);
        let mut line = hub.connect(HERE, Some(hub.leaf(&first)));
        let begin = device.renew_begin();
        let refused = line.ask(DeviceFrame::RenewBegin(begin)).await;
        assert_eq!(refusal(refused), RefusalCode::UnknownChip, "an ended certificate renews nothing");
    });
}

#[test]
fn a_renewal_without_a_certificate_is_refused() {
    story(async |hub| {
        let begin = TestDevice::new(1).renew_begin();
        let refused = hub.connect(HERE, None).ask(DeviceFrame::RenewBegin(begin)).await;
        assert_eq!(refusal(refused), RefusalCode::Malformed);
    });
}

#[test]
fn malformed_frames_are_refused_and_the_connection_is_closed() {
    story(async |hub| {
        for bytes in [&[0, 0, 0, 0][..], &[0xff; 4], &[0, 0, 0, 1, 0xff], &[0, 0, 0, 2, 0xa0, 0x00]] {
            let mut line = hub.connect(HERE, None);
            tokio::io::AsyncWriteExt::write_all(&mut line.stream, bytes).await.expect("sent");
            assert_eq!(refusal(line.receive().await), RefusalCode::Malformed, "{bytes:?}");
            assert!(line.is_closed().await);
        }
        assert_eq!(hub.refused(RefusalCode::Malformed), 4);
    });
}

#[test]
fn oversized_truncated_and_random_frames_get_a_refusal_or_silence_and_never_a_certificate() {
    story(async |hub| {
        let whole = DeviceFrame::Begin(TestDevice::new(1).begin()).encode();
        let mut attacks = vec![
            [&16_385u32.to_be_bytes()[..], &[0; 64]].concat(),
            [&u32::MAX.to_be_bytes()[..], &[0; 64]].concat(),
            [&16_384u32.to_be_bytes()[..], &vec![0xa1; 16_384]].concat(),
        ];
        // Cut anywhere, with a length that says so: the map ends early.
        for cut in (5..whole.len()).step_by(97) {
            let length = u32::try_from(cut - 4).expect("short").to_be_bytes();
            attacks.push([&length[..], &whole[4..cut]].concat());
        }
        let mut state = 7u64;
        for _ in 0..200 {
            let mut bytes = whole.clone();
            for _ in 0..8 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let place = 4 + usize::try_from(state >> 33).expect("fits") % (bytes.len() - 4);
                bytes[place] ^= 1 | (state >> 24) as u8;
            }
            attacks.push(bytes);
        }
        for bytes in attacks {
            let mut line = hub.connect(HERE, None);
            tokio::io::AsyncWriteExt::write_all(&mut line.stream, &bytes).await.expect("sent");
            let answer = line.receive().await;
            assert!(matches!(answer, HubFrame::Refused(_)), "{answer:?}");
        }
        // One that stops in the middle of a frame is let go without an answer.
        let mut line = hub.connect(HERE, None);
        tokio::io::AsyncWriteExt::write_all(&mut line.stream, &whole[..whole.len() / 2]).await.expect("sent");
        tokio::io::AsyncWriteExt::shutdown(&mut line.stream).await.expect("closed");
        assert!(line.is_closed().await);
        assert_eq!(hub.counters.counted().issued, 0);
        // The hub is none the worse for it; who made the noise has to wait a moment.
        hub.clock.passed_ms.fetch_add(60_000, Ordering::Relaxed);
        let claim = hub.claim("lab").await;
        hub.enrol(&mut TestDevice::claiming(9, &claim)).await;
    });
}

#[test]
fn a_hub_without_a_registry_says_that_it_is_unavailable() {
    actix::System::new().block_on(async {
        let handle = EnrolmentHandle::new(|| None, Counters::default());
        let (stream, theirs) = tokio::io::duplex(64 * 1024);
        let peer = "192.0.2.1:50000".parse().expect("address");
        actix::spawn(serve(theirs, peer, HERE, None, handle));
        let begin = TestDevice::new(1).begin();
        let answer = Line { stream }.ask(DeviceFrame::Begin(begin)).await;
        assert_eq!(refusal(answer), RefusalCode::HubUnavailable);
    });
}

#[test]
fn a_silent_peer_is_let_go_after_its_time() {
    muster_actors::world::run(async {
        let counters = Counters::default();
        let handle = EnrolmentHandle::new(|| None, counters.clone());
        let (stream, theirs) = tokio::io::duplex(64);
        let peer = "192.0.2.1:50000".parse().expect("address");
        let began = muster_actors::SystemClock.now();
        serve(theirs, peer, HERE, None, handle).await;
        assert_eq!(muster_actors::SystemClock.now() - began, FRAME_TIME_MAX);
        assert_eq!(counters.counted().timed_out, 1);
        drop(stream);
    });
}
