//! Where the running hub makes its backups: one at a time, in a thread of its own. Whoever asks hears how it goes and gets
//! no byte of it.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use muster_backup::{HubKey, Made, Memory, Order, make};
use muster_broker::store::Store;
use muster_schemas::api::{BackupMade, BackupState};

use super::{BackupFailure, Environment, HubSource, open_place, place::recipient};
use crate::{
    causes::causes,
    config::Config,
    limits::BACKUP_KEY_FILE_BYTES_MAX,
    private_file::{self, PrivateFileError},
};

/// Makes backups of a running hub.
#[derive(Clone)]
pub struct Desk(Arc<Inner>);

struct Inner {
    config: Config,
    store: Store,
    hub: HubKey,
    state: Mutex<BackupState>,
}

impl Desk {
    /// A desk for the hub with this configuration and store.
    ///
    /// # Errors
    /// The cryptographic library refuses.
    pub fn new(config: Config, store: Store) -> Result<Self, BackupFailure> {
        let hub = HubKey::derive(&store.backup_seed())?;
        Ok(Self(Arc::new(Inner { config, store, hub, state: Mutex::new(BackupState::None) })))
    }

    /// How it goes.
    pub fn state(&self) -> BackupState {
        self.locked().clone()
    }

    /// Begins a backup, and returns at once.
    ///
    /// # Errors
    /// One is under way, or the configuration does not say where to.
    pub fn begin(&self, now_ms: u64, force: bool) -> Result<BackupState, BackupFailure> {
        if self.0.config.backup.is_none() {
            return Err(BackupFailure::NotConfigured);
        }
        let running = BackupState::Running { since_ms: now_ms };
        {
            let mut state = self.locked();
            if let BackupState::Running { since_ms } = *state {
                return Err(BackupFailure::Busy { since_ms });
            }
            *state = running.clone();
        }
        let desk = self.clone();
        let thread = std::thread::Builder::new().name("backup".to_owned());
        let started = thread.spawn(move || {
            // If it panics, the next one may be begun.
            let mut ended = Ended { desk: &desk, since_ms: now_ms, state: None };
            ended.state = Some(desk.0.make(now_ms, force));
        });
        match started {
            Ok(_) => Ok(running),
            Err(error) => {
                *self.locked() = BackupState::None;
                Err(BackupFailure::Thread(error))
            }
        }
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, BackupState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says what came of it, however it ended.
struct Ended<'a> {
    desk: &'a Desk,
    since_ms: u64,
    state: Option<BackupState>,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let panicked = || BackupState::Failed {
            since_ms: self.since_ms,
            why: "the hub failed; its log says more".to_owned(),
        };
        *self.desk.locked() = self.state.take().unwrap_or_else(panicked);
    }
}

impl Inner {
    fn make(&self, now_ms: u64, force: bool) -> BackupState {
        let environment = |name: &str| std::env::var(name).ok();
        match make_of(&self.store, &self.config, &self.hub, &environment, now_ms, force) {
            Ok(made) => {
                tracing::info!(
                    number = made.number,
                    place = made.place,
                    rows = made.rows,
                    pieces_new = made.pieces_new,
                    bytes_written = made.bytes_written,
                    "backed up"
                );
                BackupState::Made(made)
            }
            Err(error) => {
                let why = format!("failed to {}", causes(&error));
                tracing::error!(why, "no backup was made; the earlier ones are as they were");
                BackupState::Failed { since_ms: now_ms, why }
            }
        }
    }
}

/// Makes a backup of a hub that does not run.
///
/// # Errors
/// As for any backup.
pub fn make_offline(
    store: &Store,
    config: &Config,
    environment: Environment<'_>,
    now_ms: u64,
    force: bool,
) -> Result<BackupMade, BackupFailure> {
    make_of(store, config, &HubKey::derive(&store.backup_seed())?, environment, now_ms, force)
}

fn make_of(
    store: &Store,
    config: &Config,
    hub: &HubKey,
    environment: Environment<'_>,
    now_ms: u64,
    force: bool,
) -> Result<BackupMade, BackupFailure> {
    let settings = config.backup.as_ref().ok_or(BackupFailure::NotConfigured)?;
    let place = open_place(&settings.place, settings.credentials_file.as_deref(), environment)?;
    let recipients = settings.recipients.iter().map(|file| recipient(file)).collect::<Result<Vec<_>, _>>()?;
    let path = config.layout().backup_memory();
    let source = HubSource::take(store, config)?;
    let order = Order {
        place: &*place,
        recipients: &recipients,
        hub,
        node: config.node.to_string(),
        trust_domain: config.trust_domain.to_string(),
        program: concat!("muster ", env!("CARGO_PKG_VERSION")).to_owned(),
        now_ms,
        memory: remembered(&path)?,
        force,
    };
    let made = make(&order, &source)?;
    remember(&path, &made.memory)?;
    let Made { memory, rows, bytes, pieces, pieces_new, bytes_written } = made;
    Ok(BackupMade {
        place: place.shown(),
        number: memory.number,
        made_at_ms: memory.made_at_ms,
        signer: hub.signer().to_string(),
        rows,
        bytes,
        pieces,
        pieces_new,
        bytes_written,
    })
}

/// The newest backup that this hub knows of.
fn remembered(path: &Path) -> Result<Option<Memory>, BackupFailure> {
    let text = match private_file::read_public(path, BACKUP_KEY_FILE_BYTES_MAX) {
        Ok(text) => text,
        Err(PrivateFileError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let why = "is not what the hub wrote; remove it to take the backups at the place as they are".to_owned();
    serde_json::from_slice(&text).map_err(|_| BackupFailure::File { path: path.to_owned(), why })
}

/// Writes down the newest backup, so that an older one in its place is noticed.
pub(super) fn remember(path: &Path, memory: &Memory) -> Result<(), BackupFailure> {
    let io = |source| BackupFailure::Io { what: "write", path: path.to_owned(), source };
    let text = serde_json::to_vec_pretty(memory).map_err(|error| io(error.into()))?;
    private_file::replace(path, &text, true).map_err(io)
}
