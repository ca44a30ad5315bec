//! One device of the fleet: a chip, the certificate that the hub gave it, and the ways to the hub.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::BytesMut;
use muster_edge::{
    enrolment::{Exchange, ExchangeError, Grant, Outcome, Request, Step},
    introduction::Introduction,
    tls::{Credentials, Dialects, TlsError, read_roots},
};
use muster_mqtt::{Connect, ConnectProperties, Decoder, Outgoing, Packet, ReasonCode, Version, encode};
use muster_schemas::{
    DeviceId,
    enrolment::{EXPORTER_LABEL, HubFrame, LENGTH_PREFIX_BYTES, Refused, frame_length},
};
use muster_tpm::{
    device::{
        Chip, TlsKey, TpmThread,
        manufacture::{clear_simulated, endorse_simulated},
        swtpm::{Swtpm, SwtpmError},
    },
    keys::{DeviceKeys, KeyError, Slot},
    manufacturer::SimulatedManufacturer,
    verifier::{device_id, ek_hash},
    wire::TpmtPublic,
};
use rustls::{ClientConfig, pki_types::ServerName, sign::CertifiedKey};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Longest wait for one answer of the hub.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

/// Why a member could not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// Its TPM does not run.
    #[error(transparent)]
    Swtpm(#[from] SwtpmError),
    /// Its TPM refused.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The exchange makes no sense.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// The roots cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The connection.
    #[error("failed to speak with the hub: {0}")]
    Connection(#[from] io::Error),
    /// The hub said something that is not of the protocol.
    #[error("failed to understand the hub: {0}")]
    Hub(String),
}

/// A device of the fleet.
pub struct Member {
    swtpm: Swtpm,
    folder: PathBuf,
    tpm: TpmThread,
    credentials: Arc<Credentials>,
    dialects: Dialects,
    hub: SocketAddr,
    /// Where it comes from: the hub counts enrolments by address.
    from: Ipv4Addr,
    id: DeviceId,
    ek_hash: [u8; 32],
    slot: Slot,
}

/// An MQTT session that the hub has opened.
pub struct Session {
    stream: TlsStream<TcpStream>,
    decoder: Decoder,
}

/// How a session ended, or why it did not begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionEnd {
    /// The hub said so, with its reason.
    Told(ReasonCode, String),
    /// The hub hung up without a word.
    Closed,
}

impl Member {
    /// Starts a TPM that keeps its state in `folder`: a new one, or the one whose state is there. It ends with the thread
    /// that this is called on.
    ///
    /// # Errors
    /// swtpm does not start.
    pub fn power_on(folder: &Path) -> Result<Swtpm, MemberError> {
        std::fs::create_dir_all(folder)?;
        Ok(Swtpm::start(folder)?)
    }

    /// Makes a device of a TPM: endorses it, unless it is endorsed, and looks who it is. `number` tells where it calls
    /// from.
    ///
    /// # Errors
    /// The TPM refuses, or the root cannot be used.
    pub fn assemble(
        swtpm: Swtpm,
        folder: &Path,
        number: u16,
        (hub, root): (SocketAddr, &Path),
    ) -> Result<Self, MemberError> {
        let tcti = swtpm.tcti();
        let tpm = TpmThread::start(move || {
            let mut chip = Chip::open(&tcti)?;
            endorse_simulated(&mut chip, &SimulatedManufacturer::well_known()?)?;
            Ok(Box::new(chip) as Box<dyn DeviceKeys>)
        })?;
        let public = tpm.call(|keys| keys.ek_public())?;
        let public = TpmtPublic::parse(&public).map_err(ExchangeError::from)?;
        let ek_hash = ek_hash(&public);
        let credentials = Arc::<Credentials>::default();
        let dialects = Dialects::new(&read_roots(root)?, &credentials)?;
        let [high, low] = number.to_be_bytes();
        let from = Ipv4Addr::new(127, 3, high, low.max(1));
        let id = device_id(&ek_hash);
        let folder = folder.to_owned();
        let slot = Slot::A;
        Ok(Self { swtpm, folder, tpm, credentials, dialects, hub, from, id, ek_hash, slot })
    }

