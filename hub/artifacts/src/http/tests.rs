//! A request and what is answered, as tables, and bodies read back part by part.

use proptest::prelude::*;

use super::*;
use crate::{
    Folder,
    limits::CHUNK_BYTES,
    tests::world::{Tenant, digest, noise, open, put},
};

/// 1994-11-06 08:49:37.
const STORED_S: u64 = 784_111_777;
const DATE: &[u8] = b"Sun, 06 Nov 1994 08:49:37 GMT";
const LATER: &[u8] = b"Sun, 06 Nov 1994 08:49:38 GMT";
const EARLIER: &[u8] = b"Sunday, 06-Nov-94 08:49:36 GMT";

fn entity(size: u64) -> Entity {
    Entity { digest: digest(0xab), size, stored_s: STORED_S, filename: Some("fw 1.0\r\n\"x.swu".to_owned()) }
}

fn get() -> Request<'static> {
    Request::new(Method::Get)
}

fn status(request: Request<'_>) -> u16 {
    plan(&request, entity(1_000)).status()
}

fn header(answer: &Answer, name: &str) -> Option<String> {
    answer.headers().into_iter().find(|(found, _)| *found == name).map(|(_, value)| value)
}

#[test]
fn the_whole_has_a_strong_quoted_tag_and_says_that_it_takes_ranges() {
    let answer = plan(&get(), entity(1_000));
    assert_eq!(answer.status(), 200);
    assert_eq!(header(&answer, "ETag").unwrap(), format!("\"{}\"", "ab".repeat(32)));
    assert_eq!(header(&answer, "Accept-Ranges").unwrap(), "bytes");
    assert_eq!(header(&answer, "Content-Length").unwrap(), "1000");
    assert_eq!(header(&answer, "Last-Modified").unwrap().as_bytes(), DATE);
    assert_eq!(header(&answer, "Content-Disposition").unwrap(), "attachment;filename=\"fw_1.0___x.swu\"");
    assert_eq!(header(&answer, "X-Content-Type-Options").unwrap(), "nosniff");
}

#[test]
fn head_says_what_get_would_send_and_ignores_ranges() {
    let head = Request { range: Some(b"bytes=0-1"), ..Request::new(Method::Head) };
    let answer = plan(&head, entity(1_000));
    assert_eq!((answer.status(), answer.has_body()), (200, false));
    assert_eq!(answer.headers(), plan(&get(), entity(1_000)).headers());
}

#[test]
fn one_range_is_206_and_what_cannot_be_met_is_416_with_the_size() {
    let answer = plan(&Request { range: Some(b"bytes=990-"), ..get() }, entity(1_000));
    assert_eq!(answer.status(), 206);
    assert_eq!(header(&answer, "Content-Range").unwrap(), "bytes 990-999/1000");
    assert_eq!(header(&answer, "Content-Length").unwrap(), "10");
    for range in ["bytes=1000-", "bytes=x", "bytes=5-1"] {
        let answer = plan(&Request { range: Some(range.as_bytes()), ..get() }, entity(1_000));
        assert_eq!((answer.status(), answer.has_body()), (416, false));
        assert_eq!(header(&answer, "Content-Range").unwrap(), "bytes */1000");
        assert_eq!(header(&answer, "Content-Length").unwrap(), "0");
    }
    assert_eq!(status(Request { range: Some(b"pages=1-2"), ..get() }), 200);
}

#[test]
fn if_match_and_if_none_match_compare_as_the_rfc_says() {
    let tag = entity(1).tag();
    let weak = format!("W/{tag}");
    let list = format!("\"x\", {tag} ,\"y\"");
    let table: [(&[u8], u16, u16); 7] = [
        (tag.as_bytes(), 200, 304),
        (list.as_bytes(), 200, 304),
        (b"*", 200, 304),
        // Strong comparison for If-Match, weak for If-None-Match (RFC 9110 §13.1.1, §13.1.2).
        (weak.as_bytes(), 412, 304),
        (b"\"other\"", 412, 200),
        // The tag without its quotes is no tag.
        (&tag.as_bytes()[1..65], 412, 200),
        (b"", 412, 200),
    ];
    for (value, if_match, if_none_match) in table {
        let shown = String::from_utf8_lossy(value);
        assert_eq!(status(Request { if_match: Some(value), ..get() }), if_match, "If-Match: {shown}");
        assert_eq!(
            status(Request { if_none_match: Some(value), ..get() }),
            if_none_match,
            "If-None-Match: {shown}"
        );
    }
}

