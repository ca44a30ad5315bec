//! What load is wanted, from the command line or from the benchmarks.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, Parser, ValueEnum};
use muster_mqtt::Version;

use super::{dial::TlsFiles, ledger::STAMP_BYTES};

/// Who publishes to whom, or what is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Many publishers, each with its own topic, to one subscriber of them all.
    FanIn,
    /// One publisher to many subscribers of its topic.
    FanOut,
    /// Many publishers, each to a subscriber of its own.
    Pairs,
    /// Pairs at a fixed rate (--rate); tells how long messages take.
    Latency,
    /// Connections opened and closed one after another, each with a full handshake.
    Storm,
    /// Connections opened and held: what each costs the broker to open, and in memory.
    Idle,
}

/// A protocol version as it is named on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// MQTT 3.1.1.
    #[value(name = "3.1.1")]
    V311,
    /// MQTT 5.
    #[value(name = "5")]
    V5,
}

impl From<Protocol> for Version {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::V311 => Self::V311,
            Protocol::V5 => Self::V5,
        }
    }
}

/// One run of load.
#[derive(Debug, Clone, Args)]
pub struct LoadOptions {
    /// Who publishes to whom, or what is opened.
    pub scenario: Scenario,
    /// The broker's address.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub host: IpAddr,
    /// The broker's port; 1883, or 8883 with --cafile.
    #[arg(long)]
    pub port: Option<u16>,
    /// Root certificate of the broker, in PEM. Turns TLS on.
    #[arg(long, value_name = "FILE")]
    pub cafile: Option<PathBuf>,
    /// The client's certificate chain, in PEM, for mutual TLS.
    #[arg(long, value_name = "FILE", requires = "key", requires = "cafile")]
    pub cert: Option<PathBuf>,
    /// The client's key, in PEM.
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// The name that the broker's certificate carries.
    #[arg(long, default_value = "localhost", value_name = "NAME")]
    pub server_name: String,
    /// The protocol version.
    #[arg(long, value_enum, default_value = "3.1.1")]
    pub protocol: Protocol,
    /// Publishers (fan-in) or pairs.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub publishers: u32,
    /// Subscribers (fan-in: 1 unless said; fan-out: 100 unless said).
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub subscribers: Option<u32>,
    /// Quality of service of messages and subscriptions.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub qos: u8,
    /// Bytes of a payload.
    #[arg(long, default_value_t = 64, value_name = "BYTES",
          value_parser = clap::value_parser!(u32).range(STAMP_BYTES as i64..=1_048_576))]
    pub size: u32,
    /// Deliveries that may be outstanding in all, so that no broker has to drop any; 0 sends as fast as TCP takes it.
    #[arg(long, default_value_t = 1_600, value_name = "COUNT",
          value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub outstanding: u32,
    /// Messages that one publisher sends at once, when so many may be outstanding.
    #[arg(long, default_value_t = 32, value_name = "COUNT",
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub burst: u32,
    /// Messages of one publisher without acknowledgement, at QoS 1 and 2.
    #[arg(long, default_value_t = 64, value_name = "COUNT",
          value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub window: u16,
    /// Messages a second over all publishers (latency: 10000 unless said); without it as fast as the broker.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: Option<u32>,
    /// Seconds that are measured.
    #[arg(long, default_value_t = 5.0, value_name = "SECONDS", value_parser = seconds)]
    pub seconds: f64,
    /// Seconds of the same load before that, which are not.
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS", value_parser = seconds)]
    pub warm_up: f64,
    /// Subscribers keep their sessions beyond their connections; they are ended after the run.
    #[arg(long)]
    pub persistent: bool,
    /// Topics are <prefix>/<number of the publisher>/<suffix>. With Muster this decides what is durable.
    #[arg(long, default_value = "load", value_name = "LEVELS")]
    pub topic_prefix: String,
    /// The last level of the topics.
    #[arg(long, default_value = "t", value_name = "LEVELS")]
    pub topic_suffix: String,
    /// Connections (storm: in all; idle: at one time).
    #[arg(long, default_value_t = 1_000, value_name = "COUNT",
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub connections: u32,
    /// Connections being opened at one time.
    #[arg(long, default_value_t = 32, value_name = "COUNT",
          value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub opening: u32,
    /// Seconds that idle connections are held before memory is looked at.
    #[arg(long, default_value_t = 3.0, value_name = "SECONDS", value_parser = seconds)]
    pub hold: f64,
    /// Loopback addresses to come from in turn; more than 20,000 connections need more than one.
    #[arg(long, default_value_t = 1, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=250))]
    pub sources: u16,
    /// The broker's process, for its processor time and memory.
    #[arg(long)]
    pub pid: Option<u32>,
    /// Print one line of JSON.
    #[arg(long)]
    pub json: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.0..=600.0).contains(&seconds) => Ok(seconds),
        _ => Err("must be a number of seconds from 0 to 600".to_owned()),
    }
}

/// A command line of its own, for who writes one in a program.
#[derive(Debug, Parser)]
#[command(name = "load", no_binary_name = true)]
struct Line {
    #[command(flatten)]
    load: LoadOptions,
}

impl LoadOptions {
    /// Reads what would follow `muster-sim load`, such as `fan-in --qos 1`.
    ///
    /// # Errors
    /// It makes no sense; the text says what.
    pub fn read(line: &str) -> Result<Self, String> {
        let parsed = Line::try_parse_from(line.split_whitespace());
        parsed.map(|line| line.load).map_err(|error| error.to_string())
    }