    /// Its id, which follows from its chip.
    pub fn id(&self) -> &DeviceId {
        &self.id
    }

    /// SHA-256 of its endorsement key.
    pub fn ek_hash(&self) -> &[u8; 32] {
        &self.ek_hash
    }

    /// Where its TPM keeps its state.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Cuts the power of its TPM and puts it back.
    ///
    /// # Errors
    /// The TPM does not come back.
    pub fn power_cycle(&mut self) -> Result<(), MemberError> {
        self.swtpm.power_cycle()?;
        self.reopen(|_| Ok(()))
    }

    /// Clears its TPM: whatever its owner had made in it is gone.
    ///
    /// # Errors
    /// The TPM refuses.
    pub fn clear(&mut self) -> Result<(), MemberError> {
        self.swtpm.power_cycle()?;
        self.reopen(clear_simulated)
    }

    fn reopen(
        &mut self,
        first: impl FnOnce(&mut Chip) -> Result<(), KeyError> + Send + 'static,
    ) -> Result<(), MemberError> {
        let tcti = self.swtpm.tcti();
        self.tpm = TpmThread::start(move || {
            let mut chip = Chip::open(&tcti)?;
            first(&mut chip)?;
            Ok(Box::new(chip) as Box<dyn DeviceKeys>)
        })?;
        Ok(())
    }

    /// Enrols, with the other slot than it did before if `slot` says so. The hub may refuse, which is no failure.
    ///
    /// # Errors
    /// The connection fails, or the TPM.
    pub async fn enrol(&mut self, claim: Option<String>) -> Result<Result<Grant, Refused>, MemberError> {
        let request = Request::First {
            slot: self.slot,
            claim,
            model: "fleet".to_owned(),
            introduction: Introduction::default(),
        };
        self.converse(self.dialects.enrolment.clone(), request).await
    }

    /// Renews: with the certificate that it has, for a key in its other slot.
    ///
    /// # Errors
    /// The connection fails, or the TPM.
    pub async fn renew(&mut self) -> Result<Result<Grant, Refused>, MemberError> {
        self.slot = if self.slot == Slot::A { Slot::B } else { Slot::A };
        self.converse(self.dialects.renewal.clone(), Request::Next { slot: self.slot }).await
    }

    async fn converse(
        &mut self,
        config: Arc<ClientConfig>,
        request: Request,
    ) -> Result<Result<Grant, Refused>, MemberError> {
        let conversation = timeout(ANSWER_TIME_MAX, self.exchange(config, request));
        match conversation.await.map_err(|_| MemberError::Hub("nothing came in time".to_owned()))?? {
            Outcome::Issued(grant) => {
                self.present(&grant)?;
                Ok(Ok(*grant))
            }
            Outcome::Refused(refused) => Ok(Err(refused)),
            Outcome::Pending { .. } => Err(MemberError::Hub("it wants a person to decide".to_owned())),
        }
    }

    /// Shows this certificate from now on.
    ///
    /// # Errors
    /// The TPM has no such key.
    pub fn present(&self, grant: &Grant) -> Result<(), MemberError> {
        let key = TlsKey::open(self.tpm.clone(), grant.slot)?;
        self.credentials.set(CertifiedKey::new(grant.chain.clone(), Arc::new(key)));
        Ok(())
    }

    async fn exchange(&self, config: Arc<ClientConfig>, request: Request) -> Result<Outcome, MemberError> {
        let mut stream = self.call(config).await?;
        let exporter = stream.get_ref().1.export_keying_material([0; 32], EXPORTER_LABEL, None);
        let exporter = exporter.map_err(io::Error::other)?;
        let (mut exchange, mut frame) =
            self.tpm.acall(move |keys| Ok(Exchange::begin(keys, &request, exporter))).await??;
        loop {
            stream.write_all(&frame.encode()).await?;
            stream.flush().await?;
            let mut prefix = [0; LENGTH_PREFIX_BYTES];
            stream.read_exact(&mut prefix).await?;
            let length = frame_length(prefix).map_err(|error| MemberError::Hub(error.to_string()))?;
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await?;
            let heard = HubFrame::decode(&body).map_err(|error| MemberError::Hub(error.to_string()))?;
            let step;
            (exchange, step) = self
                .tpm
                .acall(move |keys| {
                    let step = exchange.answer(keys, heard);
                    Ok((exchange, step))
                })
                .await?;
            match step? {
                Step::Send(next) => frame = next,
                Step::End(outcome) => return Ok(outcome),
            }
        }
    }