#[test]
fn dates_count_only_where_there_is_no_tag() {
    for (date, unmodified, modified) in
        [(DATE, 200, 304), (LATER, 200, 304), (EARLIER, 412, 200), (b"soon", 200, 200)]
    {
        assert_eq!(status(Request { if_unmodified_since: Some(date), ..get() }), unmodified);
        assert_eq!(status(Request { if_modified_since: Some(date), ..get() }), modified);
    }
    let tag = entity(1).tag();
    let both = Request { if_match: Some(tag.as_bytes()), if_unmodified_since: Some(EARLIER), ..get() };
    assert_eq!(status(both), 200);
    assert_eq!(
        status(Request { if_none_match: Some(b"\"x\""), if_modified_since: Some(LATER), ..get() }),
        200
    );
}

#[test]
fn conditions_come_before_ranges() {
    let tag = entity(1).tag();
    let range = Request { range: Some(b"bytes=5000-"), ..get() };
    assert_eq!(status(Request { if_match: Some(b"\"x\""), ..range }), 412);
    assert_eq!(status(Request { if_none_match: Some(tag.as_bytes()), ..range }), 304);
    assert_eq!(status(range), 416);
    let not_modified = plan(&Request { if_none_match: Some(tag.as_bytes()), ..range }, entity(1_000));
    assert_eq!(header(&not_modified, "Content-Length"), None);
    assert_eq!(header(&not_modified, "ETag"), Some(tag));
}

#[test]
fn if_range_lets_a_range_through_only_for_the_same_artifact() {
    let tag = entity(1).tag();
    let weak = format!("W/{tag}");
    let table: [(&[u8], u16); 8] = [
        (tag.as_bytes(), 206),
        (DATE, 206),
        (b"Sunday, 06-Nov-94 08:49:37 GMT", 206),
        (weak.as_bytes(), 200),
        (b"\"other\"", 200),
        (LATER, 200),
        (EARLIER, 200),
        (b"nonsense", 200),
    ];
    for (value, expected) in table {
        let request = Request { range: Some(b"bytes=0-9"), if_range: Some(value), ..get() };
        assert_eq!(status(request), expected, "If-Range: {}", String::from_utf8_lossy(value));
    }
    // A range that could not be met is not looked at if the artifact is another one.
    assert_eq!(status(Request { range: Some(b"bytes=5000-"), if_range: Some(b"\"other\""), ..get() }), 200);
    assert_eq!(status(Request { if_range: Some(b"\"other\""), ..get() }), 200);
}

/// Reads multipart/byteranges (RFC 9110 §14.6) as a client does: by its boundary, and each part by its own range.
fn parts(body: &[u8], boundary: &str, size: u64) -> Vec<(Range<u64>, Vec<u8>)> {
    let mut found = Vec::new();
    let mut rest = body;
    let end = format!("\r\n--{boundary}--\r\n");
    while rest != end.as_bytes() {
        let head_end = rest.windows(4).skip(2).position(|window| window == b"\r\n\r\n").unwrap() + 2;
        let head = str::from_utf8(&rest[..head_end]).unwrap();
        assert!(head.starts_with(&format!("\r\n--{boundary}\r\n")), "{head:?}");
        let range = head.split("Content-Range: bytes ").nth(1).unwrap();
        let (from, to) = range.split_once('/').unwrap().0.split_once('-').unwrap();
        assert!(range.ends_with(&format!("/{size}")));
        let range = from.parse().unwrap()..to.parse::<u64>().unwrap() + 1;
        let length = (range.end - range.start) as usize;
        found.push((range, rest[head_end + 4..head_end + 4 + length].to_vec()));
        rest = &rest[head_end + 4 + length..];
    }
    found
}

