//! The hub beside other brokers: the same load to each in turn, each as a new process, several rounds, medians.
//!
//! A round measures every broker once before the next round measures any again, so that what else the machine does
//! meets them all.

use std::{
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::{
    BenchError, TENANT,
    authority::Authority,
    limits::{GENERATOR_BUSY_PERCENT, IDLE_PLAIN, IDLE_TLS, STORM_TLS},
    page::{Section, grouped},
    peer::{MAKES, Make, Peer},
    pin::Places,
};
use crate::{
    app::App,
    hub::Hub,
    load::{self, LoadOptions, Report, dial::TlsFiles},
};

/// One line of the page.
struct Line {
    what: String,
    load: String,
    is_tls: bool,
    places: Places,
    shows: Shows,
}

/// What a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shows {
    /// Deliveries a second and processor time for each.
    Rate,
    /// How long messages take.
    Latency,
    /// Memory of a connection.
    Memory,
    /// Connections a second and processor time for each.
    Connects,
}

/// What is measured.
fn lines(seconds: f64) -> Vec<Line> {
    let line = |what: &str, load: &str, shows| Line {
        what: what.to_owned(),
        load: format!("{load} --seconds {seconds}"),
        is_tls: false,
        places: Places::Free,
        shows,
    };
    let latency = |on: &str, places| Line {
        places,
        ..line(
            &format!(
                "50 pairs at 10,000 messages a second, QoS 1, broker and load on {on}: p50 / p99 / p99.9"
            ),
            "latency --qos 1",
            Shows::Latency,
        )
    };
    let tls = |what: &str, load: &str, shows| Line { is_tls: true, ..line(what, load, shows) };
    vec![
        line("fan-in 50 → 1, QoS 0, 64 B", "fan-in", Shows::Rate),
        line("fan-in 50 → 1, QoS 1, 64 B", "fan-in --qos 1", Shows::Rate),
        line("pairs 50 ↔ 50, QoS 1, 256 B", "pairs --qos 1 --size 256", Shows::Rate),
        line("fan-out 1 → 100, QoS 0, 64 B", "fan-out --outstanding 6400", Shows::Rate),
        latency("one processor", Places::Together),
        latency("two processors", Places::Apart),
        line(
            &format!("{} idle connections: bytes of each", grouped(IDLE_PLAIN as usize)),
            &format!("idle --connections {IDLE_PLAIN}"),
            Shows::Memory,
        ),
        tls("fan-in 50 → 1, QoS 0, 64 B, mutual TLS", "fan-in", Shows::Rate),
        tls("pairs 50 ↔ 50, QoS 1, 256 B, mutual TLS", "pairs --qos 1 --size 256", Shows::Rate),
        tls(
            &format!("{} idle connections, mutual TLS: bytes of each", grouped(IDLE_TLS as usize)),
            &format!("idle --connections {IDLE_TLS}"),
            Shows::Memory,
        ),
        tls(
            &format!("{} connections, mutual TLS, full handshakes", grouped(STORM_TLS as usize)),
            &format!("storm --connections {STORM_TLS}"),
            Shows::Connects,
        ),
    ]
}

/// A broker that is measured.
enum Broker {
    Hub,
    Peer(Make, PathBuf),
}

/// Who runs right now.
struct Running {
    pid: u32,
    plain: SocketAddr,
    tls: Option<(SocketAddr, TlsFiles)>,
    version: String,
    /// Ends with it.
    _peer: Option<Peer>,
}

/// The hub, the peers that are installed, and what they need.
pub struct Versus<'a> {
    hub: Hub,
    app: App,
    brokers: Vec<(Broker, String)>,
    authority: Authority,
    folder: &'a Path,
    rounds: usize,
    seconds: f64,
}

impl<'a> Versus<'a> {
    /// Prepares a hub with one tenant, and looks which peers are there.
    ///
    /// # Errors
    /// The hub refuses, or the folder cannot be written.
    pub fn prepare(
        folder: &'a Path,
        maker_root: &Path,
        rounds: usize,
        seconds: f64,
    ) -> Result<Self, BenchError> {
        let authority = Authority::make(&folder.join("authority"))?;
        let mut hub = Hub::init(&folder.join("versus"), maker_root)?;
        hub.start()?;
        hub.operate(&["tenant", "create", TENANT, "--accept-simulated-tpms"])?;
        let app = App::create(&hub, TENANT, "versus", folder.join("versus-app"))?;
        hub.stop();
        hub.set("MUSTER__LIMITS__CONNECTIONS_MAX", &(IDLE_PLAIN.max(IDLE_TLS) + 1_000).to_string());
        hub.open_plain(TENANT);
        let peers = MAKES.iter().filter_map(|&make| Some((Broker::Peer(make, make.find()?), String::new())));
        let brokers =
            [(Broker::Hub, env!("CARGO_PKG_VERSION").to_owned())].into_iter().chain(peers).collect();
        Ok(Self { hub, app, brokers, authority, folder, rounds, seconds })
    }

