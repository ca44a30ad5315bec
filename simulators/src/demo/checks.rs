//! What the demo checks, each a sentence that holds. The scenarios tell the same stories one by one.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use super::{CANARY, Stage, Tenant};
use crate::{
    edge::{Acknowledged, Edge, EdgeOptions},
    limits::WAIT_MAX,
};

/// How often the store is asked for what the log has already.
const CATCH_UP_QUESTIONS_MAX: usize = 20;

/// What was seen, or why it is not so.
pub type Verdict = Result<String, String>;

/// One check.
pub struct Check {
    /// The sentence.
    pub name: &'static str,
    /// Looks whether it holds.
    pub run: fn(&mut Stage) -> Verdict,
}

/// Every check, in the order in which they are run: the violent one last but two.
pub const CHECKS: &[Check] = &[
    Check { name: "every device is enrolled, active and of a simulated chip", run: devices_are_enrolled },
    Check { name: "every device certificate chains to the device authority", run: certificates_chain },
    Check { name: "no private key stands in any device's state", run: no_key_on_disk },
    Check { name: "telemetry reaches its own tenant's app", run: telemetry_reaches_its_tenant },
    Check {
        name: "an app that subscribes to # sees nothing of another tenant",
        run: tenants_see_only_their_own,
    },
    Check {
        name: "the printed line works with MQTT 5 too, and mosquitto_pub sends a command",
        run: both_versions_work,
    },
    Check { name: "stored telemetry answers last and range", run: store_answers },
    Check { name: "an app cannot ask for another tenant's telemetry", run: store_is_per_tenant },
    Check { name: "the operator cannot read telemetry", run: operator_cannot_read },
    Check { name: "a copied state directory cannot connect without its TPM", run: copied_state_is_useless },
    Check {
        name: "an unknown chip without a claim is refused with its reason",
        run: unknown_chip_is_refused,
    },
    Check { name: "a claim works once", run: claim_works_once },
    Check {
        name: "after kill -9 in mid-publish every acknowledged reading is in the store",
        run: nothing_acked_is_lost,
    },
    Check { name: "devices and apps come back after the restart", run: all_come_back },
    Check { name: "a published canary is nowhere in the hub's folder", run: canary_is_sealed },
    Check { name: "nothing in the hub's folder is readable by others", run: nothing_is_world_readable },
    Check { name: "health answers and metrics count", run: health_and_metrics },
];

fn text<E: std::fmt::Display>(error: E) -> String {
    error.to_string()
}

fn devices_are_enrolled(stage: &mut Stage) -> Verdict {
    let mut count = 0;
    for tenant in &stage.tenants {
        let listed = stage.hub.operate(&["device", "list", "--tenant", &tenant.name]).map_err(text)?;
        for device in &tenant.devices {
            let rows = listed.as_array().ok_or("the list is no array")?;
            let is_it = |row: &&Value| row.get("device").and_then(Value::as_str) == Some(&device.id);
            let row = rows.iter().find(is_it).ok_or_else(|| format!("{} is not listed", device.id))?;
            expect(row, "state", "active")?;
            expect(row, "tpm_class", "simulated")?;
            count += 1;
        }
    }
    Ok(format!("{count} devices"))
}

fn expect(row: &Value, field: &str, wanted: &str) -> Result<(), String> {
    match row.get(field).and_then(Value::as_str) {
        Some(found) if found == wanted => Ok(()),
        found => Err(format!("{field} is {found:?}, not {wanted:?}")),
    }
}

/// A foreign eye: openssl verifies each certificate against the device authority, and against the server authority,
/// where it must fail.
fn certificates_chain(stage: &mut Stage) -> Verdict {
    let authorities = stage.hub.folder().join("authorities");
    let (root, device_ca, server_ca) =
        (authorities.join("root.crt"), authorities.join("device.crt"), authorities.join("server.crt"));
    let mut count = 0;
    for device in stage.tenants.iter().flat_map(|tenant| &tenant.devices) {
        let leaf = device.edge.state().join("device.crt");
        if !openssl_verifies(&root, &device_ca, &leaf)? {
            return Err(format!("{} does not chain to the device authority", device.id));
        }
        if openssl_verifies(&root, &server_ca, &leaf)? {
            return Err(format!("{} chains to the server authority", device.id));
        }
        count += 1;
    }
    Ok(format!("openssl verified {count}"))
}

fn openssl_verifies(root: &Path, intermediate: &Path, leaf: &Path) -> Result<bool, String> {
    let mut openssl = Command::new("openssl");
    openssl.args(["verify", "-CAfile"]).arg(root).arg("-untrusted").arg(intermediate).arg(leaf);
    Ok(openssl.output().map_err(text)?.status.success())
}

