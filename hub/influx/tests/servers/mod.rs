//! Servers that line protocol can be written to, from Debian, each on a port of its own and gone with its test: influxd
//! 1.6.7 behind a door that speaks the write path of 2.x, and VictoriaMetrics. Where a program is not there, a test passes
//! without it, except where `MUSTER_REQUIRE_INFLUX=1`.

#![expect(
    dead_code,
    clippy::print_stderr,
    reason = "each test uses a part of it, and says what it cannot show"
)]

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use flate2::read::MultiGzDecoder;
use tempfile::TempDir;

/// How long a server has to answer one question.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);

/// Whether a program is there; says so where it is not.
pub fn is_here(program: &str) -> bool {
    let found =
        ["/usr/bin", "/usr/sbin", "/usr/local/bin"].iter().any(|dir| Path::new(dir).join(program).exists());
    let required = std::env::var_os("MUSTER_REQUIRE_INFLUX").is_some_and(|value| value == "1");
    assert!(found || !required, "{program} is required, and is not here: run setup/install");
    if !found {
        eprintln!("{program} is not here: this test has shown nothing (run setup/install)");
    }
    found
}

/// A server's process and its folder, gone when it is dropped.
struct Running {
    child: Child,
    _folder: Option<TempDir>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a program and waits until its log says that it serves.
fn start(command: &mut Command, serves: &str, folder: Option<TempDir>) -> Running {
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut running = Running { child: child.expect("the program starts"), _folder: folder };
    let log = running.child.stderr.take().expect("its log is a pipe");
    let mut log = BufReader::new(log);
    let mut said = String::new();
    loop {
        let before = said.len();
        let read = log.read_line(&mut said).expect("a log is text");
        assert!(read > 0, "the server ended: {said}");
        if said[before..].contains(serves) {
            break;
        }
    }
    // Nobody waits for who does not read a log.
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    running
}

/// A port that is free now.
fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

/// influxd 1.6.7, with its door.
pub struct Influxd {
    http: SocketAddr,
    pub door: Door,
    _running: Running,
}

impl Influxd {
    /// One with these tokens, each for one bucket.
    pub fn start(tokens: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().expect("a folder");
        let (http, rpc) = (free_port(), free_port());
        let path = folder.path().display();
        let text = format!(
            "reporting-disabled = true\nbind-address = \"{rpc}\"\n[meta]\ndir = \"{path}/meta\"\n[data]\ndir = \
             \"{path}/data\"\nwal-dir = \"{path}/wal\"\n[http]\nbind-address = \"{http}\"\nlog-enabled = false\n[monitor]\n\
             store-enabled = false\n"
        );
        let file = folder.path().join("influxdb.conf");
        fs::write(&file, text).expect("written");
        let mut command = Command::new("influxd");
        command.arg("-config").arg(&file);
        let running = start(&mut command, "Listening on HTTP", Some(folder));
        for (_, bucket) in tokens {
            let (status, said) = ask(
                http,
                "POST",
                &format!("/query?q=CREATE%20DATABASE%20%22{}%22", quoted(bucket)),
                &[],
                b"",
            );
            assert_eq!(status, 200, "{said}");
        }
        Self { door: Door::open(http, tokens), http, _running: running }
    }

    /// What a query of InfluxQL answers, times in nanoseconds.
    pub fn query(&self, bucket: &str, query: &str) -> serde_json::Value {
        let path = format!("/query?db={}&epoch=ns&q={}", quoted(bucket), quoted(query));
        let (status, said) = ask(self.http, "GET", &path, &[], b"");
        assert_eq!(status, 200, "{said}");
        serde_json::from_str(&said).expect("JSON")
    }

    /// The series of a bucket, in order.
    pub fn series(&self, bucket: &str) -> Vec<String> {
        let answer = self.query(bucket, "SHOW SERIES");
        let rows = answer["results"][0]["series"][0]["values"].as_array().cloned().unwrap_or_default();
        let mut series: Vec<_> =
            rows.iter().map(|row| row[0].as_str().unwrap_or_default().to_owned()).collect();
        series.sort();
        series
    }

    /// How many values a bucket holds of all fields together.
    pub fn values(&self, bucket: &str) -> u64 {
        let answer = self.query(bucket, "SELECT count(*) FROM /.*/");
        let series = answer["results"][0]["series"].as_array().cloned().unwrap_or_default();
        let counts =
            series.iter().flat_map(|series| series["values"][0].as_array().cloned().unwrap_or_default());
        // The first of a row is its time: the beginning of the range, 0.
        counts.filter_map(|count| count.as_u64()).sum()
    }
}

/// `/api/v2/write` in front of an influxd of 1.x, which knows `/write`: tokens and buckets are checked as 2.x does, and
/// path and query are written anew. What is sent goes through as it is, compressed or not.
pub struct Door {
    pub address: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    /// A status to answer with, and nothing else; 0 for none.
    mood: AtomicU16,
    /// What was sent, unpacked, with the token.
    bodies: Mutex<Vec<(String, String)>>,
}

impl Door {
    fn open(behind: SocketAddr, tokens: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let seen = Arc::<Seen>::default();
        let tokens: Vec<_> =
            tokens.iter().map(|(token, bucket)| ((*token).to_owned(), (*bucket).to_owned())).collect();
        let shared = seen.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (tokens, seen) = (tokens.clone(), shared.clone());
                std::thread::spawn(move || serve(stream, behind, &tokens, &seen));
            }
        });
        Self { address, seen }
    }

    /// Where a client finds it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers everything with this status from now on; none lets it through.
    pub fn mood(&self, status: Option<u16>) {
        self.seen.mood.store(status.unwrap_or(0), Ordering::SeqCst);
    }

    /// What was sent so far, unpacked, each with its token.
    pub fn bodies(&self) -> Vec<(String, String)> {
        locked(&self.seen.bodies).clone()
    }
}

