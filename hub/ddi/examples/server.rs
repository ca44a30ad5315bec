//! A server for one device and one file, without TLS, to try clients against, and to see what they say:
//!
//! ```sh
//! cargo run -p muster-ddi --example server -- 127.0.0.1:18080 fw.swu swupdate [cut-at-bytes]
//! ```
//!
//! The device is `dev-0` of `acme` with the token `s3cr3t`. The first download is cut where that is asked for; on a
//! line `cancel` of its input the action is cancelled. Not for anything else: it trusts its callers, and keeps
//! nothing.

#![expect(clippy::print_stdout, reason = "what a client says is what it is for")]
#![expect(clippy::unwrap_used, reason = "a try that fails is to be seen")]

use std::{
    io::{BufRead as _, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use muster_artifacts::{
    Blob, BlobName, Declared, Digest, Folder, SealRefusal, Sealer, Stored, Summing,
    http::{Body, Entity, Method, Request, plan},
};
use muster_ddi::{
    ACCEPTED, Action, Chunk, Client, Credential, Event, File, Force, Format, Phase, Problem, Resource, Route,
    Sleep, Target, Token, Verb, cancel_feedback, feedback, file, md5_line, read_config_data, read_feedback,
    respond,
};
use muster_schemas::firmware::{ExecutionId, Stage};

/// Seals nothing: this is about the protocol.
struct Plain;

impl Sealer for Plain {
    fn overhead_bytes(&self) -> usize {
        0
    }

    fn seal(&self, _: &[u8], plain: &[u8]) -> Result<Vec<u8>, SealRefusal> {
        Ok(plain.to_vec())
    }

    fn open(&self, _: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SealRefusal> {
        Ok(sealed.to_vec())
    }
}

struct World {
    base: String,
    client: Client,
    state: Mutex<State>,
    folder: Folder,
    stored: Stored,
    _dir: tempfile::TempDir,
}

struct State {
    action: Option<Action>,
    over: Vec<ExecutionId>,
    attributes_wanted: bool,
    cut_at: Option<u64>,
    sent: u64,
}

struct Asked<'a> {
    verb: Verb,
    path: &'a str,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Asked<'_> {
    fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers
            .iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_slice())
    }
}

type Headers = Vec<(&'static str, String)>;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [address, path, client, rest @ ..] = args.as_slice() else {
        println!("server ADDRESS FILE swupdate|rauc|unknown [CUT-AT-BYTES]");
        return;
    };
    let client = match client.as_str() {
        "swupdate" => Client::Swupdate,
        "rauc" => Client::Rauc,
        _ => Client::Unknown,
    };
    let bytes = std::fs::read(path).unwrap();
    let mut summing = Summing::new();
    summing.update(&bytes);
    let sums = summing.finish();
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let declared = Declared { digest: sums.digest, size: sums.size };
    let mut incoming = folder.begin(BlobName([1; 16]), declared, Arc::new(Plain)).unwrap();
    incoming.write(&bytes).unwrap();
    let stored = incoming.finish().unwrap();
    let name = path.rsplit('/').next().unwrap_or(path).to_owned();
    let artifact = File {
        name,
        size: sums.size,
        sha256: Digest(sums.digest.0),
        sha1: Some(sums.sha1.to_string()),
        md5: Some(sums.md5.to_string()),
        url: None,
    };
    let (part, version) = ("os".to_owned(), "2.0".to_owned());
    let chunk = Chunk {
        module: 1,
        part,
        name: "fw".into(),
        version,
        metadata: Vec::new(),
        artifacts: vec![artifact],
    };
    let action = Action {
        execution: ExecutionId::MIN,
        phase: Phase::Open,
        stage: Stage::Offered,
        force: Force::Forced,
        window_open: None,
        revision: 1,
        served: false,
        chunks: vec![chunk],
        history: Vec::new(),
    };
    println!("{}: {:?}", action.execution, action.fits(client));
    let cut_at = rest.first().and_then(|bytes| bytes.parse().ok());
    let state = State { action: Some(action), over: Vec::new(), attributes_wanted: true, cut_at, sent: 0 };
    let base = format!("http://{address}/acme/controller/v1/dev-0");
    let world = Arc::new(World { base, client, state: Mutex::new(state), folder, stored, _dir: dir });
    let hears = Arc::clone(&world);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if let Some(action) =
                hears.state.lock().unwrap().action.as_mut().filter(|_| line.trim() == "cancel")
            {
                (action.phase, action.revision) = (Phase::Cancelling, action.revision + 1);
                println!("cancelling");
            }
        }
    });
    for stream in TcpListener::bind(address).unwrap().incoming().flatten() {
        let world = Arc::clone(&world);
        std::thread::spawn(move || serve(&world, stream));
    }
}

