//! A server of line protocol that is installed, as a process in a folder of its own, with its defaults except where one
//! would keep it from what is measured: how long it keeps points, and how soon it compacts what nobody writes to.

use std::{
    env, fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;
use ureq::{Agent, Body, http::Response};

use super::super::{BenchError, limits::PEER_START_TIME_MAX};
use crate::{
    gauge::{Gauge, Mark, Span},
    process::{Process, ProcessError, now},
};

/// How long one look at a server waits for it to say something.
const LOOK_TIME: Duration = Duration::from_millis(200);
/// Longest wait for an answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);
/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Longest that a server may take to put in order what it was sent.
const ORDER_TIME_MAX: Duration = Duration::from_secs(120);
/// Processor time between two looks up to which a server does nothing: two ticks are many for a heart beat.
const IDLE_TIME_MAX: Duration = Duration::from_millis(15);
/// What both servers call the points of one sender.
const DATABASE: &str = "plant";

/// A server that may be installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Make {
    /// VictoriaMetrics.
    Victoria,
    /// InfluxDB 1.
    Influx,
}

/// All of them, in the order of the page.
pub const MAKES: [Make; 2] = [Make::Victoria, Make::Influx];

/// What lies in a server's folder, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Disk {
    /// All but caches.
    pub all: u64,
    /// Of that what is an index and nothing else.
    pub index: u64,
}

/// A running server.
pub struct Server {
    make: Make,
    agent: Agent,
    url: String,
    process: Process,
    gauge: Gauge,
    folder: PathBuf,
}

impl Make {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Victoria => "VictoriaMetrics",
            Self::Influx => "influxd",
        }
    }

    /// Debian's package of it.
    pub fn package(self) -> &'static str {
        match self {
            Self::Victoria => "victoria-metrics",
            Self::Influx => "influxdb",
        }
    }

    /// Where its program is: on the path, or where Debian puts it.
    pub fn find(self) -> Option<PathBuf> {
        let program = match self {
            Self::Victoria => "victoria-metrics",
            Self::Influx => "influxd",
        };
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = env::split_paths(&path).chain([PathBuf::from("/usr/bin"), PathBuf::from("/usr/sbin")]);
        folders.map(|folder| folder.join(program)).find(|path| path.is_file())
    }

    /// The version of its package.
    pub fn version(self) -> String {
        let asked = Command::new("dpkg-query").args(["-W", "-f", "${Version}", self.package()]).output();
        let said =
            asked.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
        if said.is_empty() { "of unknown version".to_owned() } else { said }
    }

    /// What of an acknowledged point a power cut may take.
    pub fn durability(self) -> &'static str {
        match self {
            Self::Victoria => "not yet: no log; parts are written and synchronised about once a second",
            Self::Influx => {
                "yes: one `fsync` of its log for each request (`wal-fsync-delay = \"0s\"`, its default)"
            }
        }
    }

    /// How long it does nothing when it has nothing more to do.
    fn rest(self) -> Duration {
        match self {
            Self::Victoria => Duration::from_secs(2),
            // Compaction of what is cold begins 3 s after the last change.
            Self::Influx => Duration::from_secs(8),
        }
    }
}

