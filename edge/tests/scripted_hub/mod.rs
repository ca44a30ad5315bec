//! A hub that follows a script: it checks evidence as a hub does, issues certificates, acknowledges readings, and can
//! be told to misbehave. No actor, no store, no registry: one thread per connection.

#![expect(dead_code, reason = "each test file uses its part of the hub")]

pub mod desk;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
    thread,
};

use muster_schemas::{
    DeviceId,
    enrolment::{
        ALPN, Challenge, DeviceFrame, EXPORTER_LABEL, HubFrame, Issued, RefusalCode, Refused, RenewChallenge,
        frame_length,
    },
    senml::Pack,
};
use muster_tpm::{
    endorsement::{EndorsementRoots, TpmClass},
    manufacturer::SimulatedManufacturer,
    verifier::{
        Expected, RenewExpected, challenge, check_begin, check_finish, check_renew_begin, check_renew_finish,
        device_id,
    },
    wire::TpmtPublic,
};
use muster_trust::{TENANTS_OID, Tenants};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType,
    SerialNumber, SignatureAlgorithm,
};
use rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned, crypto::aws_lc_rs,
    pki_types::PrivatePkcs8KeyDer, server::WebPkiClientVerifier, version::TLS13,
};

use desk::Desk;

type Authority = CertifiedIssuer<'static, KeyPair>;
type Stream = StreamOwned<ServerConnection, TcpStream>;

/// 2026-02-01, when simulated endorsement certificates are valid.
const NOW_S: u64 = 1_769_904_000;
const NONCE: [u8; 32] = [6; 32];
const SECRET: [u8; 32] = [7; 32];
const SELECTION: [u8; 2] = [0, 7];
/// So small that the window matters.
const RECEIVE_MAXIMUM: u8 = 8;

/// What the hub does.
pub struct Script {
    /// Told with each certificate.
    pub renew_after_s: u64,
    /// The first enrolment is refused with this.
    pub refuse_first: Option<RefusalCode>,
}

/// What the hub saw.
#[derive(Default)]
pub struct Seen {
    /// First certificates issued.
    pub enrolments: usize,
    /// Sessions by the public key of the certificate presented.
    pub sessions_by_key: BTreeMap<Vec<u8>, usize>,
    /// Base times of readings of the stream `system` whose PUBACK was written, in milliseconds.
    pub acknowledged: BTreeSet<u64>,
    /// Messages of the stream `labels`.
    pub labels: usize,
    /// The last session ended with a DISCONNECT.
    pub said_good_bye: bool,
    refusals: usize,
    ak_public: Option<TpmtPublic>,
    live: Vec<TcpStream>,
}

/// A hub on loopback.
#[derive(Clone)]
pub struct ScriptedHub(Arc<Inner>);

struct Inner {
    script: Script,
    address: SocketAddr,
    root: Authority,
    server_chain: Vec<Vec<u8>>,
    server_key: Vec<u8>,
    device_authority: Mutex<Authority>,
    seen: Mutex<Seen>,
    desk: Desk,
}

struct Point([u8; 65]);

impl PublicKeyData for Point {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }
    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

fn authority(name: &str, above: Option<&Authority>) -> Authority {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.subject_alt_names = vec![SanType::URI("spiffe://muster.example".try_into().unwrap())];
    parameters.serial_number = Some(SerialNumber::from_slice(&[0x41; 16]));
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    match above {
        None => CertifiedIssuer::self_signed(parameters, key).unwrap(),
        Some(above) => CertifiedIssuer::signed_by(parameters, key, above).unwrap(),
    }
}

impl ScriptedHub {
    /// Starts on a free port.
    pub fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let root = authority("muster root", None);
        let server = authority("muster server authority", Some(&root));
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        leaf.subject_alt_names
            .push(SanType::URI("spiffe://muster.example/t/operator/node/hub".try_into().unwrap()));
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.serial_number = Some(SerialNumber::from_slice(&[0x40; 16]));
        leaf.custom_extensions = vec![CustomExtension::from_oid_content(&TENANTS_OID, Tenants::All.to_der())];
        let leaf = leaf.signed_by(&key, &server).unwrap();
        let hub = Self(Arc::new(Inner {
            script,
            address: listener.local_addr().unwrap(),
            server_chain: vec![leaf.der().to_vec(), server.der().to_vec()],
            server_key: key.serialize_der(),
            device_authority: Mutex::new(authority("muster device authority", Some(&root))),
            root,
            seen: Mutex::default(),
            desk: Desk::default(),
        }));
        let listening = hub.clone();
        thread::spawn(move || {
            for connection in listener.incoming() {
                let hub = listening.clone();
                thread::spawn(move || {
                    // A device that goes away is part of the story.
                    let _ = hub.serve(connection.unwrap());
                });
            }
        });
        hub
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Writes its root certificate, and says where.
    pub fn write_root(&self, folder: &Path) -> PathBuf {
        let path = folder.join("root.crt");
        fs::write(&path, self.0.root.pem()).unwrap();
        path
    }

