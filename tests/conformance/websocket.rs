//! MQTT over WebSocket (MQTT 5 §6, MQTT 3.1.1 §6).

use crate::{
    hub::Hub,
    socket::{Frame, Socket, Transport},
    vector::bytes,
};

const CONNECT: &str = "10 0e 00 04 'MQTT' 04 02 00 3c 00 02 'd1'";

/// Everything until the broker closes.
async fn rest(mut socket: Socket) -> Vec<u8> {
    let mut heard = Vec::new();
    while socket.receive(&mut heard).await {}
    heard
}

/// [MQTT-6.0.0-1] [MQTT311-6.0.0-1]
#[test]
fn a_text_frame_closes() {
    let dir = tempfile::tempdir().expect("a folder");
    actix::System::new().block_on(async {
        let hub = Hub::open(dir.path());
        let tenant = hub.tenant("acme");
        let config = hub.client(&tenant, "app");
        let mut socket =
            Socket::open(hub.websocket, config, Transport::WebSocket).await.expect("a WebSocket");
        socket.send_frame(Frame::Text, &bytes(CONNECT)).await.expect("sent");
        let heard = rest(socket).await;
        assert!(heard.is_empty(), "{heard:?}");
    });
}

/// [MQTT-6.0.0-3] [MQTT311-6.0.0-3]
#[test]
fn who_does_not_offer_mqtt_is_not_upgraded() {
    let dir = tempfile::tempdir().expect("a folder");
    actix::System::new().block_on(async {
        let hub = Hub::open(dir.path());
        let tenant = hub.tenant("acme");
        for headers in ["", "Sec-WebSocket-Protocol: mqttv3.1\r\n"] {
            // No frames yet: the upgrade is asked for by hand.
            let config = hub.client(&tenant, "app");
            let mut socket = Socket::open(hub.websocket, config, Transport::Tls).await.expect("TLS");
            let answer = socket.upgrade(headers).await.expect("an answer");
            assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        }
    });
}