fn no_key_on_disk(stage: &mut Stage) -> Verdict {
    let mut files = 0;
    for device in stage.tenants.iter().flat_map(|tenant| &tenant.devices) {
        for (path, bytes) in contents(&device.edge.state())? {
            files += 1;
            if find(&bytes, b"PRIVATE KEY").is_some() {
                return Err(format!("{} holds a private key", path.display()));
            }
        }
    }
    if files == 0 { Err("the devices keep no state at all".to_owned()) } else { Ok(format!("{files} files")) }
}

fn telemetry_reaches_its_tenant(stage: &mut Stage) -> Verdict {
    let mut seen = 0;
    for tenant in &mut stage.tenants {
        for device in &tenant.devices {
            let prefix = format!("devices/{}/telemetry/", device.id);
            tenant
                .telemetry
                .wait_message(WAIT_MAX, |message| message.topic.starts_with(&prefix))
                .map_err(text)?;
            seen += 1;
        }
    }
    Ok(format!("{seen} devices seen by their tenants' mosquitto_sub"))
}

fn tenants_see_only_their_own(stage: &mut Stage) -> Verdict {
    let ids: Vec<(String, Vec<String>)> = stage
        .tenants
        .iter()
        .map(|tenant| (tenant.name.clone(), tenant.devices.iter().map(|device| device.id.clone()).collect()))
        .collect();
    let mut total = 0;
    for tenant in &mut stage.tenants {
        let own = tenant.devices.first().map(|device| device.id.clone()).unwrap_or_default();
        // Its own messages do come, so silence about the others' means something.
        tenant.everything.wait_message(WAIT_MAX, |message| message.topic.contains(&own)).map_err(text)?;
        let foreign = ids.iter().filter(|(name, _)| *name != tenant.name).flat_map(|(_, ids)| ids);
        let messages = tenant.everything.messages();
        for id in foreign {
            if let Some(leak) = messages.iter().find(|m| m.topic.contains(id) || m.payload.contains(id)) {
                return Err(format!("{} saw {} of another tenant", tenant.name, leak.topic));
            }
        }
        total += messages.len();
    }
    Ok(format!("{total} messages, each its tenant's own"))
}

fn both_versions_work(stage: &mut Stage) -> Verdict {
    let tenant = first(stage)?;
    let device = tenant.devices.first().map(|device| device.id.clone()).unwrap_or_default();
    let topic = format!("devices/{device}/commands/blink");
    let mut versions = Vec::new();
    for (version, flag) in [("3.1.1", "-V 311"), ("5", "-V 5")] {
        let changed = format!("-t '{topic}' {flag}");
        let mut listener = tenant.app.subscribe_with("-t 'devices/+/telemetry/#'", &changed).map_err(text)?;
        listener.wait_subscribed(WAIT_MAX).map_err(text)?;
        let line = tenant.app.publish_line(&topic, &format!("by {version}"), &format!("-q 1 {flag}"));
        let output = Command::new("sh").arg("-c").arg(&line).output().map_err(text)?;
        if !output.status.success() {
            return Err(format!("mosquitto_pub {flag}: {}", String::from_utf8_lossy(&output.stderr)));
        }
        listener
            .wait_message(WAIT_MAX, |message| message.payload == format!("by {version}"))
            .map_err(text)?;
        versions.push(version);
    }
    Ok(format!("MQTT {}", versions.join(" and ")))
}

fn first(stage: &mut Stage) -> Result<&mut Tenant, String> {
    stage.tenants.first_mut().ok_or_else(|| "there is no tenant".to_owned())
}

/// The readings of one answer of the command line.
fn readings(answer: &Value) -> Vec<Value> {
    answer.get("readings").and_then(Value::as_array).cloned().unwrap_or_default()
}

fn store_answers(stage: &mut Stage) -> Verdict {
    let mut counts = (0, 0);
    for tenant in &stage.tenants {
        for device in &tenant.devices {
            let ask = ["telemetry", "last", "--tenant", &tenant.name, "--device", &device.id];
            let last = readings(&stage.hub.run(&tenant.app.folder, &ask).map_err(text)?);
            let labels =
                last.iter().any(|reading| reading.get("value").and_then(Value::as_str) == Some(CANARY));
            if !labels {
                return Err(format!("{} has no label among its {} last readings", device.id, last.len()));
            }
            let ask = [
                "telemetry",
                "range",
                "--tenant",
                &tenant.name,
                "--device",
                &device.id,
                "--stream",
                "system",
            ];
            let range = readings(&stage.hub.run(&tenant.app.folder, &ask).map_err(text)?);
            if range.is_empty() {
                return Err(format!("{} has no range", device.id));
            }
            counts = (counts.0 + last.len(), counts.1 + range.len());
        }
    }
    Ok(format!("{} last values, {} points", counts.0, counts.1))
}