    /// What it saw so far.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.seen.lock().unwrap()
    }

    /// What it does about firmware.
    pub fn desk(&self) -> &Desk {
        &self.0.desk
    }

    /// Closes every connection as it is.
    pub fn drop_sessions(&self) {
        for stream in self.seen().live.drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }

    /// From now on certificates of the old device authority are refused.
    pub fn change_device_authority(&self) {
        *self.0.device_authority.lock().unwrap() = authority("another device authority", Some(&self.0.root));
    }

    fn serve(&self, tcp: TcpStream) -> io::Result<()> {
        tcp.set_nodelay(true)?;
        let provider = || Arc::new(aws_lc_rs::default_provider());
        let mut anchors = RootCertStore::empty();
        anchors.add(self.0.device_authority.lock().unwrap().der().clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(anchors), provider())
            .allow_unauthenticated()
            .build()
            .unwrap();
        let chain = self.0.server_chain.iter().cloned().map(Into::into).collect();
        let key = PrivatePkcs8KeyDer::from(self.0.server_key.clone());
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key.into())
            .unwrap();
        config.alpn_protocols = vec![b"mqtt".to_vec(), ALPN.to_vec()];
        let live = tcp.try_clone()?;
        let mut stream = StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), tcp);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        if stream.conn.alpn_protocol() == Some(ALPN) {
            return self.enrol(&mut stream);
        }
        let key = stream
            .conn
            .peer_certificates()
            .map(|chain| muster_edge::certificate::Leaf::read(chain.first().unwrap()).unwrap().public_key);
        {
            let mut seen = self.seen();
            *seen.sessions_by_key.entry(key.expect("a session has a certificate")).or_default() += 1;
            seen.live.push(live);
        }
        self.session(&mut stream)
    }

    fn enrol(&self, stream: &mut Stream) -> io::Result<()> {
        let exporter = stream.conn.export_keying_material([0; 32], EXPORTER_LABEL, None).unwrap();
        match read_frame(stream)? {
            DeviceFrame::Begin(begin) => {
                if let Some(code) = self.0.script.refuse_first
                    && std::mem::replace(&mut self.seen().refusals, 1) == 0
                {
                    let refused = Refused { code, detail: "by the script".to_owned() };
                    return stream.write_all(&HubFrame::Refused(refused).encode());
                }
                let manufacturer = SimulatedManufacturer::well_known().unwrap();
                let roots = vec![(manufacturer.root_certificate().to_vec(), TpmClass::Simulated)];
                let candidate = check_begin(&begin, &EndorsementRoots::new(roots).unwrap(), NOW_S).unwrap();
                let mut random = |bytes: &mut [u8]| bytes.fill(0x21);
                let credential = challenge(&candidate, &SECRET, &mut random).unwrap();
                let frame = HubFrame::Challenge(Challenge {
                    session: [1; 16],
                    nonce: NONCE,
                    credential_blob: credential.credential_blob,
                    encrypted_secret: credential.encrypted_secret,
                    pcr_selection: SELECTION.to_vec(),
                });
                stream.write_all(&frame.encode())?;
                let DeviceFrame::Finish(finish) = read_frame(stream)? else { panic!("no Finish") };
                let expected =
                    Expected { nonce: NONCE, exporter, secret: SECRET, pcr_selection: SELECTION.to_vec() };
                check_finish(&candidate, &expected, &finish).unwrap();
                let device = device_id(&candidate.ek_hash);
                self.seen().ak_public = Some(candidate.ak_public);
                self.seen().enrolments += 1;
                stream.write_all(&self.issue(candidate.ldevid_sec1, device).encode())
            }
            DeviceFrame::RenewBegin(begin) => {
                let certificate = stream.conn.peer_certificates().expect("a renewal has a certificate");
                let leaf = muster_edge::certificate::Leaf::read(certificate.first().unwrap()).unwrap();
                let candidate = check_renew_begin(&begin).unwrap();
                let challenge =
                    RenewChallenge { session: [2; 16], nonce: NONCE, pcr_selection: SELECTION.to_vec() };
                stream.write_all(&HubFrame::RenewChallenge(challenge).encode())?;
                let DeviceFrame::RenewFinish(finish) = read_frame(stream)? else { panic!("no RenewFinish") };
                let ak_public = self.seen().ak_public.clone().unwrap();
                let expected = RenewExpected { nonce: NONCE, exporter, pcr_selection: SELECTION.to_vec() };
                check_renew_finish(&candidate, &ak_public, &expected, &finish).unwrap();
                stream.write_all(&self.issue(candidate.ldevid_sec1, leaf.principal.id).encode())
            }
            other => panic!("{other:?} begins nothing"),
        }
    }

    fn issue(&self, sec1: [u8; 65], device: DeviceId) -> HubFrame {
        let authority = self.0.device_authority.lock().unwrap();
        let mut leaf = CertificateParams::default();
        let uri = format!("spiffe://muster.example/t/acme/device/{device}");
        leaf.subject_alt_names = vec![SanType::URI(uri.as_str().try_into().unwrap())];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = leaf.signed_by(&Point(sec1), &*authority).unwrap();
        HubFrame::Issued(Issued {
            certificate: certificate.der().to_vec(),
            chain: vec![authority.der().to_vec()],
            device,
            tenant: "acme".parse().unwrap(),
            mqtt_endpoint: String::new(),
            renew_after_s: self.0.script.renew_after_s,
            hub_time_s: NOW_S,
        })
    }

    /// The least of MQTT 5: CONNACK, PUBACK, SUBACK, PINGRESP.
    fn session(&self, stream: &mut Stream) -> io::Result<()> {
        loop {
            let (head, body) = read_packet(stream)?;
            match head >> 4 {
                // CONNACK: no session, success, and the property Receive Maximum.
                1 => stream.write_all(&[0x20, 6, 0, 0, 3, 0x21, 0, RECEIVE_MAXIMUM])?,
                3 if topic_of(&body).contains("/firmware/") => {
                    let topic = topic_of(&body);
                    let after = 2 + topic.len();
                    let is_kept = head & 0b110 != 0;
                    let properties = if is_kept { after + 2 } else { after };
                    let payload = &body[properties + 1 + usize::from(body[properties])..];
                    assert_eq!(is_kept, topic.ends_with("/report"), "reports are kept, requests are not");
                    if !self.0.desk.said(topic, payload, stream)? {
                        return stream.sock.shutdown(std::net::Shutdown::Both);
                    }
                    if is_kept {
                        stream.write_all(&[0x40, 2, body[after], body[after + 1]])?;
                    }
                }
                3 => {
                    let (stream_name, time_ms, packet) = read_publish(head, &body);
                    stream.write_all(&[0x40, 2, packet[0], packet[1]])?;
                    let mut seen = self.seen();
                    match stream_name.as_str() {
                        "system" => _ = seen.acknowledged.insert(time_ms),
                        "labels" => seen.labels += 1,
                        other => panic!("what is {other}?"),
                    }
                }
                8 => self.0.desk.subscribe(&body, stream)?,
                12 => stream.write_all(&[0xd0, 0])?,
                14 => {
                    self.seen().said_good_bye = true;
                    stream.conn.send_close_notify();
                    return stream.flush();
                }
                other => panic!("packet type {other}"),
            }
        }
    }
}

