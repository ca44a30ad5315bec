//! Other brokers of this machine, each as a process in its best sensible configuration: nothing limited that the load
//! does not limit itself, nothing logged, small packets sent at once where that can be said.

use std::{
    env, fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::{BenchError, authority::Authority, limits::PEER_START_TIME_MAX};
use crate::process::{Process, ProcessError, now};

/// How long one look at a starting peer waits for it to say something.
const LOOK_TIME: Duration = Duration::from_millis(50);

/// A broker that may be installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Make {
    /// Mosquitto, of Debian.
    Mosquitto,
    /// FlashMQ, if its program is there.
    FlashMq,
    /// nats-server with MQTT on, of Debian.
    Nats,
    /// rumqttd, of crates.io.
    Rumqttd,
    /// RMQTT, of crates.io.
    Rmqtt,
}

/// All of them, in the order of the page.
pub const MAKES: [Make; 5] = [Make::FlashMq, Make::Rumqttd, Make::Nats, Make::Mosquitto, Make::Rmqtt];

/// Where a peer listens, and where its files are.
struct Site<'a> {
    plain: u16,
    tls: u16,
    other: u16,
    folder: &'a Path,
    authority: &'a Authority,
}

/// A running peer.
pub struct Peer {
    /// What its program says its version is.
    pub version: String,
    /// Where it speaks MQTT over plain TCP.
    pub plain: SocketAddr,
    /// Where over mutual TLS, if it was configured so.
    pub tls: Option<SocketAddr>,
    process: Process,
}

impl Make {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mosquitto => "Mosquitto",
            Self::FlashMq => "FlashMQ",
            Self::Nats => "NATS",
            Self::Rumqttd => "rumqttd",
            Self::Rmqtt => "RMQTT",
        }
    }

    /// Where its program is: in a folder of `MUSTER_PEERS`, on the path, or where Debian puts daemons.
    pub fn find(self) -> Option<PathBuf> {
        let program = match self {
            Self::Mosquitto => "mosquitto",
            Self::FlashMq => "flashmq",
            Self::Nats => "nats-server",
            Self::Rumqttd => "rumqttd",
            Self::Rmqtt => "rmqttd",
        };
        let named = env::var_os("MUSTER_PEERS").unwrap_or_default();
        let path = env::var_os("PATH").unwrap_or_default();
        let folders =
            env::split_paths(&named).chain(env::split_paths(&path)).chain([PathBuf::from("/usr/sbin")]);
        // It is started in a folder of its own, from which a relative path leads elsewhere.
        let found = folders.map(|folder| folder.join(program)).find(|path| path.is_file())?;
        fs::canonicalize(found).ok()
    }

    fn version(self, program: &Path) -> String {
        let flag = if self == Self::Mosquitto { "-h" } else { "--version" };
        let said = Command::new(program).arg(flag).output().map(|output| output.stdout).unwrap_or_default();
        version_in(&String::from_utf8_lossy(&said)).unwrap_or_else(|| "version unknown".to_owned())
    }

    fn command(self, program: &Path, site: &Site<'_>) -> Result<Command, BenchError> {
        let Site { folder, .. } = site;
        let mut command = Command::new(program);
        let (name, text) = match self {
            Self::Mosquitto => ("mosquitto.conf", mosquitto(site)),
            Self::FlashMq => ("flashmq.conf", flashmq(site)),
            Self::Nats => ("nats.conf", nats(site)),
            Self::Rumqttd => ("rumqttd.toml", rumqttd(site)),
            Self::Rmqtt => ("rmqtt.toml", rmqtt(site)),
        };
        let path = folder.join(name);
        fs::write(&path, text)?;
        match self {
            Self::Rmqtt => command.arg("-f").arg(path),
            _ => command.arg("-c").arg(path),
        };
        command.current_dir(folder);
        Ok(command)
    }

    /// Whether the configuration here has a TLS listener.
    fn has_tls(self) -> bool {
        matches!(self, Self::Mosquitto | Self::FlashMq | Self::Rumqttd | Self::Rmqtt)
    }
}

impl Peer {
    /// Starts it in a folder of its own and waits until it answers.
    ///
    /// # Errors
    /// It ended, or did not listen in time.
    pub fn start(
        make: Make,
        program: &Path,
        folder: &Path,
        authority: &Authority,
    ) -> Result<Self, BenchError> {
        fs::create_dir_all(folder)?;
        let site = Site { plain: free_port()?, tls: free_port()?, other: free_port()?, folder, authority };
        let mut process = Process::start(make.name(), &mut make.command(program, &site)?)?;
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let plain = at(site.plain);
        let tls = make.has_tls().then(|| at(site.tls));
        let deadline = now() + PEER_START_TIME_MAX;
        while !listens(plain) || tls.is_some_and(|tls| !listens(tls)) {
            match process.wait_line("its listeners", LOOK_TIME, |_| None::<()>) {
                Err(ProcessError::TimedOut { .. }) if now() < deadline => {}
                Err(error) => return Err(error.into()),
                Ok(()) => {}
            }
        }
        Ok(Self { version: make.version(program), plain, tls, process })
    }

    /// Its process.
    pub fn id(&mut self) -> u32 {
        // What it has written is taken, so that it never waits for us to read it.
        self.process.take_lines();
        self.process.id()
    }
}

