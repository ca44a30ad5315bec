//! `muster open`: reads what devices sealed to an app's key, on the app's machine. It calls no hub.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::PathBuf,
};

use bytes::Bytes;
use clap::Args;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};
use muster_schemas::{DeviceId, Message, Qos, TenantId, TopicName};
use muster_seal::{Binding, OpenFailure, Opener, is_sealed, limits::KEY_FILE_BYTES_MAX, open};
use serde::Deserialize;

use super::{Common, Complaint, Exit, OfTenant, Output, World, mqtt::shown, table::printable};
use crate::{
    limits::{OPEN_LINE_BYTES_MAX, OPEN_PAYLOAD_BYTES_MAX},
    private_file,
};

#[derive(Debug, Args)]
pub(super) struct Open {
    /// The app's private key, as `muster seal keygen` wrote it. Repeat it after the key was changed.
    #[arg(long = "key", required = true, value_name = "FILE")]
    keys: Vec<PathBuf>,
    #[command(flatten)]
    of: OfTenant,
    /// The topic that a single payload was published to; lines name their own.
    #[arg(long)]
    topic: Option<TopicName>,
    /// One payload as it came, or lines of messages [default: standard input].
    ///
    /// Lines are what `muster sub -o json` prints, `mosquitto_sub -F '%t %x'`, or readings of the hub's store as JSON
    /// with device, stream and value.
    file: Option<PathBuf>,
}

/// A line for a program: a message, or a reading of the store.
#[derive(Deserialize)]
struct Line {
    topic: Option<String>,
    payload: Option<String>,
    payload_hex: Option<String>,
    device: Option<DeviceId>,
    stream: Option<String>,
    value: Option<String>,
}