fn read_frame(stream: &mut Stream) -> io::Result<DeviceFrame> {
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix)?;
    let mut body = vec![0; frame_length(prefix).unwrap()];
    stream.read_exact(&mut body)?;
    Ok(DeviceFrame::decode(&body).unwrap())
}

fn read_packet(stream: &mut Stream) -> io::Result<(u8, Vec<u8>)> {
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    let head = byte[0];
    let (mut length, mut shift) = (0, 0);
    loop {
        stream.read_exact(&mut byte)?;
        length |= usize::from(byte[0] & 0x7f) << shift;
        shift += 7;
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((head, body))
}

fn topic_of(body: &[u8]) -> &str {
    let end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
    std::str::from_utf8(&body[2..end]).unwrap()
}

/// Stream, base time in milliseconds, packet identifier.
fn read_publish(head: u8, body: &[u8]) -> (String, u64, [u8; 2]) {
    assert_eq!(head & 0b110, 0b010, "QoS 1");
    let topic_end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
    let topic = std::str::from_utf8(&body[2..topic_end]).unwrap();
    let packet = [body[topic_end], body[topic_end + 1]];
    // Few properties: their length has one byte.
    let payload = &body[topic_end + 3 + usize::from(body[topic_end + 2])..];
    let records = Pack::parse(payload).unwrap().resolve(0.0).unwrap();
    let stream = topic.rsplit('/').next().unwrap().to_owned();
    (stream, (records[0].time_s * 1_000.0).round() as u64, packet)
}