#[test]
fn several_ranges_come_as_parts_in_the_order_in_which_they_were_asked() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, tenant) = (Folder::open(dir.path()).unwrap(), Tenant::new(1));
    let bytes = noise(1, 2 * CHUNK_BYTES + 10);
    let sums = put(&folder, 1, &bytes, &tenant).sums;
    let entity = Entity { digest: sums.digest, size: sums.size, stored_s: STORED_S, filename: None };
    let range = "bytes=-5, 0-3, 65530-65540, 3-1, 9999999-";
    assert_eq!(plan(&Request { range: Some(range.as_bytes()), ..get() }, entity.clone()).status(), 416);
    let request = Request { range: Some(b"bytes=-5, 0-3, 65530-65540, 9999999-"), ..get() };
    let answer = plan(&request, entity);
    assert_eq!(answer.status(), 206);
    assert_eq!(header(&answer, "Content-Range"), None, "RFC 9110 §15.3.7.2");
    let kind = header(&answer, "Content-Type").unwrap();
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").unwrap();
    let body: Vec<u8> =
        Body::new(&answer, &open(&folder, 1, &bytes, &tenant)).flat_map(|piece| piece.unwrap()).collect();
    assert_eq!(body.len() as u64, answer.content_length());
    let size = bytes.len();
    let expected = [size - 5..size, 0..4, 65_530..65_541];
    let found = parts(&body, boundary, size as u64);
    assert_eq!(found.len(), 3);
    for ((range, part), expected) in found.into_iter().zip(expected) {
        assert_eq!(
            (range.start as usize..range.end as usize, &part[..]),
            (expected.clone(), &bytes[expected])
        );
    }
}

#[test]
fn a_body_breaks_off_where_the_artifact_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, tenant) = (Folder::open(dir.path()).unwrap(), Tenant::new(1));
    let bytes = noise(1, 3 * CHUNK_BYTES);
    let stored = put(&folder, 1, &bytes, &tenant);
    let path = dir.path().join(stored.blob.to_string());
    let mut raw = std::fs::read(&path).unwrap();
    raw[CHUNK_BYTES + 100] ^= 1;
    std::fs::write(&path, raw).unwrap();
    let entity = Entity { digest: stored.sums.digest, size: stored.sums.size, stored_s: 0, filename: None };
    let body: Vec<_> = Body::new(&plan(&get(), entity), &open(&folder, 1, &bytes, &tenant)).collect();
    assert_eq!(body.len(), 2);
    assert!(body[0].is_ok() && body[1].is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_body_is_as_long_as_its_answer_says_and_no_piece_is_longer_than_a_chunk(
        size in 1_usize..3 * CHUNK_BYTES,
        ranges in prop::collection::vec((0_usize..4 * CHUNK_BYTES, 0_usize..100_000), 0..6),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (folder, tenant) = (Folder::open(dir.path()).unwrap(), Tenant::new(1));
        let bytes = noise(7, size);
        let sums = put(&folder, 1, &bytes, &tenant).sums;
        let entity = Entity { digest: sums.digest, size: sums.size, stored_s: 1, filename: None };
        let list: Vec<String> = ranges.iter().map(|(from, more)| format!("{from}-{}", from + more)).collect();
        let range = format!("bytes={}", list.join(","));
        let request = Request { range: (!ranges.is_empty()).then_some(range.as_bytes()), ..get() };
        let answer = plan(&request, entity);
        let mut length = 0;
        for piece in Body::new(&answer, &open(&folder, 1, &bytes, &tenant)) {
            let piece = piece.unwrap();
            prop_assert!(!piece.is_empty() && piece.len() <= CHUNK_BYTES);
            length += piece.len() as u64;
        }
        prop_assert_eq!(length, answer.content_length());
    }
}
