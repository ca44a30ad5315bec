//! Headers that ask for parts of an artifact, and conditions on it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use muster_artifacts::{
    Digest,
    http::{Asked, Entity, Method, Request, asked, plan},
    tree::Index,
};

fuzz_target!(|bytes: &[u8]| {
    for size in [1, 1_000, u64::MAX] {
        if let Asked::Parts(parts) = asked(Some(bytes), size) {
            assert!(!parts.is_empty() && parts.len() <= muster_artifacts::limits::RANGES_MAX);
            let asked: u128 = parts.iter().map(|part| u128::from(part.end - part.start)).sum();
            assert!(asked <= u128::from(size), "no byte twice");
            assert!(parts.iter().all(|part| part.start < part.end && part.end <= size));
        }
    }
    let entity = Entity { digest: Digest([0xab; 32]), size: 1_000, stored_s: 784_111_777, filename: None };
    let (some, get) = (Some(bytes), Request::new(Method::Get));
    let requests = [
        Request { range: some, ..get },
        Request { range: Some(b"bytes=0-9"), if_range: some, ..get },
        Request { if_match: some, ..get },
        Request { if_none_match: some, ..get },
        Request { if_modified_since: some, ..get },
        Request { if_unmodified_since: some, ..get },
    ];
    for request in requests {
        let answer = plan(&request, entity.clone());
        let _ = (answer.headers(), answer.content_length());
    }
    if let Ok(index) = Index::decode(bytes) {
        assert_eq!(index.encode(), bytes);
    }
});
