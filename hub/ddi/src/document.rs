//! The documents, as hawkBit writes them.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::polling::Sleep;

/// Addresses by what they are for.
pub type Links = BTreeMap<&'static str, Link>;

/// An address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Link {
    /// The whole of it.
    pub href: String,
}

/// What there is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Base {
    /// How the device is to behave. swupdate refuses a document without.
    pub config: Config,
    /// At most one of `confirmationBase`, `cancelAction` and `deploymentBase`; `installedBase` and `configData`
    /// besides.
    #[serde(rename = "_links")]
    pub links: Links,
}

/// How the device is to behave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Config {
    /// How often it comes.
    pub polling: Polling,
}

/// How often it comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Polling {
    /// How long it sleeps between.
    pub sleep: Sleep,
}

/// `deploymentBase/{id}` and `installedBase/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Deployment {
    /// Which action.
    pub id: String,
    /// What to do.
    pub deployment: Instructions,
    /// What happened, if it was asked for.
    #[serde(rename = "actionHistory", skip_serializing_if = "Option::is_none")]
    pub history: Option<History>,
}

/// `confirmationBase/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Confirmation {
    /// Which action.
    pub id: String,
    /// What would be done.
    pub confirmation: Instructions,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Instructions {
    /// Whether to download.
    pub download: Handling,
    /// Whether to install.
    pub update: Handling,
    /// Whether its window is open, if it has one.
    #[serde(rename = "maintenanceWindow", skip_serializing_if = "Option::is_none")]
    pub window: Option<&'static str>,
    /// What.
    pub chunks: Vec<Module>,
}

/// How much a device is urged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Handling {
    /// Not now.
    Skip,
    /// When it fits.
    Attempt,
    /// Now.
    Forced,
}

/// A module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Module {
    /// What kind of software it is.
    pub part: String,
    /// Which version.
    pub version: String,
    /// What it is called.
    pub name: String,
    /// What clients may read besides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub metadata: Vec<Metadata>,
    /// Its files.
    pub artifacts: Vec<Artifact>,
}

/// A word about a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Metadata {
    /// About what.
    pub key: String,
    /// The word.
    pub value: String,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Artifact {
    /// What it is called.
    pub filename: String,
    /// Its digests.
    pub hashes: Hashes,
    /// How many bytes it has.
    pub size: u64,
    /// Where it is.
    #[serde(rename = "_links")]
    pub links: Links,
}

/// Digests in hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hashes {
    /// What swupdate checks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha1: Option<String>,
    /// What nobody should rest on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub md5: Option<String>,
    /// What everybody should.
    pub sha256: String,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct History {
    /// In hawkBit's words.
    pub status: &'static str,
    /// The newest first.
    pub messages: Vec<String>,
}

/// `cancelAction/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cancel {
    /// Which action.
    pub id: String,
    /// What to stop.
    #[serde(rename = "cancelAction")]
    pub cancel: Stop,
}

/// What to stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stop {
    /// The same action.
    #[serde(rename = "stopId")]
    pub stop_id: String,
}

/// `confirmationBase`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfirmationBase {
    /// Whether the device installs without asking.
    #[serde(rename = "autoConfirm")]
    pub auto_confirm: AutoConfirm,
    /// The action that waits, and how to change the above.
    #[serde(rename = "_links")]
    pub links: Links,
}

/// Whether the device installs without asking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AutoConfirm {
    /// Whether it does.
    pub active: bool,
}

/// Any of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Document {
    /// What there is to do.
    Base(Base),
    /// What to install.
    Deployment(Deployment),
    /// What to stop.
    Cancel(Cancel),
    /// What waits for a person.
    ConfirmationBase(ConfirmationBase),
    /// What would be installed.
    Confirmation(Confirmation),
    /// The files of a module.
    Artifacts(Vec<Artifact>),
}
