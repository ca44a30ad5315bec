//! What the hub knows of a device when it answers it.

use muster_schemas::firmware::{Digest, ExecutionId, Stage};

use crate::{client::Client, limits::CHUNKS_MAX, polling::Sleep};

/// A device, as it is answered.
#[derive(Debug, Clone)]
pub struct Target<'a> {
    /// Where its resources are, without a `/` at the end: `https://hub:8443/acme/controller/v1/pump-7`.
    pub base: &'a str,
    /// What it runs.
    pub client: Client,
    /// When it is to come back.
    pub sleep: Sleep,
    /// Whether its attributes are wanted: of a new device, and after an update. To be false once it has sent them.
    pub attributes_wanted: bool,
    /// Whether it installs without asking anybody.
    pub auto_confirm: bool,
    /// What it is to do: the action with the most weight that is not over.
    pub action: Option<&'a Action>,
    /// What it installed last.
    pub installed: Option<&'a Action>,
    /// Others that are over and about which it may still report.
    pub over: &'a [ExecutionId],
}

/// How far an action is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Somebody at the device has to agree first.
    Unconfirmed,
    /// It is to be done.
    Open,
    /// It is to be stopped.
    Cancelling,
}

/// How much a device is urged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// Now.
    Forced,
    /// When it fits.
    Attempt,
    /// To download, and no more.
    DownloadOnly,
}

/// An action: one execution of a campaign on one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// Which. It fits a signed number of 32 bits.
    pub execution: ExecutionId,
    /// How far it is for the hub.
    pub phase: Phase,
    /// How far it is for the device, as far as it said.
    pub stage: Stage,
    /// How much it is urged.
    pub force: Force,
    /// Whether the window in which it may install is open; none: it may always.
    pub window_open: Option<bool>,
    /// Grows whenever the above changes, so that a device that compares addresses sees it.
    pub revision: u32,
    /// Whether every byte of it was sent to the device once: given to its connection, whose buffers may still hold
    /// the last.
    pub served: bool,
    /// What to install.
    pub chunks: Vec<Chunk>,
    /// What happened, the newest first.
    pub history: Vec<String>,
}

/// One module of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Its number in addresses.
    pub module: u32,
    /// What kind of software it is: `os`, `bApp`.
    pub part: String,
    /// What it is called.
    pub name: String,
    /// Which version.
    pub version: String,
    /// What clients may read besides: the SUIT envelope as Base64 under [`MANIFEST_KEY`].
    pub metadata: Vec<(String, String)>,
    /// Its files.
    pub artifacts: Vec<File>,
}

/// Under which key of a chunk's metadata the SUIT envelope stands. It is no artifact of its own, since RAUC's client
/// takes one chunk with one artifact only.
pub const MANIFEST_KEY: &str = "suit-envelope";

/// A file of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// What it is called.
    pub name: String,
    /// How many bytes it has.
    pub size: u64,
    /// SHA-256.
    pub sha256: Digest,
    /// SHA-1, in hexadecimal digits. swupdate installs nothing without.
    pub sha1: Option<String>,
    /// MD5, in hexadecimal digits.
    pub md5: Option<String>,
    /// Where it is, if not at the hub.
    pub url: Option<String>,
}

/// Why a client cannot do an action. It is not shown to it: it would fail, or report a success that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Nothing to install.
    #[error("it has no artifact")]
    Nothing,
    /// More than the bound.
    #[error("it has more than {CHUNKS_MAX} modules or artifacts")]
    TooMany,
    /// A file of which SHA-1 is not known: one that lies elsewhere and was registered without.
    #[error("SHA-1 of an artifact is not known, and clients of DDI check it; register it with its SHA-1")]
    NoSha1,
    /// swupdate installs files called `*.swu`.
    #[error("swupdate installs artifacts named *.swu only, and there is none")]
    NoSwu,
    /// rauc-hawkbit-updater takes one file.
    #[error("rauc-hawkbit-updater takes exactly one module with one artifact")]
    NotOne,
}

impl Action {
    /// Whether a client can do it.
    pub fn fits(&self, client: Client) -> Result<(), Unfit> {
        let mut files = self.chunks.iter().flat_map(|chunk| &chunk.artifacts);
        if self.chunks.len() > CHUNKS_MAX
            || self.chunks.iter().any(|chunk| chunk.artifacts.len() > CHUNKS_MAX)
        {
            return Err(Unfit::TooMany);
        }
        if files.clone().next().is_none() {
            return Err(Unfit::Nothing);
        }
        if files.clone().any(|file| file.sha1.is_none()) {
            return Err(Unfit::NoSha1);
        }
        match client {
            Client::Swupdate if !files.any(|file| file.name.ends_with(".swu")) => Err(Unfit::NoSwu),
            Client::Rauc if self.chunks.len() != 1 || files.count() != 1 => Err(Unfit::NotOne),
            _ => Ok(()),
        }
    }

    /// Whether the device is to see it as something to install. Outside of its window, and when it is only to be
    /// downloaded, a client that takes `skip` for success does not see it, unless it has begun: then it would lose
    /// the way to report.
    pub(crate) fn is_shown(&self, client: Client) -> bool {
        let install = self.force != Force::DownloadOnly
            && (self.window_open != Some(false) || self.stage > Stage::Offered);
        let to_do = self.phase == Phase::Open || self.is_too_late_to_stop();
        to_do && self.fits(client).is_ok() && (install || client.waits_on_skip())
    }

    /// Whether the device may still be told to stop, and believed that it did. Once the installer is done, the next
    /// boot starts the new image whatever was agreed; swupdate acknowledges a cancellation even then.
    pub(crate) fn is_stopping(&self) -> bool {
        self.phase == Phase::Cancelling && self.stage < Stage::Rebooting
    }

    fn is_too_late_to_stop(&self) -> bool {
        self.phase == Phase::Cancelling && !self.is_stopping()
    }
}

impl Target<'_> {
    /// The action that is not over, if that is the one.
    pub(crate) fn open(&self, id: ExecutionId) -> Option<&Action> {
        self.action.filter(|action| action.execution == id)
    }

    /// Whether that action is over.
    pub(crate) fn is_over(&self, id: ExecutionId) -> bool {
        self.installed.is_some_and(|action| action.execution == id) || self.over.contains(&id)
    }
}
