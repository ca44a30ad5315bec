//! Makes what is published. One at a time, on a thread that may be slow, and after a long one a long pause: a hundred
//! thousand revocations do not hold up traffic, and revoking them one by one does not keep a core busy.

use std::{io, sync::Arc, time::Duration};

use muster_actors::SharedClock;
use tokio::{sync::Notify, time::sleep};
use tracing::{error, info, warn};

use super::{List, Publication, Published, sign_trust};
use crate::{
    authority::{Authority, AuthorityError, Leaf, Role, Serial, Signers, Tenants},
    config::{Config, Layout},
    keyring::{self, Keyring, KeyringError},
    limits::{LIST_REFRESH_S, PUBLICATION_PAUSE_FACTOR, PUBLICATION_POLL_TIME, SECRET_BYTES_MAX},
    pinned::Peers,
    place::Place,
    private_file,
    registry::{IssuedRow, ListRevocations, RecordIssued, RegistryActor, Revocation, RevocationList},
    tls::{ServerIdentity, TlsConfigs, TlsError},
    witness::Witness,
};

/// Why nothing new is published. What was published before stays.
#[derive(Debug, thiserror::Error)]
pub enum PublisherError {
    /// The keys could not be read anew.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// An authority would not sign.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The library refused the lists or the hub's certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The authorities on disk are not those of this installation.
    #[error("use the authorities on disk: {0}")]
    Bundle(&'static str),
    /// The number of the publication could not be kept; without that it would repeat.
    #[error("keep the number of the publication: {0}")]
    Number(io::Error),
    /// The thread that made it ended.
    #[error("make it: its thread panicked")]
    Panicked,
}

/// What a publisher works with.
pub struct PublisherParts {
    /// The configuration: the keys are read anew by it.
    pub config: Config,
    /// The open keys.
    pub keyring: Keyring,
    /// What reads certificates.
    pub trust: Arc<Peers>,
    /// Who is told whom the doors refused.
    pub witness: Witness,
    /// Who signs; another generation takes a place when there is one.
    pub signers: Signers,
    /// What the doors go by.
    pub tls: TlsConfigs,
    /// What others see.
    pub publication: Publication,
    /// Who knows what is revoked.
    pub registry: Place<RegistryActor>,
    /// The time.
    pub clock: SharedClock,
}

/// Publishes, for as long as the hub runs.
pub struct Publisher {
    parts: PublisherParts,
    keys: Arc<Keys>,
    revocations: Arc<Vec<Arc<Revocation>>>,
    /// The version of the revocations that is published.
    version: Option<u64>,
    published_at_s: u64,
}

/// What is signed with.
pub(super) struct Keys {
    pub(super) authorities: Vec<Authority>,
    pub(super) server: ServerIdentity,
    /// The serial number of the hub's own certificate.
    pub(super) serial: Serial,
}

impl Publisher {
    /// A publisher that has published nothing yet.
    pub fn new(mut parts: PublisherParts) -> Self {
        let authorities = std::mem::take(&mut parts.keyring.authorities);
        let server = parts.keyring.server.clone();
        let serial = parts.keyring.server_leaf.serial;
        let keys = Arc::new(Keys { authorities, server, serial });
        Self { parts, keys, revocations: Arc::default(), version: None, published_at_s: 0 }
    }

    /// Publishes for the first time, before anybody is let in.
    ///
    /// # Errors
    /// Nothing could be made, or the registry is not there.
    pub async fn first(&mut self) -> Result<(), PublisherError> {
        self.parts.registry.started().await;
        self.remember(self.parts.keyring.server_leaf.clone(), &self.keys.server.clone()).await;
        if self.look().await && self.is_revoked_itself() {
            self.renew().await?;
        }
        self.publish().await.map(drop)
    }

    /// Publishes whenever there is something new, and reads the keys anew whenever `reread` says so.
    pub async fn run(mut self, reread: Arc<Notify>) {
        loop {
            tokio::select! {
                () = sleep(PUBLICATION_POLL_TIME) => {}
                () = reread.notified() => match self.reread().await {
                    Ok(()) => info!("the hub's keys and certificates were read anew"),
                    Err(error) => error!(%error, "failed to read the hub's keys anew; the old ones stay"),
                }
            }
            let news = self.look().await;
            if news && self.is_revoked_itself() {
                match self.renew().await {
                    Ok(()) => {
                        info!("this hub's own certificate was revoked: it has another one, and another key")
                    }
                    Err(error) => {
                        error!(%error, "this hub's own certificate is revoked, and there is no other")
                    }
                }
            }
            let age_s = self.now_s().saturating_sub(self.published_at_s);
            if !news && age_s < LIST_REFRESH_S {
                continue;
            }
            match self.publish().await {
                // At most a tenth of a core, however many are revoked one by one.
                Ok(took) => sleep(took * PUBLICATION_PAUSE_FACTOR).await,
                Err(error) => {
                    error!(%error, "failed to publish revocations; the last ones stay, and the registry decides");
                    // It is tried again, but not every second.
                    sleep(PUBLICATION_POLL_TIME * PUBLICATION_PAUSE_FACTOR).await;
                    self.version = None;
                }
            }
        }
    }

    fn now_s(&self) -> u64 {
        self.parts.clock.unix_ms() / 1_000
    }

