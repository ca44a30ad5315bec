//! A session that is ended in the very moment in which it is opened: a gate that holds its answer back shows every order
//! of the two.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use arc_swap::ArcSwap;
use muster_mqtt::ReasonCode;
use muster_schemas::Kind;
use rustls::{pki_types::CertificateDer, version::TLS13};
use tokio::sync::Semaphore;

use super::{
    house::{Authority, bus_options, shake_hands},
    site::admitted,
    *,
};
use crate::{
    Access, Admission, Bus, Gate, NotAdmitted, bind,
    store::{RootKey, Store, StoreOptions},
};

/// A gate whose first answer is given when a test says so, whatever has happened since it was asked.
struct SlowGate {
    revoked: AtomicBool,
    asked: AtomicUsize,
    answers: Arc<Semaphore>,
}

impl Gate for SlowGate {
    fn admit(&self, _: Option<CertificateDer<'static>>, _: Option<[u8; 32]>) -> Admission {
        // Decided now, as a registry decides; told later, as a mailbox tells.
        let revoked = self.revoked.load(Ordering::SeqCst);
        let first = self.asked.fetch_add(1, Ordering::SeqCst) == 0;
        let answers = self.answers.clone();
        Box::pin(async move {
            if first {
                answers.acquire().await.unwrap().forget();
            }
            let (code, reason) = (ReasonCode::NotAuthorized, "revoked".to_owned());
            if revoked { Err(NotAdmitted { code, reason }) } else { Ok(app()) }
        })
    }
}

fn app() -> crate::Admitted {
    admitted("acme", Kind::App, "dashboard", Access::app())
}

/// Opens a connection while somebody is told to close, and says how often the gate was asked and whether the peer is in.
async fn opened_while(is_revoked: bool) -> (usize, bool) {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions { disk_free_bytes_min: 0 };
    let store = Store::open(dir.path(), RootKey::from_bytes([7; 32]), options).unwrap();
    let tenant = store.create_tenant(&"acme".parse().unwrap()).unwrap();
    let bus = Bus::start(bus_options(store, 100));
    bus.add_tenant(tenant).unwrap();
    let authority = Authority::new();
    let tls = Arc::new(ArcSwap::from_pointee(authority.strict_server()));
    let gate = Arc::new(SlowGate {
        revoked: AtomicBool::new(false),
        asked: AtomicUsize::new(0),
        answers: Arc::new(Semaphore::new(0)),
    });
    let socket = bind((std::net::Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = socket.local_addr().unwrap();
    let listener = bus.listen(socket, vec![bus.mqtt(gate.clone(), tls)]);

    let stream = shake_hands(address, authority.client(&[&TLS13], &[])).await.unwrap();
    let mut peer = Peer::new(stream, "one");
    while gate.asked.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    // The gate has said yes, and the session is not there yet: now it is ended.
    gate.revoked.store(is_revoked, Ordering::SeqCst);
    bus.close_sessions(&app().principal, ReasonCode::NotAuthorized, "ended");
    gate.answers.add_permits(1);
    let is_in = peer.is_answered().await;
    drop(listener);
    (gate.asked.load(Ordering::SeqCst), is_in)
}

#[test]
fn a_session_that_is_revoked_while_it_is_opened_does_not_slip_past() {
    story(async { assert_eq!(opened_while(true).await, (2, false)) });
}

#[test]
fn a_session_that_is_opened_while_another_is_ended_goes_on() {
    story(async { assert_eq!(opened_while(false).await, (2, true)) });
}