/// How the command line ends when the hub refuses.
fn refusal(result: Result<Value, crate::hub::HubError>) -> Verdict {
    match result {
        Ok(answer) => Err(format!("it was answered: {answer}")),
        Err(crate::hub::HubError::Command { stderr, .. }) => {
            Ok(stderr.lines().next().unwrap_or("refused").trim().to_owned())
        }
        Err(other) => Err(other.to_string()),
    }
}

fn store_is_per_tenant(stage: &mut Stage) -> Verdict {
    let [ours, theirs] = stage.tenants.as_slice() else { return Err("there are not two tenants".to_owned()) };
    let device = theirs.devices.first().map(|device| device.id.clone()).unwrap_or_default();
    refusal(
        stage
            .hub
            .run(&ours.app.folder, &["telemetry", "last", "--tenant", &theirs.name, "--device", &device]),
    )
}

fn operator_cannot_read(stage: &mut Stage) -> Verdict {
    let tenant = stage.tenants.first().ok_or("there is no tenant")?;
    let device = tenant.devices.first().map(|device| device.id.clone()).unwrap_or_default();
    refusal(stage.hub.operate(&["telemetry", "last", "--tenant", &tenant.name, "--device", &device]))
}

/// Starts a device on a copy of another's state with a chip of its own, and gives what it is told.
fn copied_state_is_useless(stage: &mut Stage) -> Verdict {
    let (chip, folder) = stage.new_chip().map_err(text)?;
    let original =
        first(stage)?.devices.first().map(|device| device.edge.state()).ok_or("there is no device")?;
    let copy = folder.join("state");
    fs::create_dir_all(&copy).map_err(text)?;
    for (path, bytes) in contents(&original)? {
        let name = path.file_name().ok_or("a file has no name")?;
        fs::write(copy.join(name), bytes).map_err(text)?;
    }
    let mut thief = start_plain(stage, &chip.tcti(), None, &folder)?;
    let code = thief.wait_refused().map_err(text)?;
    if thief.has_connected() {
        return Err("it connected".to_owned());
    }
    Ok(format!("refused: {code}"))
}

fn unknown_chip_is_refused(stage: &mut Stage) -> Verdict {
    let (chip, folder) = stage.new_chip().map_err(text)?;
    let mut stranger = start_plain(stage, &chip.tcti(), None, &folder)?;
    match stranger.wait_refused().map_err(text)? {
        code if code == "unknown_chip" => Ok(code),
        code => Err(format!("refused, but with {code}")),
    }
}

fn claim_works_once(stage: &mut Stage) -> Verdict {
    let claim = stage.claim("acme").map_err(text)?;
    let (first_chip, first_folder) = stage.new_chip().map_err(text)?;
    let mut first = start_plain(stage, &first_chip.tcti(), Some(&claim), &first_folder)?;
    first.wait_enrolled().map_err(text)?;
    let (second_chip, second_folder) = stage.new_chip().map_err(text)?;
    let mut second = start_plain(stage, &second_chip.tcti(), Some(&claim), &second_folder)?;
    match second.wait_refused().map_err(text)? {
        code if code == "claim_used" => Ok(format!("the second chip: {code}")),
        code => Err(format!("refused, but with {code}")),
    }
}

fn start_plain(stage: &Stage, tcti: &str, claim: Option<&str>, folder: &Path) -> Result<Edge, String> {
    let options = EdgeOptions { tcti, claim, folder, interval_s: 1.0, labels: &[] };
    Edge::start(&stage.hub, &options).map_err(text)
}

/// Starts a fast device, cuts the hub down while it publishes, starts it again, and looks for each reading.
fn nothing_acked_is_lost(stage: &mut Stage) -> Verdict {
    let claim = stage.claim("acme").map_err(text)?;
    let (chip, folder) = stage.new_chip().map_err(text)?;
    let options = EdgeOptions {
        tcti: &chip.tcti(),
        claim: Some(&claim),
        folder: &folder,
        interval_s: 0.005,
        labels: &[],
    };
    let mut edge = Edge::start(&stage.hub, &options).map_err(text)?;
    let device = edge.wait_enrolled().map_err(text)?;
    for _ in 0..100 {
        edge.wait_acknowledged().map_err(text)?;
    }
    stage.hub.kill();
    let took = stage.hub.start().map_err(text)?;
    edge.wait_connected().map_err(text)?;
    for _ in 0..100 {
        edge.wait_acknowledged().map_err(text)?;
    }
    let acknowledged = edge.acknowledged();
    let folder = first(stage)?.app.folder.clone();
    let is_missing = |stored: &[i64], one: &&Acknowledged| {
        one.stream == "system" && stored.binary_search(&one.time_ms).is_err()
    };
    let mut missing = acknowledged.len();
    // The store reads the log a moment after the acknowledgement, so it is asked until it has caught up.
    for _ in 0..CATCH_UP_QUESTIONS_MAX {
        let stored = stored_times(stage, &folder, &device)?;
        missing = acknowledged.iter().filter(|one| is_missing(&stored, one)).count();
        if missing == 0 {
            let (count, ready_ms) = (acknowledged.len(), took.as_millis());
            return Ok(format!("{count} acknowledged, 0 missing; ready again after {ready_ms} ms"));
        }
        edge.wait_acknowledged().map_err(text)?;
    }
    Err(format!("{missing} of {} are missing", acknowledged.len()))
}

