//! The two copies of a record, on a medium that loses power.

use std::path::Path;

use proptest::prelude::*;

use super::stage::image;
use crate::{
    fs::recorder::Recorder,
    journal::Journal,
    limits::TRIES_MAX,
    pointer::{BootPointer, Reason, RolledBack},
    record::{BODY_BYTES_MAX, Framed, Pair},
};
use muster_schemas::firmware::FailureCode;

const MAGIC: [u8; 4] = *b"TEST";

fn pair() -> Pair {
    Pair::new(Path::new("/state"), "record", MAGIC)
}

fn written_twice() -> Recorder {
    let fs = Recorder::default();
    pair().write(&fs, b"first").expect("writes");
    pair().write(&fs, b"second").expect("writes");
    Recorder::holding(fs.now())
}

/// What may be read after a process that died in its write was followed by another one that power cut short.
fn read_after_both(leave_out: Option<usize>) -> Vec<Option<Vec<u8>>> {
    let mut read = Vec::new();
    for dies in 0..4 {
        let fs = written_twice();
        fs.die_after(Some(dies));
        let _ = pair().write(&fs, b"third");
        fs.die_after(None);
        if let Some(number) = leave_out {
            fs.leave_out_sync(fs.syncs() + number);
        }
        let from = fs.calls();
        pair().write(&fs, b"fourth").expect("writes");
        for calls in from..=fs.calls() {
            for medium in fs.after_power_cut(calls) {
                let found = pair().read(&Recorder::holding(medium)).expect("reads");
                read.push(found.map(|framed| framed.body));
            }
        }
    }
    read
}

#[test]
fn the_newer_copy_is_synced_before_the_other_one_is_overwritten() {
    let read = read_after_both(None);
    assert!(read.len() > 20);
    for body in &read {
        let known = [b"second".as_slice(), b"third", b"fourth"];
        assert!(body.as_deref().is_some_and(|body| known.contains(&body)), "{body:?}");
    }
    assert!(
        read_after_both(Some(0)).contains(&None),
        "without that sync both copies can be lost, and this must see it"
    );
}

#[test]
fn a_record_that_changed_in_one_bit_is_none() {
    let bytes = Framed { generation: 3, body: b"here".to_vec() }.encode(MAGIC).expect("short");
    assert!(Framed::decode(MAGIC, &bytes).is_some());
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Framed::decode(MAGIC, &changed), None, "bit {bit}");
    }
    assert_eq!(Framed::decode(*b"ELSE", &bytes), None);
}

#[test]
fn the_longest_pointer_fits_into_a_sector() {
    let long = image(b"x", u64::MAX, &"v".repeat(64));
    let mut pointer = BootPointer::new(long.clone()).switched(long.clone()).expect("no trial");
    pointer.rolled_back = Some(RolledBack { image: long, reason: Reason::new(FailureCode::Other, "short") });
    pointer = pointer.faulted(Reason::new(FailureCode::Other, &"w".repeat(100)), false).expect("a trial");
    let body = pointer.encode();
    assert!(body.len() <= BODY_BYTES_MAX, "{} bytes", body.len());
    assert_eq!(BootPointer::decode(&body), Some(pointer));
}

#[test]
fn a_trial_has_three_tries_and_then_the_old_image_boots() {
    let (old, new) = (image(b"old", 1, "1.0"), image(b"new", 2, "1.1"));
    let mut pointer = BootPointer::new(old.clone()).switched(new.clone()).expect("no trial");
    for left in (0..TRIES_MAX).rev() {
        let boot = pointer.boot();
        assert_eq!(boot.trial, Some(left));
        pointer = boot.write.expect("a try is spent");
        assert_eq!(pointer.image(boot.slot), Some(&new));
    }
    let boot = pointer.boot();
    assert_eq!((boot.trial, pointer.image(boot.slot)), (None, Some(&old)));
    let pointer = boot.write.expect("the trial is over");
    let back = pointer.rolled_back.expect("it is remembered");
    assert_eq!((pointer.trial, back.image, back.reason.code), (None, new, FailureCode::BootFailed));
    assert_eq!(pointer.floor.0, 1, "an image that was never well raises nothing");
}

proptest! {
    #[test]
    fn whatever_a_record_holds_it_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = Framed::decode(MAGIC, &bytes);
        if let Some(pointer) = BootPointer::decode(&bytes) {
            prop_assert_eq!(pointer.encode(), bytes.clone());
        }
        if let Some(journal) = Journal::decode(&bytes) {
            prop_assert_eq!(journal.encode(), bytes);
        }
    }
}
