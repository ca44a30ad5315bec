//! How long a publication takes, and how long it holds up a thread that serves. Run by hand, as a release:
//! `cargo test --release -p muster-hub --lib -- --ignored --nocapture a_hundred_thousand`

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use muster_actors::{Clock as _, SystemClock};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _};
use rustls::pki_types::PrivatePkcs8KeyDer;

use super::publisher::{Keys, make};
use crate::{
    authority::{Authority, PublicKey, Role, Serial, Tenants, TrustBundle},
    config::Layout,
    pinned::{Peers, Pins},
    registry::{Revocation, RevocationReason},
    tls::ServerIdentity,
    witness::Witness,
};

/// 2026-02-01.
const NOW_S: u64 = 1_769_904_000;
const REVOKED: u128 = 100_000;
const ROUNDS: usize = 10;

fn keys(root: &Authority) -> (Keys, TrustBundle) {
    let authorities: Vec<_> =
        Role::INTERMEDIATES.map(|role| root.new_intermediate(role, NOW_S).expect("authority")).into();
    let below = authorities.iter().map(|authority| (authority.role(), authority.certificate()));
    let trust = TrustBundle::new(root.certificate(), below).expect("one installation");
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("key");
    let public = PublicKey::from_sec1(key.der_bytes()).expect("point");
    let who = "spiffe://muster.example/t/operator/node/hub".parse().expect("principal");
    let server = authorities.iter().find(|authority| authority.role() == Role::Server).expect("server");
    let issued = server.issue_server(&public, &who, (&[], &Tenants::All), NOW_S, 3_600).expect("issued");
    let identity = ServerIdentity {
        chain: vec![issued.certificate, server.certificate()],
        key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
    };
    (Keys { authorities, server: identity, serial: issued.leaf.serial }, trust)
}

#[test]
#[ignore = "a measurement, run by hand"]
#[expect(clippy::print_stderr, reason = "what was measured is for the person who runs it")]
fn a_hundred_thousand_revocations_hold_up_nobody() {
    let folder = tempfile::tempdir().expect("folder");
    let layout = Layout::new(folder.path());
    let root = Authority::new_root(&"muster.example".parse().expect("domain"), NOW_S).expect("root");
    let (keys, trust) = keys(&root);
    let rows: Vec<_> = (0..REVOKED)
        .map(|number| {
            Arc::new(Revocation {
                authority: Role::Device,
                serial: Serial::from((number | 1 << 126).to_be_bytes()),
                not_after_s: NOW_S + 60,
                revoked_at_s: NOW_S,
                reason: RevocationReason::KeyCompromise,
                invalid_since_s: Some(NOW_S),
                principal: "spiffe://muster.example/t/acme/device/pump-7".parse().expect("principal"),
            })
        })
        .collect();
    let (keys, rows) = (Arc::new(keys), Arc::new(rows));
    let trust = Arc::new(Peers::new(trust, Pins::default()));
    let witness = Witness::new(SystemClock::shared());
    let clock = SystemClock;
    // One thread serves, as an arbiter does: it wakes every millisecond, and says how late it was.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    runtime.block_on(async {
        for publishing in [false, true] {
            let done = Arc::new(AtomicBool::new(false));
            let made = {
                let (keys, rows, trust, layout) =
                    (Arc::clone(&keys), Arc::clone(&rows), trust.clone(), layout.clone());
                let (done, witness) = (Arc::clone(&done), witness.clone());
                tokio::task::spawn_blocking(move || {
                    let mut took = Vec::new();
                    for _ in 0..ROUNDS {
                        let begun = SystemClock.now();
                        if publishing {
                            make(&keys, &rows, &trust, &witness, &layout, NOW_S).expect("made");
                        } else {
                            std::thread::park_timeout(Duration::from_millis(200));
                        }
                        took.push(SystemClock.now() - begun);
                    }
                    done.store(true, Ordering::Relaxed);
                    took
                })
            };
            let mut late = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let begun = clock.now();
                tokio::time::sleep(Duration::from_millis(1)).await;
                late.push((clock.now() - begun).saturating_sub(Duration::from_millis(1)));
            }
            let mut took = made.await.expect("made");
            took.sort();
            late.sort();
            let at = |share: usize| late.get(late.len() * share / 1_000).copied().unwrap_or_default();
            eprintln!(
                "publishing: {publishing}; made in {:?} (median of {ROUNDS}, slowest {:?}); {} wake-ups late by \
                 {:?} (median), {:?} (99.9 %), {:?} (latest)",
                took[ROUNDS / 2],
                took[ROUNDS - 1],
                late.len(),
                at(500),
                at(999),
                late[late.len() - 1],
            );
        }
    });
}