impl Server {
    /// Starts one with nothing in it.
    ///
    /// # Errors
    /// It ended, or did not answer in time.
    pub fn start(make: Make, program: &Path, folder: &Path) -> Result<Self, BenchError> {
        fs::create_dir_all(folder)?;
        let (address, other) = (free_address()?, free_address()?);
        let mut command = Command::new(program);
        match make {
            Make::Victoria => {
                command
                    .arg(format!("-httpListenAddr={address}"))
                    .arg(format!("-storageDataPath={}", folder.display()))
                    .args(["-retentionPeriod=100y", "-loggerLevel=ERROR"]);
            }
            Make::Influx => {
                let path = folder.join("influxdb.conf");
                fs::write(&path, influx_settings(folder, address, other))?;
                command.arg("-config").arg(path);
            }
        }
        command.current_dir(folder);
        let process = Process::start(make.name(), &mut command)?;
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(ANSWER_TIME_MAX))
            .proxy(None)
            .build()
            .new_agent();
        let gauge = Gauge::new(process.id());
        let folder = folder.to_owned();
        let mut server = Self { make, agent, url: format!("http://{address}"), process, gauge, folder };
        let deadline = now() + PEER_START_TIME_MAX;
        while server.get("/ping").is_err() {
            server.look()?;
            if now() > deadline {
                return Err(BenchError::Odd(format!("{} does not answer", make.name())));
            }
        }
        if make == Make::Influx {
            server.get(&format!("/query?q=CREATE%20DATABASE%20{DATABASE}"))?;
        }
        Ok(server)
    }

    /// Begins to count its processor time.
    ///
    /// # Errors
    /// It has gone.
    pub fn mark(&self) -> Result<Mark, BenchError> {
        Ok(self.gauge.mark()?)
    }

    /// What it took since.
    ///
    /// # Errors
    /// It has gone.
    pub fn since(&self, mark: Mark) -> Result<Span, BenchError> {
        Ok(self.gauge.since(mark)?)
    }

    /// The most memory it had, in KiB.
    ///
    /// # Errors
    /// It has gone.
    pub fn peak_kib(&self) -> Result<u64, BenchError> {
        Ok(self.gauge.memory()?.peak_kib)
    }

    /// Sends it lines, and waits until it has acknowledged them.
    ///
    /// # Errors
    /// It does not take them.
    pub fn write(&self, lines: &str) -> Result<(), BenchError> {
        let sent = self.agent.post(format!("{}/write?db={DATABASE}&precision=ns", self.url)).send(lines);
        self.answer("lines", sent).map(drop)
    }

    /// Has it make all durable that it has acknowledged.
    ///
    /// # Errors
    /// It does not answer.
    pub fn flush(&self) -> Result<(), BenchError> {
        match self.make {
            Make::Victoria => self.get("/internal/force_flush").map(drop),
            // It is.
            Make::Influx => Ok(()),
        }
    }

    /// Has it put in order what it has, and waits until it rests. Says what it took from `mark` until then.
    ///
    /// # Errors
    /// It does not answer, or does not come to rest.
    pub fn order(&mut self, mark: Mark) -> Result<Span, BenchError> {
        if self.make == Make::Victoria {
            self.get("/internal/force_merge")?;
        }
        let deadline = now() + ORDER_TIME_MAX;
        let (mut busy, mut seen) = (self.since(mark)?, (Duration::ZERO, Disk::default()));
        let mut rests = now();
        while now() - rests < self.make.rest() {
            self.look()?;
            let span = self.since(mark)?;
            let disk = self.disk();
            if span.cpu.saturating_sub(seen.0) > IDLE_TIME_MAX || disk != seen.1 {
                (busy, rests) = (span, now());
            }
            seen = (span.cpu, disk);
            if now() > deadline {
                return Err(BenchError::Odd(format!("{} does not come to rest", self.make.name())));
            }
        }
        Ok(busy)
    }

    /// The values of one series between two times in Unix seconds, as its own HTTP interface tells them.
    ///
    /// # Errors
    /// It does not answer.
    pub fn range(&self, device: &str, name: &str, (from_s, to_s): (f64, f64)) -> Result<String, BenchError> {
        let path = match self.make {
            Make::Victoria => format!(
                "/api/v1/export?match%5B%5D=climate_{name}%7Bdevice%3D%22{device}%22%7D&start={from_s:.3}&end={:.3}",
                to_s - 0.001
            ),
            Make::Influx => format!(
                "/query?db={DATABASE}&epoch=ms&q=SELECT%20{name}%20FROM%20climate%20WHERE%20device%3D'{device}'\
                 %20AND%20time%3E%3D{:.0}ms%20AND%20time%3C{:.0}ms",
                from_s * 1_000.0,
                to_s * 1_000.0
            ),
        };
        self.get(&path)
    }

    /// The numbers in such an answer, by time.
    pub fn numbers(&self, answer: &str) -> Vec<f64> {
        let answer: Value = serde_json::from_str(answer).unwrap_or_default();
        let list = |found: Option<&Value>| found.and_then(Value::as_array).cloned().unwrap_or_default();
        let values = match self.make {
            Make::Victoria => list(answer.get("values")),
            Make::Influx => {
                let rows = list(answer.pointer("/results/0/series/0/values"));
                rows.iter().filter_map(|row| row.get(1).cloned()).collect()
            }
        };
        values.iter().filter_map(Value::as_f64).collect()
    }

    /// What lies in its folder. Of a file with holes, what is there counts.
    pub fn disk(&self) -> Disk {
        let (index, cache) = match self.make {
            Make::Victoria => ("indexdb", "cache"),
            // The rest of its index is within TSM files and in memory (`index-version = "inmem"`, its default).
            Make::Influx => ("_series", ""),
        };
        let all = bytes_below(&self.folder, &|name| name != cache && name != "influxdb.conf");
        let others =
            bytes_below(&self.folder, &|name| name != cache && name != "influxdb.conf" && name != index);
        Disk { all, index: all.saturating_sub(others) }
    }

    /// Ends it in its own time, and says what is in its folder then.
    pub fn stop(mut self) -> Disk {
        self.process.stop();
        self.disk()
    }

    /// Waits a moment, unless it has ended.
    fn look(&mut self) -> Result<(), BenchError> {
        match self.process.wait_line("rest", LOOK_TIME, |_| None::<()>) {
            Ok(()) | Err(ProcessError::TimedOut { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn get(&self, path: &str) -> Result<String, BenchError> {
        self.answer(path, self.agent.get(format!("{}{path}", self.url)).call())
    }

    fn answer(&self, what: &str, answer: Result<Response<Body>, ureq::Error>) -> Result<String, BenchError> {
        let odd = |said: String| BenchError::Odd(format!("{} answered {what} with {said}", self.make.name()));
        let mut answer = answer.map_err(|error| odd(error.to_string()))?;
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
        let body = body.map_err(|error| odd(error.to_string()))?;
        if answer.status().is_success() { Ok(body) } else { Err(odd(format!("{} {body}", answer.status()))) }
    }
}

fn free_address() -> Result<SocketAddr, BenchError> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn influx_settings(folder: &Path, address: SocketAddr, other: SocketAddr) -> String {
    let folder = folder.display();
    format!(
        "reporting-disabled = true\nbind-address = \"{other}\"\n[meta]\ndir = \"{folder}/meta\"\n\
         [data]\ndir = \"{folder}/data\"\nwal-dir = \"{folder}/wal\"\nquery-log-enabled = false\n\
         cache-snapshot-write-cold-duration = \"3s\"\ncompact-full-write-cold-duration = \"3s\"\n\
         [monitor]\nstore-enabled = false\n[http]\nbind-address = \"{address}\"\nlog-enabled = false\n"
    )
}

/// Bytes of all files below `folder` whose name, and the names of whose folders below it, are wanted. What goes while we
/// look counts nothing.
pub fn bytes_below(folder: &Path, wanted: &dyn Fn(&str) -> bool) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let wanted_entries = entries.filter(|entry| entry.file_name().to_str().is_some_and(wanted));
    let bytes = wanted_entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path(), wanted),
        Ok(metadata) => metadata.len().min(metadata.blocks() * 512),
        Err(_) => 0,
    });
    bytes.sum()
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn holes_of_a_file_are_not_on_the_disk_and_what_is_not_wanted_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("cache")).unwrap();
        fs::write(folder.path().join("cache/a"), [7; 5_000]).unwrap();
        fs::write(folder.path().join("b"), [7; 100]).unwrap();
        File::create(folder.path().join("c")).unwrap().set_len(1_000_000).unwrap();
        assert_eq!(bytes_below(folder.path(), &|name| name != "cache"), 100);
        assert_eq!(bytes_below(folder.path(), &|_| true), 5_100);
    }
}
