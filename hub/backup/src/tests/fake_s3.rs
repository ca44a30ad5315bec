//! A fake object store: it keeps objects in memory and speaks as much of the S3 protocol as is asked of it. It looks for a
//! signature and does not check it; that was done with a real store, see `docs/backup.md`.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Names in one page of a listing.
const PAGE: usize = 3;

#[derive(Default)]
struct Store {
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
    /// So many of the next requests are answered with 503.
    faults: AtomicUsize,
    requests: AtomicUsize,
}

/// The running fake. Its thread ends with the test process.
pub(super) struct FakeS3 {
    address: SocketAddr,
    store: Arc<Store>,
}

impl FakeS3 {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let store = Arc::new(Store::default());
        let served = store.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let store = served.clone();
                std::thread::spawn(move || serve(stream, &store));
            }
        });
        Self { address, store }
    }

    pub fn place(&self) -> String {
        format!("s3://bucket/hubs/one?endpoint=http://{}&region=eu", self.address)
    }

    pub fn fail_next(&self, requests: usize) {
        self.store.faults.store(requests, Ordering::Relaxed);
    }

    pub fn requests(&self) -> usize {
        self.store.requests.load(Ordering::Relaxed)
    }

    pub fn names(&self) -> Vec<String> {
        self.store.objects.lock().unwrap().keys().cloned().collect()
    }
}

/// Serves one connection, request after request.
fn serve(stream: TcpStream, store: &Store) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
        let mut words = line.split_whitespace().map(str::to_owned);
        let (method, target) = (words.next()?, words.next()?);
        let mut length = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            let header = header.trim_end().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let (status, answer) = answer(store, &method, &target, body);
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", answer.len());
        (&stream).write_all(&[head.as_bytes(), &answer].concat()).ok()?;
    }
}

fn answer(store: &Store, method: &str, target: &str, body: Vec<u8>) -> (&'static str, Vec<u8>) {
    store.requests.fetch_add(1, Ordering::Relaxed);
    let left = store.faults.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
    if left.is_ok() {
        return ("503 Slow Down", b"<Error><Code>SlowDown</Code></Error>".to_vec());
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if !query.contains("X-Amz-Signature=") {
        return ("403 Forbidden", b"<Error><Code>AccessDenied</Code></Error>".to_vec());
    }
    let name = path.strip_prefix("/bucket").unwrap_or(path).trim_start_matches('/').to_owned();
    let mut objects = store.objects.lock().unwrap();
    match method {
        "PUT" => {
            objects.insert(name, body);
            ("200 OK", Vec::new())
        }
        "DELETE" => {
            objects.remove(&name);
            ("204 No Content", Vec::new())
        }
        _ if name.is_empty() => ("200 OK", list(&objects, query)),
        _ => match objects.get(&name) {
            Some(object) => ("200 OK", object.clone()),
            None => ("404 Not Found", b"<Error><Code>NoSuchKey</Code></Error>".to_vec()),
        },
    }
}

fn list(objects: &BTreeMap<String, Vec<u8>>, query: &str) -> Vec<u8> {
    let of = |wanted: &str| {
        let found =
            query.split('&').filter_map(|part| part.split_once('=')).find(|(name, _)| *name == wanted);
        found.map(|(_, value)| value.replace("%2F", "/")).unwrap_or_default()
    };
    let (prefix, after) = (of("prefix"), of("continuation-token"));
    let found: Vec<_> = objects
        .iter()
        .filter(|(name, _)| name.starts_with(&prefix) && **name > after)
        .take(PAGE + 1)
        .collect();
    let mut text = "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">".to_owned();
    for (name, object) in found.iter().take(PAGE) {
        text += &format!("<Contents><Key>{name}</Key><Size>{}</Size></Contents>", object.len());
    }
    text += &match found.get(PAGE) {
        Some(_) => {
            let token = found[PAGE - 1].0;
            format!("<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>")
        }
        None => "<IsTruncated>false</IsTruncated>".to_owned(),
    };
    (text + "</ListBucketResult>").into_bytes()
}
