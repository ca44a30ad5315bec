//! Sessions that attest: a real device with a TPM of its own, and those who try without.

use std::{io::Write as _, path::Path, process::Command};

use muster_mqtt::{Auth, Connect, ConnectProperties, Decoder, Outgoing, Packet, ReasonCode, Version, encode};
use muster_schemas::{
    attest::{Answer, Challenge, METHOD},
    enrolment::EXPORTER_LABEL,
};
use muster_simulators::{
    bench::fleet::{Device, Newcomer, Target, enrol_all},
    limits::WAIT_MAX,
    process::now,
};
use muster_tpm::{
    binding::session_data,
    keys::{DeviceKeys, KeyError, Slot},
    soft::sign_statement,
    wire::TpmsAttest,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::client::TlsStream;

use crate::world::World;

fn demand(world: &World, sessions: &str) {
    let told = world.stage.hub.operate(&["tenant", "attest", "--tenant", "acme", sessions]).expect("set");
    assert_eq!(told.get("sessions").and_then(serde_json::Value::as_str), Some(sessions));
}

fn counted(world: &World, name: &str) -> u64 {
    world.stage.hub.metric(&format!("{name}{{tenant=\"acme\"}}")).expect("a number")
}

#[test]
fn a_device_attests_each_session_before_its_first_reading() {
    let mut world = World::raise();
    demand(&world, "required");
    let edge = &mut world.stage.tenants[0].devices[0].edge;
    edge.process().wait_event("disconnected", WAIT_MAX).expect("its session never attested");
    let quarantined = "quarantined; the hub wants this session to attest";
    edge.process().wait_event(quarantined, WAIT_MAX).expect("it comes back, into quarantine");
    edge.wait_connected().expect("its quote is good");
    edge.wait_acknowledged().expect("and its readings flow");
    assert_eq!(counted(&world, "muster_sessions_attested_total"), 1);
    assert_eq!(counted(&world, "muster_sessions_quarantined"), 0);
    // The other tenant demands nothing.
    let other = &mut world.stage.tenants[1].devices[0].edge;
    other.wait_acknowledged().expect("it goes on");
    assert!(other.process().events(quarantined).is_empty());
    // Nor does this one any more, to whoever comes from now on.
    demand(&world, "off");
    world.holds("telemetry reaches its own tenant's app");
}

/// A device of acme with soft keys, and where its hub is.
fn soft(world: &World, number: u32) -> (Target, Device, Vec<u8>, Vec<Vec<u8>>) {
    let claim = world.stage.claim("acme").expect("a claim");
    let target = Target::new(world.stage.hub.mqtt(), &world.stage.hub.root()).expect("a hub");
    let newcomer = Newcomer::new(number, claim, &world.stage.manufacturer).expect("soft keys");
    let enrolled = block_on(enrol_all(&target, vec![newcomer])).expect("enrolled").pop().expect("one");
    let key = enrolled.stolen_key().expect("a key");
    let chain = enrolled.chain().iter().map(|certificate| certificate.to_vec()).collect();
    let device = enrolled.ready(&target).expect("ready");
    (target, device, key, chain)
}

fn block_on<F: Future>(story: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(story)
}

/// A connection of a device that speaks MQTT 5 by hand.
struct Line {
    stream: TlsStream<TcpStream>,
    exporter: [u8; 32],
    decoder: Decoder,
}

impl Line {
    /// Connects, and says CONNECT with the method.
    async fn open(target: &Target, device: &Device) -> Self {
        let stream = device.connect(target).await.expect("let in");
        let exporter =
            stream.get_ref().1.export_keying_material([0; 32], EXPORTER_LABEL, None).expect("bytes");
        let mut line = Self { stream, exporter, decoder: Decoder::client(Version::V5) };
        let properties =
            ConnectProperties { authentication_method: Some(METHOD.into()), ..ConnectProperties::default() };
        let client_id = Some(device.id.as_str().parse().expect("a client id"));
        line.say(Packet::Connect(Box::new(Connect {
            version: Version::V5,
            clean_start: true,
            keep_alive_s: 0,
            client_id,
            username: None,
            password: None,
            will: None,
            properties,
        })))
        .await;
        line
    }

    async fn say(&mut self, packet: Packet) {
        let mut outgoing = Outgoing::default();
        encode(&packet, Version::V5, &mut outgoing);
        self.stream.write_all(&outgoing.take_chunks().concat()).await.expect("written");
        self.stream.flush().await.expect("written");
    }

    async fn hear(&mut self) -> Packet {
        loop {
            if let Some(packet) = self.decoder.next().expect("a packet") {
                return packet;
            }
            let read = timeout(WAIT_MAX, self.stream.read_buf(self.decoder.buffer())).await;
            assert!(read.expect("in time").expect("read") > 0, "the hub closed");
        }
    }

    async fn challenge(&mut self) -> Challenge {
        match self.hear().await {
            Packet::Auth(auth) => Challenge::decode(&auth.data.expect("a challenge")).expect("a challenge"),
            other => panic!("not an AUTH: {other:?}"),
        }
    }

    /// Answers, and hears what the hub says to it.
    async fn answer(&mut self, answer: &Answer) -> (ReasonCode, String) {
        let (method, data) = (Some(METHOD.into()), Some(answer.encode().into()));
        let (code, reason, user_properties) = (ReasonCode::ContinueAuthentication, None, Vec::new());
        self.say(Packet::Auth(Auth { code, method, data, reason, user_properties })).await;
        match self.hear().await {
            Packet::ConnAck(connack) => {
                (connack.code, connack.properties.reason.as_deref().unwrap_or_default().to_owned())
            }
            other => panic!("not a CONNACK: {other:?}"),
        }
    }

    async fn is_refused(&mut self, answer: &Answer, why: &str) {
        let (code, reason) = self.answer(answer).await;
        assert_eq!(code, ReasonCode::NotAuthorized);
        assert!(reason.contains(why), "{reason}");
    }
}

fn quote(keys: &mut dyn DeviceKeys, challenge: &Challenge, exporter: &[u8; 32]) -> Result<Answer, KeyError> {
    Ok(Answer {
        quote: keys.quote(&challenge.pcr_selection, &session_data(&challenge.nonce, exporter))?,
        pcrs: keys.pcrs(&challenge.pcr_selection)?,
        event_log: Vec::new(),
    })
}

fn answered(device: &Device, challenge: &Challenge, exporter: [u8; 32]) -> Answer {
    let challenge = challenge.clone();
    device.keys.call(move |keys| quote(keys, &challenge, &exporter)).expect("a quote")
}

#[test]
fn an_attestation_is_worth_nothing_on_another_connection_of_another_chip_or_a_second_time() {
    let mut world = World::raise();
    demand(&world, "required");
    let edge = &mut world.stage.tenants[0].devices[0].edge;
    edge.process().wait_event("disconnected", WAIT_MAX).expect("its session never attested");
    edge.wait_connected().expect("attested");
    let (target, device, ..) = soft(&world, 1);
    let (_, stranger, ..) = soft(&world, 2);
    block_on(async {
        let mut line = Line::open(&target, &device).await;
        let challenge = line.challenge().await;
        let good = answered(&device, &challenge, line.exporter);
        assert_eq!(line.answer(&good).await.0, ReasonCode::Success);

        // The same answer on another connection, and a quote for the connection before.
        let mut line = Line::open(&target, &device).await;
        let before = line.exporter;
        line.challenge().await;
        line.is_refused(&good, "another challenge").await;
        let mut line = Line::open(&target, &device).await;
        let challenge = line.challenge().await;
        line.is_refused(&answered(&device, &challenge, before), "another challenge").await;

        // A nonce of its own.
        let mut line = Line::open(&target, &device).await;
        let invented = Challenge { nonce: [0; 32], ..line.challenge().await };
        let answer = answered(&device, &invented, line.exporter);
        line.is_refused(&answer, "another challenge").await;

        // Another chip vouches for this device: its own attestation key, with everything else right.
        let mut line = Line::open(&target, &device).await;
        let challenge = line.challenge().await;
        let answer = answered(&stranger, &challenge, line.exporter);
        line.is_refused(&answer, "not signed by the attestation key").await;

        // A key in software says what a TPM would.
        let mut line = Line::open(&target, &device).await;
        let challenge = line.challenge().await;
        let mut forged = answered(&device, &challenge, line.exporter);
        let statement = TpmsAttest::parse(&forged.quote.attest).expect("a statement");
        let key =
            muster_tpm::soft::SimulatedSoftwareKeys::new(&[9; 32], &world.stage.manufacturer).expect("keys");
        forged.quote = sign_statement(key.stolen_ak(), &statement).expect("signed");
        line.is_refused(&forged, "not signed by the attestation key").await;

        // The identity key signs the same statement: it is in the chip, and no attestation key.
        let mut line = Line::open(&target, &device).await;
        let challenge = line.challenge().await;
        let mut forged = answered(&device, &challenge, line.exporter);
        let binding = session_data(&challenge.nonce, &line.exporter);
        forged.quote =
            device.keys.call(move |keys| keys.certify(Slot::A, &binding)).expect("a certification");
        line.is_refused(&forged, "another kind of statement").await;
    });
    assert_eq!(counted(&world, "muster_sessions_attested_total"), 2, "the stage's device, and one line");
}

/// Runs one of Mosquitto's clients as the soft device; gives its exit code and what it said.
fn mosquitto(world: &World, folder: &Path, client: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(client);
    command.args(["-V", "mqttv5", "-h", "localhost", "-p", world.stage.hub.mqtt_port(), "-d", "--cafile"]);
    command.arg(world.stage.hub.root()).arg("--cert").arg(folder.join("chain.pem"));
    command.arg("--key").arg(folder.join("key.pem")).args(arguments);
    let output = command.output().expect("mosquitto runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

fn pem(kind: &str, der: &[u8]) -> String {
    let mut child = Command::new("openssl")
        .args(["base64", "-e"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("openssl runs");
    child.stdin.take().expect("its input").write_all(der).expect("written");
    let text = child.wait_with_output().expect("it ends").stdout;
    format!("-----BEGIN {kind}-----\n{}-----END {kind}-----\n", String::from_utf8_lossy(&text))
}

#[test]
fn a_client_that_does_not_attest_says_only_that_it_is_alive() {
    let mut world = World::raise();
    let (_, device, key, chain) = soft(&world, 3);
    demand(&world, "required");
    let folder = world.stage.folder().join("soft");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("key.pem"), pem("EC PRIVATE KEY", &key)).expect("written");
    let chain: String = chain.iter().map(|certificate| pem("CERTIFICATE", certificate)).collect();
    std::fs::write(folder.join("chain.pem"), chain).expect("written");
    let id = device.id.as_str();

    let health = format!("devices/{id}/health");
    let (code, said) =
        mosquitto(&world, &folder, "mosquitto_pub", &["-i", id, "-q", "1", "-t", &health, "-m", "alive"]);
    assert_eq!(code, Some(0), "{said}");
    let everything = &mut world.stage.tenants[0].everything;
    let heard = everything.wait_message(WAIT_MAX, |message| message.topic == health).expect("it is heard");
    assert_eq!(heard.payload, "alive");

    let telemetry = format!("devices/{id}/telemetry/climate");
    let (_, said) =
        mosquitto(&world, &folder, "mosquitto_pub", &["-i", id, "-q", "1", "-t", &telemetry, "-m", "21"]);
    assert!(said.contains("RC:135"), "{said}");
    let commands = format!("devices/{id}/commands/#");
    let (code, said) = mosquitto(&world, &folder, "mosquitto_sub", &["-i", id, "-W", "2", "-t", &commands]);
    assert!(
        said.contains("All subscription requests were denied") || said.contains("135"),
        "{code:?}: {said}"
    );
    // Its challenge it may have, and nobody else has it.
    let (_, said) = mosquitto(
        &world,
        &folder,
        "mosquitto_sub",
        &["-i", id, "-C", "1", "-W", "5", "-t", "$muster/attest/#"],
    );
    assert!(said.contains("PUBLISH") && said.contains("$muster/attest/challenge"), "{said}");
    // The trail has it, with the words that the device was told.
    let (hub, app) = (&world.stage.hub, &world.stage.tenants[0].app.folder);
    let until = now() + WAIT_MAX;
    loop {
        let trail = hub.run(app, &["audit", "--tenant", "acme"]).expect("the trail").to_string();
        if trail.contains("quarantined: attest first") && trail.contains(&telemetry) {
            break;
        }
        assert!(now() < until, "{trail}");
    }
}

#[test]
fn a_tenant_with_a_listener_without_tls_does_not_demand_what_cannot_be_bound() {
    let mut world = World::raise();
    demand(&world, "required");
    world.stage.hub.stop();
    world.stage.hub.open_plain("acme");
    assert!(world.stage.hub.start().is_err(), "the listener leads to a tenant that attests");
}
