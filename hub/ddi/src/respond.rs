//! From what the hub knows to what a device reads.

use muster_schemas::firmware::{ExecutionId, Stage};

use crate::{
    document::{
        Artifact, AutoConfirm, Base, Cancel, Config, Confirmation, ConfirmationBase, Deployment, Document,
        Handling, Hashes, History, Instructions, Link, Links, Metadata, Module, Polling, Stop,
    },
    limits::HISTORY_MAX,
    problem::Problem,
    route::Resource,
    state::{Action, File, Force, Phase, Target},
};

const ACTION: Problem = Problem::NotFound("action");
const FILE: Problem = Problem::NotFound("artifact");

/// What is answered, and what it means that the device asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// What is answered, with status 200: clients take no other for success.
    pub document: Document,
    /// That the device has seen an action: it is offered from the first time on. It says so each time, and asks
    /// often, so the second time means nothing.
    pub seen: Option<ExecutionId>,
}

/// Answers a GET of a document. What devices say goes through [`crate::feedback`] and its like, files through
/// [`file`].
pub fn respond(target: &Target<'_>, resource: &Resource) -> Result<Reply, Problem> {
    let reply = |document| Ok(Reply { document, seen: None });
    match *resource {
        Resource::Base => reply(Document::Base(base(target))),
        Resource::Deployment { id, history } => {
            let action = target.open(id).filter(|action| action.is_shown(target.client)).ok_or(ACTION)?;
            let document = Document::Deployment(deployment(target, action, history));
            Ok(Reply { document, seen: Some(id) })
        }
        Resource::Installed(id) => {
            let action = target.installed.filter(|action| action.execution == id).ok_or(ACTION)?;
            reply(Document::Deployment(deployment(target, action, 0)))
        }
        Resource::Cancel(id) => {
            target.open(id).filter(|action| action.is_stopping()).ok_or(ACTION)?;
            reply(Document::Cancel(Cancel { id: id.to_string(), cancel: Stop { stop_id: id.to_string() } }))
        }
        Resource::ConfirmationBase => reply(Document::ConfirmationBase(confirmation_base(target))),
        Resource::Confirmation(id) => {
            let action = target.open(id).filter(|action| action.phase == Phase::Unconfirmed).ok_or(ACTION)?;
            let confirmation = instructions(target, action);
            reply(Document::Confirmation(Confirmation { id: id.to_string(), confirmation }))
        }
        Resource::Artifacts { module } => {
            let chunk = modules(target).find(|chunk| chunk.module == module);
            let chunk = chunk.ok_or(Problem::NotFound("module"))?;
            let files = chunk.artifacts.iter().map(|file| artifact(target, module, file));
            reply(Document::Artifacts(files.collect()))
        }
        _ => Err(Problem::Method),
    }
}

/// The file that a device asks for: only one of an action of its own.
pub fn file<'a>(target: &Target<'a>, module: u32, name: &str) -> Result<&'a File, Problem> {
    let mut files = modules(target).filter(|chunk| chunk.module == module).flat_map(|chunk| &chunk.artifacts);
    files.find(|file| file.name == name && file.url.is_none()).ok_or(FILE)
}

/// The line that `.MD5SUM` is, as `md5sum` writes it.
pub fn md5_line(file: &File) -> Result<String, Problem> {
    let md5 = file.md5.as_ref().ok_or(FILE)?;
    Ok(format!("{md5}  {}", file.name))
}

fn modules<'a>(target: &Target<'a>) -> impl Iterator<Item = &'a crate::state::Chunk> + use<'a> {
    let open = target.action.filter(|action| action.phase != Phase::Unconfirmed);
    open.into_iter().chain(target.installed).flat_map(|action| &action.chunks)
}

fn base(target: &Target<'_>) -> Base {
    let mut links = Links::new();
    if let Some(action) = target.action {
        let id = action.execution;
        match action.phase {
            Phase::Unconfirmed => {
                links.insert(
                    "confirmationBase",
                    link(target, &format!("confirmationBase/{id}?c={}", change(action))),
                );
            }
            Phase::Cancelling if action.is_stopping() => {
                links.insert("cancelAction", link(target, &format!("cancelAction/{id}")));
            }
            _ if action.is_shown(target.client) => {
                links.insert(
                    "deploymentBase",
                    link(target, &format!("deploymentBase/{id}?c={}", change(action))),
                );
            }
            _ => {}
        }
    }
    if let Some(action) = target.installed {
        links.insert("installedBase", link(target, &format!("installedBase/{}", action.execution)));
    }
    if target.attributes_wanted {
        links.insert("configData", link(target, "configData"));
    }
    Base { config: Config { polling: Polling { sleep: target.sleep } }, links }
}

