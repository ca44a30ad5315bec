use super::*;

/// The request of RFC 6455 §1.3, with our subprotocol.
const REQUEST: &str = "GET /mqtt?x=1 HTTP/1.1\r\nHost: hub.example:8084\r\nUpgrade: websocket\r\n\
    Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Protocol: mqttv3.1, mqtt\r\nSec-WebSocket-Version: 13\r\n\r\n";

fn status(request: &str, origins: &[&str]) -> &'static str {
    let origins: Vec<_> = origins.iter().map(|&origin| origin.to_owned()).collect();
    match answer(request.as_bytes(), &origins) {
        Ok(Some(_)) => "101",
        Ok(None) => "more",
        Err(declined) => declined.status,
    }
}

#[test]
fn the_example_of_the_standard_is_answered_as_it_says() {
    let accept = answer(REQUEST.as_bytes(), &[]).expect("accepted");
    assert_eq!(accept.as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    for length in 0..REQUEST.len() {
        assert_eq!(status(&REQUEST[..length], &[]), "more");
    }
}

#[test]
fn what_is_not_an_upgrade_to_mqtt_is_declined() {
    for (from, to, expected) in [
        ("/mqtt?x=1", "/", "101"),
        ("/mqtt?x=1", "/chat", "404 Not Found"),
        ("GET", "POST", "400 Bad Request"),
        ("HTTP/1.1", "HTTP/1.0", "400 Bad Request"),
        ("GET /mqtt?x=1", "\u{1}", "400 Bad Request"),
        ("Upgrade: websocket", "Upgrade: h2c", "426 Upgrade Required"),
        ("keep-alive, Upgrade", "close", "426 Upgrade Required"),
        ("Version: 13", "Version: 8", "426 Upgrade Required"),
        ("Protocol: mqttv3.1, mqtt", "Protocol: mqttv3.1", "400 Bad Request"),
        ("Protocol: mqttv3.1, mqtt", "Protocol: MQTT", "400 Bad Request"),
        ("Sec-WebSocket-Protocol", "X-Nothing", "400 Bad Request"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=", "400 Bad Request"),
        ("13\r\n\r\n", "13\r\n\r\n\u{2}", "400 Bad Request"),
    ] {
        assert_eq!(status(&REQUEST.replace(from, to), &[]), expected, "{from} -> {to}");
    }
    let many = format!("\r\n{}", "X: y\r\n".repeat(UPGRADE_HEADERS_MAX));
    assert_eq!(status(&REQUEST.replacen("\r\n", &many, 1), &[]), "400 Bad Request");
}

#[test]
fn a_page_of_elsewhere_is_let_in_only_if_it_is_listed() {
    let from = |origin: &str| REQUEST.replace("\r\nHost", &format!("\r\nOrigin: {origin}\r\nHost"));
    let elsewhere = from("https://dashboard.example");
    assert_eq!(status(&elsewhere, &[]), "403 Forbidden");
    assert_eq!(status(&elsewhere, &["https://dashboard.example"]), "101");
    assert_eq!(status(&from("null"), &["https://dashboard.example"]), "403 Forbidden");
    assert_eq!(status(&from("https://hub.example:8084"), &[]), "101", "its own");
    assert_eq!(status(&from("https://hub.example"), &[]), "403 Forbidden");
}