fn listens(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, LOOK_TIME).is_ok()
}

fn free_port() -> Result<u16, BenchError> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// The first word that looks like a version.
fn version_in(text: &str) -> Option<String> {
    let words = text.split_whitespace().map(|word| word.trim_start_matches('v').trim_end_matches([',', ';']));
    let is_version = |word: &&str| {
        word.starts_with(|first: char| first.is_ascii_digit()) && word.matches('.').count() >= 1
    };
    words.filter(is_version).map(str::to_owned).next()
}

fn mosquitto(site: &Site<'_>) -> String {
    let Site { plain, tls, authority, .. } = site;
    let [root, server, key] =
        [&authority.root, &authority.server, &authority.server_key].map(|path| path.display());
    format!(
        "allow_anonymous true\nset_tcp_nodelay true\nmax_queued_messages 0\nmax_inflight_messages 0\n\
         persistence false\nlog_type error\n\
         listener {plain} 127.0.0.1\n\
         listener {tls} 127.0.0.1\ncafile {root}\ncertfile {server}\nkeyfile {key}\nrequire_certificate true\n"
    )
}

fn flashmq(site: &Site<'_>) -> String {
    let Site { plain, tls, folder, authority, .. } = site;
    let [root, server, key] =
        [&authority.root, &authority.server, &authority.server_key].map(|path| path.display());
    let folder = folder.display();
    format!(
        "allow_anonymous true\nlog_level none\nstorage_dir {folder}\n\
         max_qos_msg_pending_per_client 65535\nmax_qos_bytes_pending_per_client 104857600\n\
         client_max_write_buffer_size 16777216\n\
         listen {{\n  protocol mqtt\n  port {plain}\n  inet4_bind_address 127.0.0.1\n  \
         inet_protocol ip4\n  tcp_nodelay true\n}}\n\
         listen {{\n  protocol mqtt\n  port {tls}\n  inet4_bind_address 127.0.0.1\n  inet_protocol ip4\n  \
         tcp_nodelay true\n  fullchain {server}\n  privkey {key}\n  client_verification_ca_file {root}\n  \
         client_verification_still_do_authn true\n}}\n"
    )
}

fn nats(site: &Site<'_>) -> String {
    let Site { plain, other, folder, .. } = site;
    let store = folder.join("store");
    format!(
        "server_name: bench\nlisten: \"127.0.0.1:{other}\"\nmax_connections: 70000\n\
         jetstream {{ store_dir: \"{}\", max_mem: 1G, max_file: 10G }}\n\
         mqtt {{ listen: \"127.0.0.1:{plain}\", max_ack_pending: 65535 }}\n",
        store.display()
    )
}

fn rumqttd(site: &Site<'_>) -> String {
    let Site { plain, tls, authority, .. } = site;
    let [root, server, key] =
        [&authority.root, &authority.server, &authority.server_key].map(|path| path.display());
    let connections = "connection_timeout_ms = 60000\nmax_payload_size = 1048576\nmax_inflight_count = 100\n\
                       dynamic_filters = true\n";
    format!(
        "id = 0\n[router]\nid = 0\nmax_connections = 20010\nmax_outgoing_packet_count = 200\n\
         max_segment_size = 104857600\nmax_segment_count = 10\n\
         [v4.1]\nname = \"plain\"\nlisten = \"127.0.0.1:{plain}\"\nnext_connection_delay_ms = 1\n\
         [v4.1.connections]\n{connections}\
         [v4.2]\nname = \"tls\"\nlisten = \"127.0.0.1:{tls}\"\nnext_connection_delay_ms = 1\n\
         [v4.2.tls]\ncapath = \"{root}\"\ncertpath = \"{server}\"\nkeypath = \"{key}\"\n\
         [v4.2.connections]\n{connections}"
    )
}

fn rmqtt(site: &Site<'_>) -> String {
    let Site { plain, tls, other, folder, authority } = site;
    let [root, server, key] =
        [&authority.root, &authority.server, &authority.server_key].map(|path| path.display());
    let folder = folder.display();
    let limits = "allow_anonymous = true\nmax_connections = 100000\nmax_handshaking_limit = 5000\n\
                  max_inflight = 1000\nmax_mqueue_len = 100000\nnodelay = true\nmqueue_rate_limit = \"1000000/1s\"\n";
    format!(
        "[node]\nid = 1\n[rpc]\nserver_addr = \"127.0.0.1:{other}\"\n[log]\nto = \"console\"\nlevel = \"error\"\n\
         [plugins]\ndir = \"{folder}\"\ndefault_startups = []\n\
         [listener.tcp.external]\nenable = true\naddr = \"127.0.0.1:{plain}\"\n{limits}\
         [listener.tls.external]\nenable = true\naddr = \"127.0.0.1:{tls}\"\ncross_certificate = true\n\
         cert = \"{server}\"\nkey = \"{key}\"\nclient_ca_certs = \"{root}\"\n{limits}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_say() {
        assert_eq!(version_in("mosquitto version 2.0.11\n\nmosquitto is"), Some("2.0.11".to_owned()));
        assert_eq!(version_in("nats-server: v2.9.10"), Some("2.9.10".to_owned()));
        assert_eq!(version_in("FlashMQ Version 1.26.2 with SSE4.2"), Some("1.26.2".to_owned()));
        assert_eq!(version_in("no such option"), None);
    }
}