fn confirmation_base(target: &Target<'_>) -> ConfirmationBase {
    let mut links = Links::new();
    let (name, path) = match target.auto_confirm {
        true => ("deactivateAutoConfirm", "confirmationBase/deactivateAutoConfirm"),
        false => ("activateAutoConfirm", "confirmationBase/activateAutoConfirm"),
    };
    links.insert(name, link(target, path));
    if let Some(action) = target.action.filter(|action| action.phase == Phase::Unconfirmed) {
        let path = format!("confirmationBase/{}?c={}", action.execution, change(action));
        links.insert("confirmationBase", link(target, &path));
    }
    ConfirmationBase { auto_confirm: AutoConfirm { active: target.auto_confirm }, links }
}

fn deployment(target: &Target<'_>, action: &Action, history: usize) -> Deployment {
    let messages = || action.history.iter().take(history.min(HISTORY_MAX)).cloned().collect();
    let history = (history > 0).then(|| History { status: status(action), messages: messages() });
    Deployment { id: action.execution.to_string(), deployment: instructions(target, action), history }
}

fn instructions(target: &Target<'_>, action: &Action) -> Instructions {
    let urged = match action.force {
        Force::Forced | Force::DownloadOnly => Handling::Forced,
        Force::Attempt => Handling::Attempt,
    };
    let hold = action.force == Force::DownloadOnly || action.window_open == Some(false);
    // Never to a client that takes it for an order to do nothing and be done.
    let update = if hold && target.client.waits_on_skip() { Handling::Skip } else { urged };
    let window = action.window_open.map(|open| if open { "available" } else { "unavailable" });
    let chunks = action.chunks.iter().map(|chunk| Module {
        part: chunk.part.clone(),
        version: chunk.version.clone(),
        name: chunk.name.clone(),
        metadata: chunk
            .metadata
            .iter()
            .map(|(key, value)| Metadata { key: key.clone(), value: value.clone() })
            .collect(),
        artifacts: chunk.artifacts.iter().map(|file| artifact(target, chunk.module, file)).collect(),
    });
    Instructions { download: urged, update, window, chunks: chunks.collect() }
}

/// A file is at the hub, or where its owner put it. Over plain HTTP the links have other names, and clients look for
/// those when there are no others.
fn artifact(target: &Target<'_>, module: u32, file: &File) -> Artifact {
    let mut links = Links::new();
    let here = format!("{}/softwaremodules/{module}/artifacts/{}", target.base, file.name);
    let plain = |href: &str| href.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://"));
    let href = file.url.clone().unwrap_or_else(|| here.clone());
    links.insert(if plain(&href) { "download-http" } else { "download" }, Link { href });
    if file.md5.is_some() && file.url.is_none() {
        let name = if plain(&here) { "md5sum-http" } else { "md5sum" };
        links.insert(name, Link { href: format!("{here}.MD5SUM") });
    }
    let hashes = Hashes { sha1: file.sha1.clone(), md5: file.md5.clone(), sha256: file.sha256.to_string() };
    Artifact { filename: file.name.clone(), hashes, size: file.size, links }
}

fn link(target: &Target<'_>, path: &str) -> Link {
    Link { href: format!("{}/{path}", target.base) }
}

/// A number that is another one when the action has changed (FNV-1a of what a device is told of it).
fn change(action: &Action) -> i32 {
    let window = match action.window_open {
        None => 0,
        Some(false) => 1,
        Some(true) => 2,
    };
    let told = [action.force as u8, window, action.phase as u8];
    let bytes = action.revision.to_be_bytes().into_iter().chain(told);
    bytes.fold(0x811c_9dc5_u32, |sum, byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193)).cast_signed()
}

/// In hawkBit's words (its `ActionStatus`).
fn status(action: &Action) -> &'static str {
    match (action.phase, action.stage) {
        (Phase::Unconfirmed, _) => "WAIT_FOR_CONFIRMATION",
        (Phase::Cancelling, _) if action.is_stopping() => "CANCELING",
        (_, Stage::Offered) => "RETRIEVED",
        (_, Stage::Downloading) => "DOWNLOAD",
        (_, Stage::Downloaded) => "DOWNLOADED",
        (_, Stage::Installing | Stage::Rebooting | Stage::Verifying) => "RUNNING",
    }
}