    /// The hub's own certificate is one that can be listed and revoked.
    async fn remember(&self, leaf: Leaf, server: &ServerIdentity) {
        let tenants = server.chain.first().and_then(|own| Tenants::of_certificate(own).ok().flatten());
        let row = IssuedRow::of(&leaf, tenants.map(|tenants| tenants.to_string()), leaf.not_before_s);
        let Some(registry) = self.parts.registry.address() else { return };
        if !matches!(registry.send(RecordIssued(row)).await, Ok(Ok(()))) {
            warn!("the hub's own certificate is not remembered; `muster ca list` does not show it");
        }
    }

    /// Asks for revocations that are not published. Says whether there are any.
    async fn look(&mut self) -> bool {
        let Some(registry) = self.parts.registry.address() else { return false };
        match registry.send(ListRevocations { known: self.version }).await {
            Ok(Some(RevocationList { version, revocations })) => {
                self.version = Some(version);
                self.revocations = Arc::new(revocations);
                true
            }
            Ok(None) | Err(_) => false,
        }
    }

    /// Whether somebody revoked the certificate that this hub shows.
    fn is_revoked_itself(&self) -> bool {
        let ours = |row: &Arc<Revocation>| row.authority == Role::Server && row.serial == self.keys.serial;
        self.revocations.iter().any(ours)
    }

    /// Takes another key and certificate.
    async fn renew(&mut self) -> Result<(), PublisherError> {
        let (config, now_s) = (self.parts.config.clone(), self.now_s());
        let renewed = tokio::task::spawn_blocking(move || keyring::renew_server(&config, now_s));
        renewed.await.map_err(|_| PublisherError::Panicked)??;
        self.reread().await
    }

    /// Makes lists and TLS configurations, and puts them in place. Says how long that took.
    async fn publish(&mut self) -> Result<Duration, PublisherError> {
        let now_s = self.now_s();
        let begun = self.parts.clock.now();
        let (keys, revocations) = (Arc::clone(&self.keys), Arc::clone(&self.revocations));
        let (trust, layout) = (self.parts.trust.clone(), self.parts.config.layout());
        let witness = self.parts.witness.clone();
        let made =
            tokio::task::spawn_blocking(move || make(&keys, &revocations, &trust, &witness, &layout, now_s));
        let (published, tls) = made.await.map_err(|_| PublisherError::Panicked)??;
        self.parts.tls.replace(&tls);
        let (number, revoked) = (published.number, self.revocations.len());
        self.parts.publication.replace(published);
        self.published_at_s = now_s;
        let took = self.parts.clock.now().saturating_duration_since(begun);
        info!(number, revoked, took_ms = took.as_secs_f64() * 1_000.0, "revocations published");
        Ok(took)
    }

    /// Reads keys and certificates anew: another generation of an authority, another certificate of the hub.
    async fn reread(&mut self) -> Result<(), PublisherError> {
        let (config, now_s) = (self.parts.config.clone(), self.now_s());
        let opened = tokio::task::spawn_blocking(move || Keyring::open(&config, now_s));
        let keyring = opened.await.map_err(|_| PublisherError::Panicked)??;
        self.parts.trust.replace(&keyring.trust).map_err(PublisherError::Bundle)?;
        let (authorities, serial) = (keyring.authorities, keyring.server_leaf.serial);
        self.remember(keyring.server_leaf, &keyring.server).await;
        self.keys = Arc::new(Keys { authorities, server: keyring.server, serial });
        // The doors know a new authority before it signs for anybody who then comes to them.
        self.publish().await?;
        Ok(self.parts.signers.replace(&self.keys.authorities)?)
    }
}

/// The slow part.
pub(super) fn make(
    keys: &Keys,
    revocations: &[Arc<Revocation>],
    trust: &Arc<Peers>,
    witness: &Witness,
    layout: &Layout,
    now_s: u64,
) -> Result<(Published, TlsConfigs), PublisherError> {
    let number = next_number(layout, now_s)?;
    let mut lists = Vec::new();
    for authority in &keys.authorities {
        lists.push(List::sign(authority, revocations, number, now_s)?);
    }
    let software = keys.authorities.iter().rev().find(|authority| authority.role() == Role::Software);
    let object = software.map(|software| sign_trust(software, trust, revocations, number, now_s));
    let tls = TlsConfigs::new(trust, witness, &keys.server, &lists)?;
    Ok((Published { lists, object: object.transpose()?, number }, tls))
}

/// A number above every earlier one, also after a clock was set back or the number was lost: usually the time.
fn next_number(layout: &Layout, now_s: u64) -> Result<u64, PublisherError> {
    let path = layout.publication_number();
    let last = match private_file::read_public(&path, SECRET_BYTES_MAX) {
        Ok(text) => String::from_utf8(text).ok().and_then(|text| text.trim().parse::<u64>().ok()),
        Err(_) => None,
    };
    if last.is_none() && path.symlink_metadata().is_ok() {
        warn!(path = %path.display(), "the number of the last publication cannot be read; the time is taken");
    }
    let number = last.map_or(now_s, |last| now_s.max(last.saturating_add(1)));
    private_file::replace(&path, format!("{number}\n").as_bytes(), false).map_err(PublisherError::Number)?;
    Ok(number)
}
