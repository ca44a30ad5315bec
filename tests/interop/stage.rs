//! A hub with one tenant and one app of it, and every way in.

use std::{fs, path::PathBuf};

use muster_simulators::{app::App, chip::publish_root, hub::Hub};
use muster_tpm::manufacturer::SimulatedManufacturer;
use serde_json::Value;
use tempfile::TempDir;

/// The tenant.
const TENANT: &str = "acme";

/// A running hub in a folder that goes with it.
pub struct Stage {
    pub hub: Hub,
    pub app: App,
    /// The port of MQTT over WebSocket.
    pub websocket_port: u16,
    /// Where it takes connections of this machine.
    pub socket: PathBuf,
    /// For what clients need.
    pub folder: TempDir,
}

impl Stage {
    pub fn raise() -> Self {
        let folder = TempDir::new().expect("a folder for the stage");
        let maker = SimulatedManufacturer::well_known().expect("a maker of chips");
        let root = publish_root(&maker, folder.path()).expect("its root");
        let mut hub = Hub::init(&folder.path().join("hub"), &root).expect("a hub");
        // The tenant has to be there before a door that leads to it.
        hub.start().expect("the hub starts");
        hub.operate(&["tenant", "create", TENANT]).expect("a tenant");
        hub.stop();
        let socket = folder.path().join("mqtt.sock");
        hub.set("MUSTER__LISTENERS__MQTT_UNIX__PATH", &socket.display().to_string());
        hub.set("MUSTER__LISTENERS__MQTT_UNIX__TENANT", TENANT);
        hub.set("MUSTER__LISTENERS__MQTT_WSS__BIND", "127.0.0.1:0");
        hub.bind("127.0.0.1:0", "127.0.0.1:0");
        hub.start().expect("the hub starts again");
        let ready = hub.process().expect("it runs").events("ready").pop().expect("it is ready");
        let websocket = ready.get("mqtt_wss").and_then(Value::as_str).expect("it listens for WebSocket");
        let websocket_port = websocket.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        let app = App::create(&hub, TENANT, "interop", folder.path().join("app")).expect("an app");
        assert!(fs::exists(&socket).expect("a folder"), "it listens for this machine");
        Self { hub, app, websocket_port, socket, folder }
    }
}