/// Answers one connection until its end.
fn serve(world: &World, mut stream: TcpStream) -> Option<()> {
    let mut buffer = Vec::new();
    loop {
        let (head, verb, path, headers) = loop {
            let mut fields = [httparse::EMPTY_HEADER; 64];
            let mut request = httparse::Request::new(&mut fields);
            if let httparse::Status::Complete(head) = request.parse(&buffer).ok()? {
                let verb = match request.method? {
                    "GET" => Verb::Get,
                    "HEAD" => Verb::Head,
                    "POST" => Verb::Post,
                    "PUT" => Verb::Put,
                    _ => Verb::Other,
                };
                let headers = request
                    .headers
                    .iter()
                    .map(|field| (field.name.to_owned(), field.value.to_vec()))
                    .collect();
                break (head, verb, request.path?.to_owned(), headers);
            }
            more(&mut stream, &mut buffer)?;
        };
        let mut asked = Asked { verb, path: &path, headers, body: Vec::new() };
        let length = asked
            .header("content-length")
            .and_then(|value| str::from_utf8(value).ok()?.parse().ok())
            .unwrap_or(0);
        if asked.header("expect").is_some() {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
        }
        while buffer.len() < head + length {
            more(&mut stream, &mut buffer)?;
        }
        asked.body = buffer.get(head..head + length)?.to_vec();
        buffer.drain(..head + length);
        let range = asked.header("range").map(String::from_utf8_lossy).unwrap_or_default().into_owned();
        let (status, headers, body) = answer(world, &asked).unwrap_or_else(|problem| {
            let body = Format::Json.write(&problem.body());
            (problem.status(), vec![("Content-Type", "application/json".to_owned())], Answer::Bytes(body))
        });
        println!("{verb:?} {path} {range} -> {status}");
        let mut lines = format!("HTTP/1.1 {status} -\r\n");
        let mut add = |name: &str, value: &str| lines.extend([name, ": ", value, "\r\n"]);
        headers.iter().for_each(|(name, value)| add(name, value));
        if let Answer::Bytes(bytes) = &body {
            add("Content-Length", &bytes.len().to_string());
        }
        stream.write_all(format!("{lines}\r\n").as_bytes()).ok()?;
        match body {
            Answer::Bytes(bytes) => stream.write_all(&bytes).ok()?,
            Answer::Artifact(body) => send(world, &mut stream, body)?,
        }
    }
}

fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let mut bytes = [0; 16 * 1024];
    let count = stream.read(&mut bytes).ok().filter(|count| *count > 0)?;
    buffer.extend_from_slice(bytes.get(..count)?);
    Some(())
}

enum Answer {
    Bytes(Vec<u8>),
    Artifact(Body),
}