fn serve(mut stream: TcpStream, behind: SocketAddr, tokens: &[(String, String)], seen: &Seen) {
    while let Some(request) = read_request(&mut stream) {
        let (status, body) = answer(&request, behind, tokens, seen);
        let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n", body.len());
        if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).is_err() {
            return;
        }
    }
}

fn answer(request: &Request, behind: SocketAddr, tokens: &[(String, String)], seen: &Seen) -> (u16, String) {
    let token =
        request.header("authorization").and_then(|value| value.strip_prefix("Token ")).unwrap_or_default();
    let encoding = request.header("content-encoding").unwrap_or("identity");
    let body = if encoding == "gzip" { unpacked(&request.body) } else { request.body.clone() };
    locked(&seen.bodies).push((token.to_owned(), String::from_utf8_lossy(&body).into_owned()));
    let mood = seen.mood.load(Ordering::SeqCst);
    if mood != 0 {
        return (mood, format!("{{\"code\":\"mood\",\"message\":\"answers {mood}\"}}"));
    }
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    if request.method != "POST" || path != "/api/v2/write" {
        return (404, "{\"code\":\"not found\",\"message\":\"path not found\"}".to_owned());
    }
    let value = |key: &str| query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
    let Some((_, allowed)) = tokens.iter().find(|(known, _)| known == token) else {
        return (401, "{\"code\":\"unauthorized\",\"message\":\"unauthorized access\"}".to_owned());
    };
    if value("bucket") != Some(allowed.as_str()) {
        return (404, "{\"code\":\"not found\",\"message\":\"bucket not found\"}".to_owned());
    }
    assert_eq!(value("precision"), Some("ns"));
    let target = format!("/write?db={}&precision=n", quoted(allowed));
    let headers = [("Content-Encoding", encoding)];
    ask(behind, "POST", &target, if encoding == "gzip" { &headers } else { &[] }, &request.body)
}

/// VictoriaMetrics.
pub struct Victoria {
    pub address: SocketAddr,
    _running: Running,
}

impl Victoria {
    /// An empty one.
    pub fn start() -> Self {
        let folder = TempDir::new().expect("a folder");
        let address = free_port();
        let mut command = Command::new("victoria-metrics");
        command
            .arg(format!("-httpListenAddr={address}"))
            .arg(format!("-storageDataPath={}", folder.path().display()))
            .args(["-retentionPeriod=100y", "-loggerLevel=INFO"]);
        let running = start(&mut command, "started VictoriaMetrics", Some(folder));
        Self { address, _running: running }
    }

    /// Where a client finds it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All series: name with labels, values, times in milliseconds.
    pub fn export(&self) -> Vec<serde_json::Value> {
        let (status, said) = ask(self.address, "GET", "/internal/force_flush", &[], b"");
        assert_eq!(status, 200, "{said}");
        let (status, said) =
            ask(self.address, "GET", "/api/v1/export?match%5B%5D=%7B__name__!=%22%22%7D", &[], b"");
        assert_eq!(status, 200, "{said}");
        said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// One request; none when the client has gone.
fn read_request(stream: &mut TcpStream) -> Option<Request> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut request = Request { method, target, headers, body: Vec::new() };
    if request.header("transfer-encoding") == Some("chunked") {
        loop {
            let size = usize::from_str_radix(read_line(stream)?.trim(), 16).ok()?;
            let mut chunk = vec![0; size];
            stream.read_exact(&mut chunk).ok()?;
            request.body.append(&mut chunk);
            read_line(stream)?;
            if size == 0 {
                return Some(request);
            }
        }
    }
    let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    request.body = vec![0; length];
    stream.read_exact(&mut request.body).ok()?;
    Some(request)
}

fn read_line(stream: &mut TcpStream) -> Option<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while byte != *b"\n" {
        stream.read_exact(&mut byte).ok()?;
        line.push(byte[0]);
    }
    String::from_utf8(line).ok()
}

/// One request on a connection of its own, without chunks: HTTP 1.0.
pub fn ask(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (u16, String) {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_TIME_MAX).expect("connects");
    stream.set_read_timeout(Some(ANSWER_TIME_MAX)).expect("set");
    let mut head = format!("{method} {target} HTTP/1.0\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("answered");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, body.to_owned())
}

fn unpacked(body: &[u8]) -> Vec<u8> {
    let mut unpacked = Vec::new();
    MultiGzDecoder::new(body).read_to_end(&mut unpacked).expect("gzip");
    unpacked
}

/// A text within a query.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            quoted.push(char::from(byte));
        } else {
            let _ = write!(quoted, "%{byte:02X}");
        }
    }
    quoted
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
