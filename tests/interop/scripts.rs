//! Paho for Python and mqtt.js: each tells its stories in a script of its own language, in every version and over every
//! transport at once.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::json;

use crate::stage::Stage;

#[test]
fn paho_for_python_does_all_of_3_1_1_and_5_over_tls_and_websocket() {
    let clients = installed();
    let script = here().join("paho_client.py");
    tell_everywhere("paho", |told| {
        let mut python = Command::new(clients.join("python/bin/python"));
        python.arg(&script).arg(told);
        python
    });
}

#[test]
fn mqtt_js_does_all_of_3_1_1_and_5_over_tls_and_websocket() {
    let clients = installed();
    let script = here().join("mqttjs.mjs");
    tell_everywhere("mqttjs", |told| {
        let mut node = Command::new("node");
        node.arg(&script).arg(clients.join("node")).arg(told);
        node
    });
}

/// Where the scripts are.
fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("interop")
}

/// Has the clients in the versions that we name, and gives the folder. Asks no registry when they are there already.
fn installed() -> PathBuf {
    let clients = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("interop");
    let install = here().join("../../setup/clients");
    let output = Command::new(install).arg(&clients).output().expect("setup/clients runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the clients of others are missing:\n{said}");
    clients
}

/// Runs a script for each version and transport, side by side, and shows what it told.
#[expect(clippy::print_stdout, reason = "with --nocapture a person sees each story")]
fn tell_everywhere(client: &str, command: impl Fn(&str) -> Command) {
    let mut stage = Stage::raise();
    let mut telling: Vec<Child> = Vec::new();
    for version in ["3.1.1", "5"] {
        for (transport, port) in
            [("tls", stage.hub.mqtt_port().to_owned()), ("websocket", stage.websocket_port.to_string())]
        {
            let told = json!({
                "transport": transport,
                "version": version,
                "host": "localhost",
                "port": port.parse::<u16>().expect("a port"),
                "folder": stage.app.folder,
                "prefix": format!("{client}-{}-{transport}", version.replace('.', "")),
            });
            let mut command = command(&told.to_string());
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            telling.push(command.spawn().expect("the client's language is installed: see setup/packages"));
        }
    }
    // Every wait in a script has its limit.
    let mut failures = Vec::new();
    for child in telling {
        let output = child.wait_with_output().expect("its output");
        let (told, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        print!("{told}");
        if !output.status.success() {
            failures.push(format!("{told}{said}"));
        }
    }
    let tail = stage.hub.process().map(|hub| hub.tail()).unwrap_or_default();
    assert!(failures.is_empty(), "{}\nthe hub's last lines:\n{tail}", failures.join("\n"));
}