/// Sends an artifact, and breaks off where that is asked for, once.
fn send(world: &World, stream: &mut TcpStream, body: Body) -> Option<()> {
    let mut any = false;
    for piece in body {
        let piece = piece.ok()?;
        any = true;
        let cut = {
            let mut state = world.state.lock().unwrap();
            state.sent += piece.len() as u64;
            let cut = state.cut_at.is_some_and(|at| state.sent > at);
            if cut {
                state.cut_at = None;
            }
            cut
        };
        if cut {
            println!("cut");
            return None;
        }
        stream.write_all(&piece).ok()?;
    }
    // What a HEAD is answered has no pieces.
    if let Some(action) = world.state.lock().unwrap().action.as_mut().filter(|_| any) {
        action.served = true;
    }
    Some(())
}

fn answer(world: &World, asked: &Asked<'_>) -> Result<(u16, Headers, Answer), Problem> {
    let route = Route::parse(asked.verb, asked.path)?;
    let token = asked.header("authorization").and_then(Credential::parse).ok_or(Problem::Unauthorized)?;
    if Some(token) != Token::parse("s3cr3t").map(Credential::Target) || route.device.as_str() != "dev-0" {
        return Err(Problem::Forbidden);
    }
    let mut state = world.state.lock().unwrap();
    let state = &mut *state;
    let target = Target {
        base: &world.base,
        client: world.client,
        sleep: Sleep::of_seconds(5),
        attributes_wanted: state.attributes_wanted,
        auto_confirm: true,
        action: state.action.as_ref(),
        installed: None,
        over: &state.over,
    };
    let format = || Format::of_content(asked.header("content-type"));
    let accepted = Ok((ACCEPTED, Vec::new(), Answer::Bytes(Vec::new())));
    let report = match &route.resource {
        Resource::ConfigData => {
            println!("  {:?}", read_config_data(format()?, &asked.body)?);
            state.attributes_wanted = false;
            return accepted;
        }
        Resource::DeploymentFeedback(id) => feedback(&target, *id, read_feedback(format()?, &asked.body)?)?,
        Resource::CancelFeedback(id) => {
            cancel_feedback(&target, *id, read_feedback(format()?, &asked.body)?)?
        }
        Resource::Artifact { module, file: name } => {
            let file = file(&target, *module, name)?;
            return Ok(artifact(world, asked, file));
        }
        Resource::Md5Sum { module, file: name } => {
            let line = md5_line(file(&target, *module, name)?)?;
            return Ok((
                200,
                vec![("Content-Type", "text/plain".to_owned())],
                Answer::Bytes(line.into_bytes()),
            ));
        }
        resource => {
            let format = Format::of_accept(asked.header("accept"))?;
            let reply = respond(&target, resource)?;
            let headers = vec![("Content-Type", format.media_type().to_owned())];
            return Ok((200, headers, Answer::Bytes(format.write(&reply.document))));
        }
    };
    println!("  {:?} {:?}", report.event, report.details);
    match report.event {
        Event::Ended(_) => {
            state.over.extend(state.action.take().map(|action| action.execution));
        }
        Event::Reached(stage) => state.action.iter_mut().for_each(|action| action.stage = stage),
        Event::AwaitsVersion => state.action.iter_mut().for_each(|action| action.stage = Stage::Verifying),
        _ => {}
    }
    accepted
}

fn artifact(world: &World, asked: &Asked<'_>, file: &File) -> (u16, Headers, Answer) {
    let method = if asked.verb == Verb::Head { Method::Head } else { Method::Get };
    let request = Request {
        range: asked.header("range"),
        if_range: asked.header("if-range"),
        if_match: asked.header("if-match"),
        if_none_match: asked.header("if-none-match"),
        if_modified_since: asked.header("if-modified-since"),
        if_unmodified_since: asked.header("if-unmodified-since"),
        ..Request::new(method)
    };
    let (digest, size) = (world.stored.sums.digest, world.stored.sums.size);
    let entity = Entity { digest, size, stored_s: 1_700_000_000, filename: Some(file.name.clone()) };
    let plan = plan(&request, entity);
    let blob: Blob = world.folder.read(&world.stored.blob, (digest, size), Arc::new(Plain)).unwrap();
    (plan.status(), plan.headers(), Answer::Artifact(Body::new(&plan, &blob)))
}
