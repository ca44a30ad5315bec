use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc::{Receiver, sync_channel},
    time::Duration,
};

use super::*;

/// What came in: the head, and the body as it was sent.
type Came = (String, Vec<u8>);

/// A server that answers each request with the same text, or with nothing where there is none.
fn stub<T: AsRef<[u8]> + Send + 'static>(answer: Option<T>) -> (SocketAddr, Receiver<Came>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (came, seen) = sync_channel(16);
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for mut stream in listener.incoming().flatten() {
            let request = read(&mut stream);
            if came.send(request).is_err() {
                return;
            }
            match &answer {
                Some(answer) => drop(stream.write_all(answer.as_ref())),
                None => kept.push(stream),
            }
        }
    });
    (address, seen)
}

fn read(stream: &mut TcpStream) -> Came {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read > 0) {
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("text").to_ascii_lowercase();
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("the body");
    (head, body)
}

fn transport(url: &str) -> Transport {
    let server = Server::new(url, "plant & co", None, &[]).expect("a server");
    Transport::new(&server, "acme/telemetry", &Token::parse("s3cret==").expect("a token")).expect("prepared")
}

fn write(url: &str, lines: &str) -> Answer {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(transport(url).write(lines))
}

#[test]
fn a_request_is_what_the_write_path_of_2_x_wants() {
    let (address, seen) = stub(Some("HTTP/1.1 204 No Content\r\n\r\n"));
    let lines = "climate,device=pump-7 t=1.0 1\n".repeat(1_000);
    assert_eq!(write(&format!("http://{address}"), &lines), Answer::Accepted);
    let (head, body) = seen.recv().expect("a request");
    let first = head.lines().next().expect("a line");
    assert_eq!(first, "post /api/v2/write?bucket=acme%2ftelemetry&org=plant+%26+co&precision=ns http/1.1");
    for line in ["authorization: token s3cret==", "content-encoding: gzip", "user-agent: muster"] {
        assert!(head.lines().any(|known| known == line), "{line} in {head}");
    }
    assert!(body.len() < lines.len() / 20, "{} bytes for {}", body.len(), lines.len());
    let mut text = String::new();
    flate2::read::GzDecoder::new(&*body).read_to_string(&mut text).expect("gzip");
    assert_eq!(text, lines);
}

#[test]
fn an_answer_is_told_by_its_class() {
    let answers = [
        ("HTTP/1.1 401 x\r\nContent-Length: 0\r\n\r\n", Answer::Stopped(Trouble::Token(401))),
        ("HTTP/1.1 413 x\r\nContent-Length: 0\r\n\r\n", Answer::TooLarge),
        (
            "HTTP/1.1 503 x\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy",
            Answer::NotBefore(Trouble::Failing(503, "busy".to_owned()), Duration::from_secs(7)),
        ),
        (
            "HTTP/1.1 500 x\r\nContent-Length: 4\r\n\r\nbusy",
            Answer::Later(Trouble::Failing(500, "busy".to_owned())),
        ),
        (
            "HTTP/1.1 422 x\r\nContent-Length: 41\r\n\r\n{\"message\":\"partial write: no dropped=2\"} ",
            Answer::Partial(Some(2), "partial write: no dropped=2".to_owned()),
        ),
        // Elsewhere is not where a tenant's points and its token go.
        (
            "HTTP/1.1 307 x\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
            Answer::Stopped(Trouble::Stranger(307)),
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nlogin", Answer::Stopped(Trouble::Stranger(200))),
    ];
    for (text, wanted) in answers {
        let (address, _seen) = stub(Some(text));
        assert_eq!(write(&format!("http://{address}"), "m x=1.0 1\n"), wanted);
    }
}

#[test]
fn of_an_answer_without_end_the_beginning_is_read() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let writer = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        read(&mut stream);
        stream.write_all(b"HTTP/1.1 400 x\r\n\r\nunable to parse ").expect("the head");
        let mut written = 0_usize;
        while let Ok(bytes) = stream.write(&[b'x'; 4_096]) {
            written += bytes;
        }
        written
    });
    let answer = write(&format!("http://{address}"), "m x=1.0 1\n");
    assert!(
        matches!(&answer, Answer::Refused(said) if said.starts_with("unable to parse xxx")),
        "{answer:?}"
    );
    // It was not read to its end, which never comes: what went out fills the buffers between, and no more.
    assert!(writer.join().expect("it ends") > ANSWER_BYTES_MAX);
}

#[test]
fn nobody_there_and_no_http_are_unreachable() {
    let address =
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let Answer::Later(Trouble::Unreachable(why)) = write(&format!("http://{address}"), "m x=1.0 1\n") else {
        panic!("nobody listens there");
    };
    assert!(why.contains("refused"), "{why}");
    let (address, _seen) = stub(Some("220 smtp.example ready\r\n"));
    let answer = write(&format!("http://{address}"), "m x=1.0 1\n");
    assert!(matches!(answer, Answer::Later(Trouble::Unreachable(_))), "{answer:?}");
}

#[test]
fn a_server_that_takes_everything_and_says_nothing_is_left_in_time() {
    let (address, seen) = stub(None::<&str>);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let answer = runtime.block_on(async {
        let (transport, lines) = (transport(&format!("http://{address}")), "m x=1.0 1\n");
        let mut writing = std::pin::pin!(transport.write(lines));
        // Until the request is there, time is the machine's; then it is ours, and passes as soon as nothing else happens.
        while seen.try_recv().is_err() {
            tokio::select! {
                biased;
                answer = &mut writing => return answer,
                () = tokio::task::yield_now() => {}
            }
        }
        tokio::time::pause();
        writing.await
    });
    assert_eq!(answer, Answer::Later(Trouble::Silent));
}
