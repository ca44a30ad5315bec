//! Devices with soft keys, NOT A REAL TPM among them: they enrol by the real protocol and then speak MQTT with the
//! certificate they were given.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
};

use muster_edge::{
    enrolment::{Exchange, Outcome, Request, Step},
    tls::{Credentials, Dialects, read_roots},
};
use muster_mqtt::Version;
use muster_schemas::{
    DeviceId,
    enrolment::{DeviceFrame, EXPORTER_LABEL, HubFrame, LENGTH_PREFIX_BYTES, frame_length},
};
use muster_tpm::{
    device::{TlsKey, TpmThread},
    keys::{DeviceKeys, Slot},
    manufacturer::SimulatedManufacturer,
    soft::SimulatedSoftwareKeys,
};
use rustls::{
    ClientConfig,
    pki_types::{CertificateDer, ServerName},
    sign::CertifiedKey,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    BenchError,
    limits::{ANSWER_TIME_MAX, ENROLMENTS_AT_ONCE},
    telemetry::Publisher,
};
use crate::load::{
    LoadError,
    dial::Dial,
    link::Link,
    opening::{KEEP_ALIVE_S, Sessions, Wanted, open_in_order},
};

/// The name that the hub's certificate carries.
pub const HUB_NAME: &str = "localhost";

/// The hub as a client sees it.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where it speaks MQTT and enrolment.
    pub address: SocketAddr,
    /// What it must prove to be.
    pub roots: Vec<CertificateDer<'static>>,
}

impl Target {
    /// The hub at `address`, below the root certificate in this file.
    ///
    /// # Errors
    /// No address, or no certificate.
    pub fn new(address: &str, root: &Path) -> Result<Self, BenchError> {
        let address =
            address.parse().map_err(|_| BenchError::Odd(format!("the hub listens on {address:?}")))?;
        Ok(Self { address, roots: read_roots(root)? })
    }

    fn dialects(&self, credentials: &Arc<Credentials>) -> Result<Dialects, BenchError> {
        Ok(Dialects::new(&self.roots, credentials)?)
    }
}

/// A device that has not enrolled yet.
pub struct Newcomer {
    keys: SimulatedSoftwareKeys,
    claim: String,
}

impl Newcomer {
    /// The device of this number, endorsed, with a claim.
    ///
    /// # Errors
    /// The manufacturer refuses.
    pub fn new(number: u32, claim: String, manufacturer: &SimulatedManufacturer) -> Result<Self, BenchError> {
        let mut seed = [0xbe; 32];
        let (head, _) = seed.split_at_mut(4);
        head.copy_from_slice(&number.to_be_bytes());
        Ok(Self { keys: SimulatedSoftwareKeys::new(&seed, manufacturer)?, claim })
    }
}

/// A device with its certificate.
pub struct Device {
    /// Its id.
    pub id: DeviceId,
    /// Its keys.
    pub keys: TpmThread,
    config: Arc<ClientConfig>,
}

impl Device {
    /// Connects by mutual TLS, and says nothing yet.
    ///
    /// # Errors
    /// The hub does not let it in.
    pub async fn connect(&self, target: &Target) -> Result<TlsStream<TcpStream>, BenchError> {
        connect(target.address, Ipv4Addr::LOCALHOST, Arc::clone(&self.config)).await
    }

    /// How it connects by mutual TLS.
    pub fn session_config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }

    /// Opens a session to publish in.
    ///
    /// # Errors
    /// The hub does not let it in.
    pub fn open(&self, target: &Target) -> Result<Publisher, BenchError> {
        Ok(Publisher::new(&self.id, self.session(target)?))
    }

    /// Opens a session.
    ///
    /// # Errors
    /// The hub does not let it in.
    pub fn session(&self, target: &Target) -> Result<Link, BenchError> {
        let name = ServerName::try_from(HUB_NAME).map_err(std::io::Error::other)?;
        let mut dial = Dial::with(target.address, Arc::clone(&self.config), name);
        let mut sessions =
            Sessions { dial: &mut dial, version: Version::V5, keep_alive_s: KEEP_ALIVE_S, opening_max: 1 };
        let wanted = [Wanted::plain(self.id.to_string())];
        Ok(open_in_order(&mut sessions, &wanted)?.pop().ok_or(LoadError::Silent("CONNACK"))?)
    }
}

/// What enrolment gave: the keys, and the chain for them.
pub struct Enrolled {
    keys: SimulatedSoftwareKeys,
    id: DeviceId,
    chain: Vec<CertificateDer<'static>>,
}

impl Enrolled {
    /// Its certificate and what ties it to the root, leaf first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// Its private key, for a client that cannot sign with what is called a TPM here: SEC 1, DER.
    #[must_use]
    pub fn stolen_key(&self) -> Option<Vec<u8>> {
        self.keys.stolen_ldevid(Slot::A)
    }

