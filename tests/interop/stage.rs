//! A hub with one tenant and one app of it, and every way in.

use std::path::PathBuf;

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
    /// For what clients need.
    pub folder: TempDir,
}

impl Stage {
    /// One that listens on the network.
    pub fn raise() -> Self {
        Self::finish(Self::prepare())
    }

    /// One that listens for this machine, too.
    pub fn raise_with_socket() -> Self {
        let (mut hub, folder) = Self::prepare();
        // The tenant had to be there before a door that leads to it.
        hub.stop();
        hub.bind("127.0.0.1:0", "127.0.0.1:0");
        hub.set("MUSTER__LISTENERS__MQTT_UNIX__PATH", &socket(&folder).display().to_string());
        hub.set("MUSTER__LISTENERS__MQTT_UNIX__TENANT", TENANT);
        hub.start().expect("the hub starts again");
        Self::finish((hub, folder))
    }

    /// Where it takes connections of this machine.
    pub fn socket(&self) -> PathBuf {
        socket(&self.folder)
    }

    fn prepare() -> (Hub, TempDir) {
        let folder = TempDir::new().expect("a folder for the stage");
        let maker = SimulatedManufacturer::well_known().expect("a maker of chips");
        let root = publish_root(&maker, folder.path()).expect("its root");
        let mut hub = Hub::init(&folder.path().join("hub"), &root).expect("a hub");
        hub.set("MUSTER__LISTENERS__MQTT_WSS__BIND", "127.0.0.1:0");
        hub.start().expect("the hub starts");
        hub.operate(&["tenant", "create", TENANT]).expect("a tenant");
        (hub, folder)
    }

    fn finish((mut hub, folder): (Hub, TempDir)) -> Self {
        let ready = hub.process().expect("it runs").events("ready").pop().expect("it is ready");
        let websocket = ready.get("mqtt_wss").and_then(Value::as_str).expect("it listens for WebSocket");
        let websocket_port = websocket.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        let app = App::create(&hub, TENANT, "interop", folder.path().join("app")).expect("an app");
        Self { hub, app, websocket_port, folder }
    }
}

fn socket(folder: &TempDir) -> PathBuf {
    folder.path().join("mqtt.sock")
}
