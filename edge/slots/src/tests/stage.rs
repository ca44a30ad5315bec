//! A device with an old image in slot A, and a new one on offer.

use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use muster_schemas::firmware::{Digest, Encoding, ExecutionId, Sequence, Transfer};

use crate::{
    fs::{Fs, recorder::Recorder},
    slot::{Image, Layout, Place, Slot},
    slots::{Fault, Plan, Slots},
};

pub(super) fn sha(bytes: &[u8]) -> Digest {
    Digest(digest(&SHA256, bytes).as_ref().try_into().expect("32 bytes"))
}

pub(super) fn image(bytes: &[u8], sequence: u64, version: &str) -> Image {
    Image {
        digest: sha(bytes),
        size: bytes.len() as u64,
        sequence: Sequence(sequence),
        version: version.parse().expect("a version"),
    }
}

/// Bytes that look like nothing else, so that a mix of two images is neither.
pub(super) fn firmware(seed: u8, length: usize) -> Vec<u8> {
    (0..length).map(|at| (at as u8).wrapping_mul(31).wrapping_add(seed) ^ ((at >> 8) as u8)).collect()
}

pub(super) fn plan(new: &[u8], encoding: Encoding, artifact: &[u8], old: Option<&[u8]>) -> Plan {
    Plan {
        execution: ExecutionId::new(7).expect("a number"),
        attempt: 1,
        reserved: 0,
        image: image(new, 2, "1.1"),
        transfer: Transfer {
            encoding,
            from: old.map(sha),
            size: artifact.len() as u64,
            digest: sha(artifact),
            uris: Vec::new(),
        },
    }
}

pub(super) const ROOT: &str = "/device";

pub(super) fn folders() -> Layout {
    Layout::in_folder(Path::new(ROOT))
}

/// Two block devices, and a folder for records.
pub(super) fn devices() -> Layout {
    let device = |name: &str| Place::Device(PathBuf::from(ROOT).join(name));
    Layout { state: PathBuf::from(ROOT).join("state"), a: device("a"), b: device("b") }
}

/// A device as it leaves the factory, everything on the medium.
pub(super) fn factory(layout: &Layout, old: &[u8], room: usize) -> Recorder {
    let fs = Recorder::default();
    fs.write_at(&layout.a.image(), 0, old).expect("writes");
    if let Place::Device(device) = &layout.b {
        fs.write_at(device, 0, &vec![0xFF; room]).expect("writes");
    }
    let slots = Slots::new(fs.clone(), layout.clone());
    slots.provision(image(old, 1, "1.0")).expect("provisions");
    Recorder::holding(fs.now())
}

/// Brings the artifact in, in small pieces, and switches. What was there already is not sent again.
pub(super) fn update<F: Fs>(
    slots: &Slots<F>,
    plan: &Plan,
    artifact: &[u8],
    piece: usize,
) -> Result<u64, Fault> {
    let offset = slots.begin(plan)?;
    let mut at = usize::try_from(offset).expect("short");
    for (number, bytes) in artifact[at..].chunks(piece).enumerate() {
        slots.keep(plan, at as u64, bytes)?;
        at += bytes.len();
        if number % 2 == 1 || at == artifact.len() {
            slots.mark(plan, at as u64)?;
        }
    }
    slots.install(plan)?;
    slots.switch(plan)?;
    Ok(offset)
}

/// What a slot holds, as far as its image goes.
pub(super) fn held(fs: &Recorder, layout: &Layout, slot: Slot, size: u64) -> Vec<u8> {
    let medium = fs.now();
    let bytes = medium.read(&layout.place(slot).image()).expect("the slot holds something").to_vec();
    bytes.into_iter().take(usize::try_from(size).expect("short")).collect()
}