    /// Makes it a device that can connect.
    ///
    /// # Errors
    /// TLS cannot be configured so.
    pub fn ready(self, target: &Target) -> Result<Device, BenchError> {
        let Self { keys, id, chain } = self;
        let tpm = TpmThread::start(move || Ok(Box::new(keys) as Box<dyn DeviceKeys>))?;
        let key = TlsKey::open(tpm.clone(), Slot::A)?;
        let credentials = Arc::new(Credentials::default());
        credentials.set(CertifiedKey::new(chain, Arc::new(key)));
        Ok(Device { id, keys: tpm, config: target.dialects(&credentials)?.session })
    }
}

/// Enrols all, some at one time, each of those from a loopback address of its own.
///
/// # Errors
/// The first that fails.
pub async fn enrol_all(target: &Target, newcomers: Vec<Newcomer>) -> Result<Vec<Enrolled>, BenchError> {
    let config = target.dialects(&Arc::default())?.enrolment;
    let mut queues: Vec<Vec<Newcomer>> = (0..ENROLMENTS_AT_ONCE).map(|_| Vec::new()).collect();
    for (number, newcomer) in newcomers.into_iter().enumerate() {
        if let Some(queue) = queues.get_mut(number % ENROLMENTS_AT_ONCE) {
            queue.push(newcomer);
        }
    }
    let mut workers = JoinSet::new();
    for (last, queue) in (2..=u8::MAX).zip(queues) {
        let (address, config) = (target.address, Arc::clone(&config));
        workers.spawn(async move {
            let mut enrolled = Vec::with_capacity(queue.len());
            for newcomer in queue {
                let source = Ipv4Addr::new(127, 0, 0, last);
                let stream = connect(address, source, Arc::clone(&config)).await?;
                enrolled.push(enrol(stream, newcomer).await?);
            }
            Ok::<_, BenchError>(enrolled)
        });
    }
    let mut all = Vec::new();
    while let Some(enrolled) = workers.join_next().await {
        all.extend(enrolled??);
    }
    Ok(all)
}

/// Connects with TLS, by a loopback address of one's own.
async fn connect(
    address: SocketAddr,
    source: Ipv4Addr,
    config: Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, BenchError> {
    let connecting = async {
        let socket = TcpSocket::new_v4()?;
        socket.bind((source, 0).into())?;
        let tcp = socket.connect(address).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from(HUB_NAME).map_err(std::io::Error::other)?;
        TlsConnector::from(config).connect(name, tcp).await
    };
    let connected = timeout(ANSWER_TIME_MAX, connecting).await;
    Ok(connected.map_err(|_| BenchError::Silent("TLS handshake"))??)
}

/// One enrolment, from the first frame to the certificate.
async fn enrol(mut stream: TlsStream<TcpStream>, newcomer: Newcomer) -> Result<Enrolled, BenchError> {
    let Newcomer { mut keys, claim } = newcomer;
    let exporter = stream.get_ref().1.export_keying_material([0; 32], EXPORTER_LABEL, None)?;
    let request = Request::First {
        slot: Slot::A,
        claim: Some(claim),
        model: "bench".to_owned(),
        introduction: Default::default(),
    };
    let (mut exchange, mut frame) = Exchange::begin(&mut keys, &request, exporter)?;
    loop {
        let heard = timeout(ANSWER_TIME_MAX, ask(&mut stream, &frame)).await;
        let heard = heard.map_err(|_| BenchError::Silent("answer to an enrolment"))??;
        match exchange.answer(&mut keys, heard)? {
            Step::Send(next) => frame = next,
            Step::End(Outcome::Issued(grant)) => {
                stream.shutdown().await?;
                return Ok(Enrolled { keys, id: grant.device, chain: grant.chain });
            }
            Step::End(Outcome::Refused(refused)) => {
                return Err(BenchError::Odd(format!(
                    "an enrolment was refused: {} ({})",
                    refused.code, refused.detail
                )));
            }
            Step::End(Outcome::Pending { .. }) => {
                return Err(BenchError::Odd("an enrolment waits for a person".to_owned()));
            }
        }
    }
}

async fn ask(stream: &mut TlsStream<TcpStream>, frame: &DeviceFrame) -> Result<HubFrame, BenchError> {
    let asking = async {
        stream.write_all(&frame.encode()).await?;
        stream.flush().await?;
        let mut prefix = [0; LENGTH_PREFIX_BYTES];
        stream.read_exact(&mut prefix).await?;
        let mut body = vec![0; frame_length(prefix).map_err(std::io::Error::other)?];
        stream.read_exact(&mut body).await?;
        HubFrame::decode(&body).map_err(std::io::Error::other)
    };
    Ok(asking.await?)
}