    /// Measures every line, telling each as it comes.
    ///
    /// # Errors
    /// The hub fails. A peer that fails is told in its place.
    pub fn measure(&mut self, out: &mut dyn Write) -> Result<Section, BenchError> {
        let mut rows = Vec::new();
        for line in lines(self.seconds) {
            let row = self.line(&line)?;
            writeln!(out, "  {}: {}", line.what, row.join(" | "))?;
            rows.push((line.what, row));
        }
        let names = self.brokers.iter().map(|(broker, version)| format!("{} {version}", broker.name()));
        let columns: Vec<_> = names.chain(["hub ÷ best peer".to_owned()]).collect();
        let mut section = Section::with_columns("Beside other brokers", columns);
        for (what, cells) in rows {
            section.cells(what, cells);
        }
        section.note(format!(
            "Medians of {} rounds of {} s; in each round every broker was started anew and measured in turn. Rates are \
             deliveries (or connections) a second; µs is the broker's processor time for each. A rate with * kept the \
             generator busy for more than {GENERATOR_BUSY_PERCENT} % of a processor, and may be the generator's. The \
             last column compares µs, p99 or bytes. Topics, limits and authorization of the hub are as in production; \
             its plain listener takes everybody as one app.",
            self.rounds, self.seconds
        ));
        Ok(section)
    }

    fn line(&mut self, line: &Line) -> Result<Vec<String>, BenchError> {
        let options = LoadOptions::read(&line.load).map_err(BenchError::Odd)?;
        let mut seen: Vec<Vec<Result<Report, String>>> = self.brokers.iter().map(|_| Vec::new()).collect();
        for round in 0..self.rounds {
            for (place, reports) in seen.iter_mut().enumerate() {
                let name = format!("{}-{round}", place);
                let report = self.once(place, &name, line, options.clone());
                match report {
                    Ok(Some(report)) => reports.push(Ok(report)),
                    Ok(None) => {}
                    Err(error) if place == 0 => return Err(error),
                    Err(error) => reports.push(Err(error.to_string())),
                }
            }
        }
        let cells = seen.iter().map(|reports| cell(line.shows, reports));
        let cells: Vec<_> = cells.collect();
        let ratio = ratio(cells.iter().map(|(_, metric)| *metric));
        Ok(cells.into_iter().map(|(text, _)| text).chain([ratio]).collect())
    }

    /// One broker, started anew and measured; nothing if it has no such listener.
    fn once(
        &mut self,
        place: usize,
        name: &str,
        line: &Line,
        mut options: LoadOptions,
    ) -> Result<Option<Report>, BenchError> {
        let running = self.start(place, name)?;
        if let Some((_, version)) = self.brokers.get_mut(place) {
            version.clone_from(&running.version);
        }
        if line.is_tls {
            let Some((address, files)) = &running.tls else { return Ok(None) };
            options.aim(*address, Some(files), running.pid);
        } else {
            options.aim(running.plain, None, running.pid);
        }
        let pinned = line.places.pin(running.pid)?;
        let report = load::run(&options);
        drop((pinned, running));
        if place == 0 {
            self.hub.stop();
        }
        Ok(Some(report?))
    }

    fn start(&mut self, place: usize, name: &str) -> Result<Running, BenchError> {
        match self.brokers.get(place) {
            Some((Broker::Peer(make, program), _)) => {
                let folder = self.folder.join(format!("{}-{name}", make.name()));
                let mut peer = Peer::start(*make, program, &folder, &self.authority)?;
                let Authority { root, client, client_key, .. } = &self.authority;
                let files = TlsFiles {
                    roots: root.clone(),
                    identity: Some((client.clone(), client_key.clone())),
                    server_name: "localhost".to_owned(),
                };
                Ok(Running {
                    pid: peer.id(),
                    plain: peer.plain,
                    tls: peer.tls.map(|tls| (tls, files)),
                    version: peer.version.clone(),
                    _peer: Some(peer),
                })
            }
            _ => {
                self.hub.start()?;
                let files = TlsFiles {
                    roots: self.app.folder.join("ca.pem"),
                    identity: Some((self.app.folder.join("cert.pem"), self.app.folder.join("key.pem"))),
                    server_name: "localhost".to_owned(),
                };
                let address = |text: &str| {
                    text.parse().map_err(|_| BenchError::Odd(format!("the hub listens on {text:?}")))
                };
                let (plain, tls) = (address(self.hub.plain())?, address(self.hub.mqtt())?);
                let process = self.hub.process().map(|process| process.id());
                let pid = process.ok_or_else(|| BenchError::Odd("the hub does not run".to_owned()))?;
                let version = env!("CARGO_PKG_VERSION").to_owned();
                Ok(Running { pid, plain, tls: Some((tls, files)), version, _peer: None })
            }
        }
    }
}