    async fn call(&self, config: Arc<ClientConfig>) -> Result<TlsStream<TcpStream>, MemberError> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((self.from, 0).into())?;
        let tcp = socket.connect(self.hub).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        Ok(TlsConnector::from(config).connect(name, tcp).await?)
    }

    /// Opens an MQTT session with its certificate. The hub may refuse, which is no failure.
    ///
    /// # Errors
    /// The connection fails, or the TPM.
    pub async fn connect(&self) -> Result<Result<Session, SessionEnd>, MemberError> {
        let stream = self.call(self.dialects.session.clone()).await?;
        let mut session = Session { stream, decoder: Decoder::client(Version::V5) };
        let client_id = self.id.as_str().parse().map_err(io::Error::other)?;
        let connect = Connect {
            version: Version::V5,
            clean_start: true,
            keep_alive_s: 0,
            client_id: Some(client_id),
            username: None,
            password: None,
            will: None,
            properties: ConnectProperties::default(),
        };
        // Whoever is refused already is told so by reading.
        let _ = session.send(&Packet::Connect(Box::new(connect))).await;
        match timeout(ANSWER_TIME_MAX, session.next()).await {
            Ok(Ok(Packet::ConnAck(ack))) if ack.code == ReasonCode::Success => Ok(Ok(session)),
            Ok(Ok(Packet::ConnAck(ack))) => {
                let reason = ack.properties.reason.as_deref().unwrap_or_default().to_owned();
                Ok(Err(SessionEnd::Told(ack.code, reason)))
            }
            Ok(Ok(other)) => Err(MemberError::Hub(format!("it answered CONNECT with {other:?}"))),
            Ok(Err(end)) => Ok(Err(end)),
            Err(_) => Err(MemberError::Hub("it does not answer CONNECT".to_owned())),
        }
    }
}

impl Session {
    /// Waits for the end of the session, for so long; none if it goes on.
    pub async fn ended(&mut self, within: Duration) -> Option<SessionEnd> {
        let ending = async {
            loop {
                match self.next().await {
                    Ok(Packet::Disconnect(disconnect)) => {
                        let reason = disconnect.reason.as_deref().unwrap_or_default().to_owned();
                        return SessionEnd::Told(disconnect.code, reason);
                    }
                    Ok(_) => {}
                    Err(end) => return end,
                }
            }
        };
        timeout(within, ending).await.ok()
    }

    /// Whether the hub still answers.
    pub async fn is_open(&mut self) -> bool {
        let asking = async {
            self.send(&Packet::PingReq).await?;
            Ok::<_, io::Error>(matches!(self.next().await, Ok(Packet::PingResp)))
        };
        matches!(timeout(ANSWER_TIME_MAX, asking).await, Ok(Ok(true)))
    }

    async fn send(&mut self, packet: &Packet) -> io::Result<()> {
        let mut outgoing = Outgoing::default();
        encode(packet, Version::V5, &mut outgoing);
        for chunk in outgoing.take_chunks() {
            self.stream.write_all(&chunk).await?;
        }
        self.stream.flush().await
    }

    async fn next(&mut self) -> Result<Packet, SessionEnd> {
        loop {
            match self.decoder.next() {
                Ok(Some(packet)) => return Ok(packet),
                Ok(None) => {}
                Err(_) => return Err(SessionEnd::Closed),
            }
            let buffer: &mut BytesMut = self.decoder.buffer();
            if self.stream.read_buf(buffer).await.unwrap_or(0) == 0 {
                return Err(SessionEnd::Closed);
            }
        }
    }
}