    /// Turns to a broker, with TLS if there are files for it.
    pub fn aim(&mut self, address: SocketAddr, tls: Option<&TlsFiles>, pid: u32) {
        self.host = address.ip();
        self.port = Some(address.port());
        self.pid = Some(pid);
        self.cafile = tls.map(|tls| tls.roots.clone());
        let (cert, key) = tls.and_then(|tls| tls.identity.clone()).unzip();
        (self.cert, self.key) = (cert, key);
        if let Some(tls) = tls {
            self.server_name.clone_from(&tls.server_name);
        }
    }

    /// Where the broker is.
    pub fn address(&self) -> SocketAddr {
        let usual = if self.cafile.is_some() { 8_883 } else { 1_883 };
        SocketAddr::new(self.host, self.port.unwrap_or(usual))
    }

    /// The files of the TLS client, if TLS is wanted.
    pub fn tls(&self) -> Option<TlsFiles> {
        let roots = self.cafile.clone()?;
        let identity = self.cert.clone().zip(self.key.clone());
        Some(TlsFiles { roots, identity, server_name: self.server_name.clone() })
    }

    /// Messages a second, if that is fixed.
    pub fn fixed_rate(&self) -> Option<u32> {
        const LATENCY_RATE: u32 = 10_000;
        self.rate.or((self.scenario == Scenario::Latency).then_some(LATENCY_RATE))
    }

    /// How long is measured.
    pub fn measured_time(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    /// How long the load runs before that.
    pub fn warm_up_time(&self) -> Duration {
        Duration::from_secs_f64(self.warm_up)
    }

    /// How long idle connections are held.
    pub fn hold_time(&self) -> Duration {
        Duration::from_secs_f64(self.hold)
    }

    /// Who publishes to whom.
    pub fn plan(&self) -> Plan {
        let everyone = |count: u32| Listener { filter: self.topic("+"), first: 0, count };
        let pair =
            |number: u32| Listener { filter: self.topic(&number.to_string()), first: number, count: 1 };
        let publishers = if self.scenario == Scenario::FanOut { 1 } else { self.publishers };
        let listeners: Vec<_> = match self.scenario {
            Scenario::FanIn => (0..self.subscribers.unwrap_or(1)).map(|_| everyone(publishers)).collect(),
            Scenario::FanOut => (0..self.subscribers.unwrap_or(100)).map(|_| pair(0)).collect(),
            Scenario::Pairs | Scenario::Latency => (0..publishers).map(pair).collect(),
            Scenario::Storm | Scenario::Idle => Vec::new(),
        };
        let fan = match self.scenario {
            Scenario::FanIn | Scenario::FanOut => listeners.len() as u64,
            _ => 1,
        };
        let topics = (0..publishers).map(|number| self.topic(&number.to_string())).collect();
        Plan { topics, listeners, fan }
    }

    fn topic(&self, level: &str) -> String {
        format!("{}/{level}/{}", self.topic_prefix, self.topic_suffix)
    }
}

/// Who publishes to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Each publisher's topic.
    pub topics: Vec<String>,
    /// Who subscribes to what.
    pub listeners: Vec<Listener>,
    /// Deliveries that one message makes.
    pub fan: u64,
}

/// A subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Its one filter.
    pub filter: String,
    /// The first publisher that it hears.
    pub first: u32,
    /// How many it hears.
    pub count: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<LoadOptions, String> {
        LoadOptions::read(line)
    }

    #[test]
    fn what_is_not_said_is_the_simplest_load() {
        let load = read("fan-in").unwrap();
        assert_eq!(load.address().to_string(), "127.0.0.1:1883");
        assert_eq!((load.qos, load.size, load.publishers, load.protocol), (0, 64, 50, Protocol::V311));
        assert_eq!(
            (load.fixed_rate(), load.tls(), load.measured_time()),
            (None, None, Duration::from_secs(5))
        );
        assert_eq!(read("latency").unwrap().fixed_rate(), Some(10_000));
    }

    #[test]
    fn tls_has_its_own_port_and_a_certificate_needs_its_key() {
        let load = read("idle --cafile ca.pem --cert c.pem --key k.pem").unwrap();
        assert_eq!(load.address().port(), 8_883);
        let files = load.tls().unwrap();
        assert_eq!(files.identity, Some(("c.pem".into(), "k.pem".into())));
        assert!(read("idle --cafile ca.pem --cert c.pem").is_err());
        assert!(read("idle --cert c.pem --key k.pem").is_err());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "",
            "fan-sideways",
            "pairs --qos 3",
            "pairs --size 23",
            "pairs --seconds -1",
            "pairs --seconds nan",
            "pairs --publishers 0",
            "pairs --protocol 3.1",
        ] {
            assert!(read(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_plan_says_who_hears_whom() {
        let plan = read("fan-in --publishers 3 --topic-prefix devices").unwrap().plan();
        assert_eq!((plan.topics.len(), plan.fan), (3, 1));
        assert_eq!(plan.topics[2], "devices/2/t");
        assert_eq!(plan.listeners, [Listener { filter: "devices/+/t".into(), first: 0, count: 3 }]);
        let plan = read("fan-out --subscribers 4").unwrap().plan();
        assert_eq!((plan.topics.len(), plan.listeners.len(), plan.fan), (1, 4, 4));
        let plan = read("pairs --publishers 2").unwrap().plan();
        assert_eq!((plan.topics.len(), plan.listeners.len(), plan.fan), (2, 2, 1));
        assert_eq!(plan.listeners[1], Listener { filter: "load/1/t".into(), first: 1, count: 1 });
    }
}
