//! One of each message, for tests and for the seeds of the fuzz target.

use super::{
    Announcement, Block, Digest, Encoding, Event, EventKind, ExecutionId, FailureCode, Freshness, Get, Offer,
    Outcome, Report, Running, Sequence, Stage, Transfer, Uuid, Window,
};

fn execution() -> ExecutionId {
    ExecutionId::new(7).expect("a number of an execution")
}

pub(crate) fn offers() -> Vec<Offer> {
    let full = Transfer {
        encoding: Encoding::Full,
        from: None,
        size: 3_002_368,
        digest: Digest([1; 32]),
        uris: vec!["https://relay.site/a".into(), "https://hub.example/a".into()],
    };
    let patch = Transfer {
        encoding: Encoding::Bsdiff,
        from: Some(Digest([2; 32])),
        size: 91_000,
        digest: Digest([3; 32]),
        uris: Vec::new(),
    };
    let whole = Offer {
        tenant: "acme".parse().expect("a tenant"),
        device: "pump-7".parse().expect("a device"),
        execution: execution(),
        attempt: 1,
        manifest: Digest([4; 32]),
        sequence: Sequence(12),
        not_before_s: 1_790_000_000,
        expires_s: 1_790_086_400,
        window: Some(Window { from_s: 1_790_010_000, to_s: 1_790_020_000 }),
        nonce: Some([9; 16]),
        consent: true,
        transfers: vec![patch, full],
    };
    let bare = Offer { window: None, nonce: None, consent: false, transfers: Vec::new(), ..whole.clone() };
    vec![whole, bare]
}

pub(crate) fn freshness() -> Vec<Freshness> {
    let asked = Freshness {
        tenant: "acme".parse().expect("a tenant"),
        class: Uuid([5; 16]),
        sequence: Sequence(12),
        manifest: Digest([4; 32]),
        time_s: 1_790_000_000,
        expires_s: 1_790_086_400,
        nonce: Some([9; 16]),
    };
    vec![Freshness { nonce: None, ..asked.clone() }, asked]
}

pub(crate) fn announcements() -> Vec<Announcement> {
    let offer = offers().remove(0).encode();
    let freshness = freshness().remove(0).encode();
    let with =
        Announcement { offer, freshness, envelope: vec![0xd8, 0x6b], roots: vec![vec![1], vec![2, 3]] };
    vec![Announcement { roots: Vec::new(), ..with.clone() }, with]
}

pub(crate) fn gets() -> Vec<Get> {
    let all = Get {
        artifact: Digest([1; 32]),
        offset: 65_536,
        block_bytes: 4_096,
        count: 16,
        bitmap: None,
        request: 3,
    };
    vec![Get { bitmap: Some(vec![0b1000_0001, 0b10]), ..all.clone() }, all]
}

pub(crate) fn blocks() -> Vec<Block> {
    vec![Block { artifact: Digest([1; 32]), offset: 65_536, bytes: vec![0xab; 300] }]
}

pub(crate) fn reports() -> Vec<Report> {
    let event = |number, what| Report::Event(Event { execution: execution(), attempt: 2, number, what });
    let mut reports: Vec<_> = Stage::ALL
        .iter()
        .zip(0..)
        .map(|(stage, number)| {
            let bytes = (*stage == Stage::Downloading).then_some(1_000_000);
            event(number, EventKind::Reached { stage: *stage, bytes })
        })
        .collect();
    for outcome in Outcome::SAMPLES {
        reports.push(event(9, EventKind::Ended { outcome: *outcome, detail: "health check: exit 1".into() }));
    }
    for code in FailureCode::ALL {
        let outcome = Outcome::Failed { code: *code };
        reports.push(event(9, EventKind::Ended { outcome, detail: String::new() }));
    }
    let running = Running {
        version: "1.4.0".into(),
        image: Some(Digest([1; 32])),
        sequence: Sequence(12),
        root: 2,
        nonce: Some([9; 16]),
    };
    reports.push(Report::Running(Running { image: None, nonce: None, ..running.clone() }));
    reports.push(Report::Running(running));
    reports
}