/// Why a line was not opened.
#[derive(Debug, thiserror::Error)]
enum Unopened {
    #[error("it is neither a message in JSON nor a topic and its payload in hexadecimal digits")]
    Line,
    #[error("its topic {0}")]
    Topic(#[from] muster_schemas::InvalidTopic),
    #[error("its topic {0} is of no device, so that nothing says who sealed it")]
    NoDevice(TopicName),
    #[error("it is not sealed: whoever published it, the hub could read and change it")]
    NotSealed,
    #[error("{0}")]
    Closed(#[from] OpenFailure),
}

/// What opens.
struct Keyring {
    openers: Vec<Opener>,
    tenant: TenantId,
}

pub(super) fn open_sealed(command: &Open, common: &Common, world: &mut World<'_>) -> Result<Exit, Complaint> {
    let keyring = Keyring { openers: command.openers()?, tenant: command.tenant(common)? };
    let input: Box<dyn Read> = match &command.file {
        Some(file) => Box::new(File::open(file).map_err(|error| {
            let what = format!("open what {} holds", file.display());
            Complaint::new(Exit::Failure, what, error.to_string(), "name another file")
        })?),
        None => Box::new(std::mem::replace(&mut world.input, Box::new(std::io::empty()))),
    };
    let mut input = BufReader::new(input);
    if is_sealed(input.fill_buf().map_err(unread)?) {
        return one(command, &keyring, &mut input, common.output, world);
    }
    lines(&keyring, &mut input, common.output, world)
}

impl Open {
    fn openers(&self) -> Result<Vec<Opener>, Complaint> {
        let read = |file: &PathBuf| {
            let failed = |why: String| {
                let next = "give the private key that `muster seal keygen` wrote";
                Complaint::new(Exit::Failure, format!("use the key {}", file.display()), why, next)
            };
            let pem =
                private_file::read(file, KEY_FILE_BYTES_MAX).map_err(|error| failed(error.to_string()))?;
            Opener::from_pem(&pem).map_err(|error| failed(format!("it {error}")))
        };
        self.keys.iter().map(read).collect()
    }

    fn tenant(&self, common: &Common) -> Result<TenantId, Complaint> {
        if let Some(tenant) = &self.of.tenant {
            return Ok(tenant.clone());
        }
        let own = common.identity().ok().map(|identity| identity.principal).filter(|own| !own.is_operator());
        own.map(|own| own.tenant).ok_or_else(|| {
            let why = "what a device seals is bound to its tenant, and nothing says which that is";
            Complaint::new(
                Exit::Usage,
                "open it",
                why,
                "name it: --tenant <tenant>, or use an app's identity",
            )
        })
    }
}

impl Keyring {
    /// The message with its payload opened.
    fn open(&self, topic: TopicName, payload: &[u8]) -> Result<Message, Unopened> {
        if !is_sealed(payload) {
            return Err(Unopened::NotSealed);
        }
        let mut levels = topic.levels();
        let device = levels.next().filter(|first| *first == "devices").and_then(|_| levels.next());
        let Some(device) = device.and_then(|device| device.parse::<DeviceId>().ok()) else {
            return Err(Unopened::NoDevice(topic));
        };
        let binding = Binding { tenant: &self.tenant, device: &device, topic: topic.as_str() }.to_bytes();
        let mut refused = None;
        for opener in &self.openers {
            match open(payload, &binding, opener) {
                Ok(opened) => {
                    let payload = Bytes::copy_from_slice(&opened);
                    return Ok(Message {
                        topic,
                        qos: Qos::AtMostOnce,
                        retain: false,
                        payload,
                        properties: None,
                    });
                }
                // What a key that was meant says is worth more than that another was not.
                Err(failure @ OpenFailure::NotForThisKey { .. }) => _ = refused.get_or_insert(failure),
                Err(failure) => refused = Some(failure),
            }
        }
        Err(refused.map_or(Unopened::NotSealed, Unopened::Closed))
    }

    fn open_line(&self, line: &str) -> Result<Message, Unopened> {
        let (topic, payload) = taken_apart(line).ok_or(Unopened::Line)?;
        self.open(topic.parse()?, &payload)
    }
}

/// The topic and the payload of a line.
fn taken_apart(line: &str) -> Option<(String, Vec<u8>)> {
    if !line.starts_with('{') {
        // A topic may hold spaces; digits do not.
        let (topic, hex) = line.rsplit_once(' ')?;
        return Some((topic.to_owned(), HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok()?));
    }
    let Line { topic, payload, payload_hex, device, stream, value } = serde_json::from_str(line).ok()?;
    let bytes = match (payload_hex, payload, value) {
        (Some(hex), ..) => HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok()?,
        (_, Some(text), _) => text.into_bytes(),
        (.., Some(value)) => BASE64URL_NOPAD.decode(value.as_bytes()).ok()?,
        _ => return None,
    };
    let topic = match (topic, device, stream) {
        (Some(topic), ..) => topic,
        (_, Some(device), Some(stream)) => format!("devices/{device}/telemetry/{stream}"),
        _ => return None,
    };
    Some((topic, bytes))
}

/// One payload, as it came.
fn one(
    command: &Open,
    keyring: &Keyring,
    input: &mut dyn Read,
    output: Output,
    world: &mut World<'_>,
) -> Result<Exit, Complaint> {
    let Some(topic) = command.topic.clone() else {
        let why = "what a device seals is bound to its topic, and a payload alone does not name it";
        return Err(Complaint::new(
            Exit::Usage,
            "open it",
            why,
            "name it: --topic devices/<id>/telemetry/<stream>",
        ));
    };
    let mut payload = Vec::new();
    input.take(OPEN_PAYLOAD_BYTES_MAX as u64).read_to_end(&mut payload).map_err(unread)?;
    let message = keyring.open(topic, &payload).map_err(|why| {
        Complaint::new(Exit::Failure, "open it", why.to_string(), "check --key, --tenant and --topic")
    })?;
    show(&message, output, world)?;
    Ok(Exit::Ok)
}

/// Messages, line by line: what does not open is told, and the rest goes on.
fn lines(
    keyring: &Keyring,
    input: &mut dyn BufRead,
    output: Output,
    world: &mut World<'_>,
) -> Result<Exit, Complaint> {
    let mut exit = Exit::Ok;
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        if (&mut *input).take(OPEN_LINE_BYTES_MAX as u64).read_until(b'\n', &mut line).map_err(unread)? == 0 {
            break;
        }
        if line.len() >= OPEN_LINE_BYTES_MAX {
            let why = format!("line {number} has {OPEN_LINE_BYTES_MAX} bytes or more, which no message has");
            return Err(Complaint::new(Exit::Failure, "read on", why, "give messages, a line each"));
        }
        let text = std::str::from_utf8(&line).map(str::trim);
        if text == Ok("") {
            continue;
        }
        match text.map_err(|_| Unopened::Line).and_then(|text| keyring.open_line(text)) {
            Ok(message) => show(&message, output, world)?,
            Err(why) => {
                exit = Exit::Failure;
                writeln!(world.err, "line {number} stays closed: {}", printable(&why.to_string()))?;
            }
        }
    }
    Ok(exit)
}

fn show(message: &Message, output: Output, world: &mut World<'_>) -> Result<(), Complaint> {
    match output {
        Output::Json => shown::json(world.out, message, false)?,
        Output::Table => shown::text(world.out, message, world.now_ms, false)?,
    }
    // Line by line, also into a pipe.
    Ok(world.out.flush()?)
}

fn unread(error: std::io::Error) -> Complaint {
    Complaint::new(Exit::Failure, "read what is to be opened", error.to_string(), "give it again")
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsString, fs};

    use data_encoding::HEXLOWER;
    use muster_seal::{Padding, seal};

    use super::*;

    const TOPIC: &str = "devices/42/telemetry/climate";
    const PACK: &[u8] = br#"[{"n":"t","u":"Cel","t":1769904000,"v":21.5}]"#;

    fn muster(arguments: &[&str], input: Vec<u8>) -> (Exit, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut world = World {
            out: &mut out,
            err: &mut err,
            input: Box::new(std::io::Cursor::new(input)),
            environment: Vec::new(),
            now_ms: 1_769_904_000_000,
        };
        let arguments = std::iter::once("muster").chain(arguments.iter().copied()).map(OsString::from);
        let exit = crate::cli::run(arguments, &mut world);
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (exit, text(out), text(err))
    }