/// When the stored readings of a device's system stream were taken, in milliseconds, sorted.
fn stored_times(stage: &Stage, app: &Path, device: &str) -> Result<Vec<i64>, String> {
    let ask = [
        "telemetry",
        "range",
        "--tenant",
        "acme",
        "--device",
        device,
        "--stream",
        "system",
        "--limit",
        "1000000",
    ];
    let answer = stage.hub.run(app, &ask).map_err(text)?;
    let time = |reading: &Value| Some((reading.get("time_s")?.as_f64()? * 1_000.0).round() as i64);
    let mut times: Vec<i64> = readings(&answer).iter().filter_map(time).collect();
    times.sort_unstable();
    Ok(times)
}

/// Devices come back by themselves. mosquitto_sub ends when its TLS connection is cut, so a person starts it again.
fn all_come_back(stage: &mut Stage) -> Verdict {
    let mut count = 0;
    for tenant in &mut stage.tenants {
        let mut again = tenant.app.subscribe().map_err(text)?;
        again.wait_subscribed(WAIT_MAX).map_err(text)?;
        for device in &mut tenant.devices {
            let prefix = format!("devices/{}/telemetry/", device.id);
            again.wait_message(WAIT_MAX, |message| message.topic.starts_with(&prefix)).map_err(text)?;
            count += 1;
        }
        tenant.telemetry = again;
    }
    Ok(format!("{count} devices publish again, and their apps hear them"))
}

fn canary_is_sealed(stage: &mut Stage) -> Verdict {
    let files = contents(stage.hub.folder())?;
    for (path, bytes) in &files {
        if find(bytes, CANARY.as_bytes()).is_some() {
            return Err(format!("{} holds it", path.display()));
        }
    }
    let bytes: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
    Ok(format!("{} files, {bytes} bytes searched", files.len()))
}

fn nothing_is_world_readable(stage: &mut Stage) -> Verdict {
    use std::os::unix::fs::PermissionsExt;
    let folder = stage.hub.folder();
    let mode = fs::metadata(folder).map_err(text)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(format!("the folder has mode {mode:o}"));
    }
    let mut count = 0;
    for (path, _) in contents(folder)? {
        let secret =
            path.extension().is_some_and(|e| e == "key" || e == "sealed") || path.ends_with("passphrase");
        let mode = fs::metadata(&path).map_err(text)?.permissions().mode() & 0o777;
        if secret && mode & 0o077 != 0 {
            return Err(format!("{} has mode {mode:o}", path.display()));
        }
        count += 1;
    }
    Ok(format!("the folder has mode {mode:o}; {count} files below it"))
}

fn health_and_metrics(stage: &mut Stage) -> Verdict {
    let (api, operator) = (stage.hub.api(), stage.hub.operator());
    let curl = |path: &str, certificate: bool| -> Result<String, String> {
        let mut curl = Command::new("curl");
        curl.args(["-sSf", "--cacert"]).arg(operator.join("ca.pem")).arg(format!("{api}{path}"));
        if certificate {
            curl.arg("--cert").arg(operator.join("cert.pem")).arg("--key").arg(operator.join("key.pem"));
        }
        let output = curl.output().map_err(text)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(format!("{path}: {}", String::from_utf8_lossy(&output.stderr).trim()))
    };
    curl("/health/live", false)?;
    curl("/health/ready", false)?;
    if curl("/metrics", false).is_ok() {
        return Err("metrics are open to anybody".to_owned());
    }
    let metrics = curl("/metrics", true)?;
    let received = metrics.lines().filter(|line| line.starts_with("muster_messages_received_total{"));
    let total: f64 = received.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
    if total > 0.0 {
        Ok(format!("{total} messages received"))
    } else {
        Err("no message was counted".to_owned())
    }
}

/// Every file below a folder with its bytes.
fn contents(folder: &Path) -> Result<Vec<(std::path::PathBuf, Vec<u8>)>, String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))? {
        let path = entry.map_err(text)?.path();
        if path.is_dir() {
            found.extend(contents(&path)?);
        } else if path.is_file() {
            let bytes = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            found.push((path, bytes));
        }
    }
    Ok(found)
}

/// Where `needle` stands in `bytes`.
fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}