impl Broker {
    fn name(&self) -> &'static str {
        match self {
            Self::Hub => "**hub**",
            Self::Peer(make, _) => make.name(),
        }
    }
}

/// What a broker's reports say, and the number that is compared.
fn cell(shows: Shows, reports: &[Result<Report, String>]) -> (String, Option<f64>) {
    let good: Vec<&Report> = reports.iter().filter_map(|report| report.as_ref().ok()).collect();
    if good.is_empty() {
        let first = reports.iter().find_map(|report| report.as_ref().err());
        return (first.map_or_else(|| "–".to_owned(), |error| format!("failed: {error}")), None);
    }
    let all = |number: &dyn Fn(&Report) -> Option<f64>| {
        median(good.iter().filter_map(|report| number(report)).collect())
    };
    let rate = all(&|report| Some(report.rate)).unwrap_or_default();
    let us = all(&|report| report.broker_us);
    let busy = all(&|report| report.number("own_cpu_percent")).unwrap_or_default();
    let star = if busy > GENERATOR_BUSY_PERCENT { "\\*" } else { "" };
    let rate = format!("{} /s{star}", short(rate));
    let (mut text, metric) = match shows {
        Shows::Rate => (format!("{rate} · {:.2} µs", us.unwrap_or_default()), us),
        Shows::Connects => (format!("{rate} · {:.0} µs", us.unwrap_or_default()), us),
        Shows::Latency => {
            let of = |quantile: fn(&load::Quantiles) -> f64| {
                all(&|report| report.quantiles.as_ref().map(quantile)).unwrap_or_default()
            };
            let (p50, p99, p999) = (of(|q| q.p50), of(|q| q.p99), of(|q| q.p999));
            (format!("{p50:.2} / {p99:.2} / {p999:.2} ms"), Some(p99))
        }
        Shows::Memory => {
            let bytes = all(&|report| report.bytes_each);
            (format!("{} B", grouped(bytes.unwrap_or_default() as usize)), bytes)
        }
    };
    let sum = |number: fn(&Report) -> u64| good.iter().map(|report| number(report)).sum::<u64>();
    for (count, word) in [
        (sum(|report| report.tally.lost), "lost"),
        (sum(|report| report.tally.duplicated), "doubled"),
        (sum(|report| report.tally.out_of_order), "out of order"),
    ] {
        if count > 0 {
            text.push_str(&format!(", {} {word}", grouped(usize::try_from(count).unwrap_or(usize::MAX))));
        }
    }
    if good.len() < reports.len() {
        text.push_str(&format!(", failed in {} of {} rounds", reports.len() - good.len(), reports.len()));
    }
    (text, metric)
}

/// The first number against the smallest of the others.
fn ratio(mut metrics: impl Iterator<Item = Option<f64>>) -> String {
    let hub = metrics.next().flatten();
    let best = metrics.flatten().min_by(f64::total_cmp).filter(|best| *best > 0.0);
    hub.zip(best).map_or_else(|| "–".to_owned(), |(hub, best)| format!("{:.2}", hub / best))
}

/// The middle one; of two the smaller.
fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len().saturating_sub(1) / 2).copied()
}

/// A rate as a person compares it.
fn short(rate: f64) -> String {
    if rate >= 9_999.5 { format!("{:.0}k", rate / 1_000.0) } else { grouped(rate.round() as usize) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_load_that_can_be_run() {
        for line in lines(3.0) {
            let options = LoadOptions::read(&line.load).unwrap();
            assert_eq!(options.seconds, 3.0, "{}", line.what);
        }
    }

    #[test]
    fn the_hub_is_compared_with_the_best_of_the_others() {
        assert_eq!(ratio([Some(1.0), Some(4.0), None, Some(2.0)].into_iter()), "0.50");
        assert_eq!(ratio([None, Some(4.0)].into_iter()), "–");
        assert_eq!(ratio([Some(1.0), None].into_iter()), "–");
    }

    #[test]
    fn medians_and_rates_are_short() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(Vec::new()), None);
        assert_eq!((short(884_213.0), short(1_001.4)), ("884k".to_owned(), "1,001".to_owned()));
    }

    #[test]
    fn a_peer_that_always_fails_says_why_and_is_not_compared() {
        let reports = [Err("refused".to_owned())];
        assert_eq!(cell(Shows::Rate, &reports), ("failed: refused".to_owned(), None));
        assert_eq!(cell(Shows::Rate, &[]), ("–".to_owned(), None));
    }
}