    /// A folder with a key, its private file, and a message that a device sealed to it.
    fn stage() -> (tempfile::TempDir, String, Vec<u8>) {
        let folder = tempfile::tempdir().expect("a folder");
        let key = folder.path().join("app.pem").to_string_lossy().into_owned();
        let (exit, out, err) = muster(&["seal", "keygen", "--out", &key], Vec::new());
        assert_eq!(exit, Exit::Ok, "{err}");
        let public = fs::read(folder.path().join("app.pub.pem")).expect("the public key");
        let app = muster_seal::Recipient::from_pem(&public).expect("a key");
        assert!(out.starts_with(&format!("key      {} (P-256)\n", app.id())), "{out}");
        let (tenant, device) = ("acme".parse().expect("id"), "42".parse().expect("id"));
        let binding = Binding { tenant: &tenant, device: &device, topic: TOPIC }.to_bytes();
        let sealed = seal(PACK, &binding, &[app], Padding::None).expect("sealed");
        (folder, key, sealed)
    }

    #[test]
    fn a_payload_opens_where_it_was_put_and_says_why_it_does_not_elsewhere() {
        let (_folder, key, sealed) = stage();
        let open = |tenant: &str, topic: &str| {
            muster(&["open", "--key", &key, "--tenant", tenant, "--topic", topic], sealed.clone())
        };
        let (exit, out, err) = open("acme", TOPIC);
        assert_eq!((exit, err.as_str()), (Exit::Ok, ""));
        assert_eq!(out, format!("{TOPIC}\n  2026-02-01T00:00:00Z  t 21.5 Cel\n"));
        for (tenant, topic) in [("apex", TOPIC), ("acme", "devices/43/telemetry/climate")] {
            let (exit, out, err) = open(tenant, topic);
            assert_eq!((exit, out.as_str()), (Exit::Failure, ""));
            assert!(
                err.contains("it was altered, or it belongs to another tenant, device or topic"),
                "{err}"
            );
        }
        let (exit, _, err) = muster(&["open", "--key", &key, "--tenant", "acme"], sealed.clone());
        assert_eq!(exit, Exit::Usage);
        assert!(err.contains("--topic devices/<id>/telemetry/<stream>"), "{err}");
    }

    #[test]
    fn lines_of_sub_of_mosquitto_and_of_the_store_open_and_the_others_are_told() {
        let (_folder, key, sealed) = stage();
        let hex = HEXLOWER.encode(&sealed);
        let text = [
            format!(r#"{{"topic":"{TOPIC}","qos":1,"retain":false,"payload_hex":"{hex}"}}"#),
            format!("{TOPIC} {}", hex.to_uppercase()),
            format!(
                r#"{{"device":"42","stream":"climate","name":"sealed","value":"{}"}}"#,
                BASE64URL_NOPAD.encode(&sealed)
            ),
            format!(r#"{{"topic":"{TOPIC}","payload":"[]"}}"#),
            "what is this".to_owned(),
            String::new(),
            format!("alerts {hex}"),
            format!("{TOPIC} {}00", hex),
        ];
        let (exit, out, err) =
            muster(&["open", "--key", &key, "--tenant", "acme", "-o", "json"], text.join("\n").into_bytes());
        assert_eq!(exit, Exit::Failure);
        assert_eq!(out.lines().count(), 3, "{out}");
        assert!(out.lines().all(|line| line.contains(r#""payload":"[{\"n\":\"t\""#)), "{out}");
        let told: Vec<_> = err.lines().collect();
        for (told, (line, why)) in told.iter().zip([
            (4, "it is not sealed"),
            (5, "it is neither a message in JSON nor"),
            (7, "its topic alerts is of no device"),
            (8, "it is not a sealed message: "),
        ]) {
            assert!(told.starts_with(&format!("line {line} stays closed: {why}")), "{told}");
        }
        assert_eq!(told.len(), 4, "{err}");
    }

    #[test]
    fn another_key_is_named_and_an_older_one_still_opens() {
        let (folder, key, sealed) = stage();
        let other = folder.path().join("new.pem").to_string_lossy().into_owned();
        let (exit, ..) = muster(&["seal", "keygen", "--out", &other, "--curve", "x25519"], Vec::new());
        assert_eq!(exit, Exit::Ok);
        let line = || format!("{TOPIC} {}", HEXLOWER.encode(&sealed)).into_bytes();
        let (exit, _, err) = muster(&["open", "--key", &other, "--tenant", "acme"], line());
        assert_eq!(exit, Exit::Failure);
        let (_, shown, _) = muster(&["seal", "show", &key, "-o", "json"], Vec::new());
        let id = &shown[7..23];
        assert!(err.contains(&format!("it is sealed to other keys ({id})")), "{err} {shown}");
        let (exit, out, _) = muster(&["open", "--key", &other, "--key", &key, "--tenant", "acme"], line());
        assert_eq!(exit, Exit::Ok);
        assert!(out.contains("21.5 Cel"), "{out}");
        let (exit, _, err) = muster(&["seal", "keygen", "--out", &key], Vec::new());
        assert_eq!(exit, Exit::Exists, "{err}");
    }
}
