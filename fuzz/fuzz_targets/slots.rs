//! The records of a device's slots, as a boot loader and an agent read them after anything has happened to the
//! medium, and a list of block hashes as it arrives.
#![no_main]

use libfuzzer_sys::fuzz_target;
use muster_schemas::firmware::Digest;
use muster_slots::{journal::Journal, pointer::BootPointer, record::Framed, updater::BlockList};

fuzz_target!(|bytes: &[u8]| {
    for magic in [*b"MBP1", *b"MJR1"] {
        if let Some(framed) = Framed::decode(magic, bytes) {
            assert_eq!(framed.encode(magic).as_deref(), Some(bytes));
        }
    }
    if let Some(pointer) = BootPointer::decode(bytes) {
        assert_eq!(pointer.encode(), bytes);
        // Whatever is read, starts come to an end with the active slot.
        let mut pointer = pointer;
        for _ in 0..5 {
            let Some(next) = pointer.boot().write else { break };
            pointer = next;
        }
        assert_eq!(pointer.boot().slot, pointer.active);
        assert!(pointer.trial.is_none());
    }
    if let Some(journal) = Journal::decode(bytes) {
        assert_eq!(journal.encode(), bytes);
    }
    let _ = BlockList::decode(bytes, Digest([0; 32]), 1 << 20);
});
