//! MQTT clients that others wrote against a hub as a process: Paho for Python and mqtt.js over TLS and WebSocket, Debian's
//! Mosquitto clients over TLS and the Unix socket, each with 3.1.1 and 5. A client that is missing and cannot be installed
//! is a failure.

#![expect(clippy::expect_used, reason = "the whole program is a test")]

mod endorsement;
mod mosquitto;
mod scripts;
mod stage;
