//! How fast artifacts are stored and read, sealed and not: `cargo run --release -p muster-artifacts --example
//! reading`.
//!
//! Both ways in turns, so that whatever else the machine does slows both; of each the best and the middle of nine
//! turns. The file is in the page cache: this is what sealing costs, not what the disk gives.

#![expect(clippy::print_stdout, reason = "what was measured is what it is for")]
#![expect(clippy::disallowed_methods, reason = "measuring needs the time that passes")]
#![expect(clippy::unwrap_used, reason = "a measurement that fails is none")]

use std::{sync::Arc, time::Instant};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use muster_artifacts::{BlobName, Declared, Folder, SealRefusal, Sealer, digest_of};

const BYTES: usize = 256 * 1024 * 1024;
const TURNS: usize = 9;

/// AES-256-GCM; the nonce is the chunk's number, since this key seals one artifact.
struct Sealed(LessSafeKey);

impl Sealed {
    fn nonce(position: &[u8]) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        nonce.iter_mut().zip(position.iter().skip(32)).for_each(|(to, from)| *to = *from);
        Nonce::assume_unique_for_key(nonce)
    }
}

impl Sealer for Sealed {
    fn overhead_bytes(&self) -> usize {
        16
    }

    fn seal(&self, position: &[u8], plain: &[u8]) -> Result<Vec<u8>, SealRefusal> {
        let mut sealed = Vec::with_capacity(plain.len() + 16);
        sealed.extend_from_slice(plain);
        let done = self.0.seal_in_place_append_tag(Self::nonce(position), Aad::from(position), &mut sealed);
        done.map(|()| sealed).map_err(|_| SealRefusal::Forged)
    }

    fn open(&self, position: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SealRefusal> {
        let mut plain = sealed.to_vec();
        let length = self
            .0
            .open_in_place(Self::nonce(position), Aad::from(position), &mut plain)
            .map(|plain| plain.len());
        length.map_err(|_| SealRefusal::Forged).map(|length| {
            plain.truncate(length);
            plain
        })
    }
}

/// Seals nothing: what the chunks and their copies cost alone.
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

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let bytes: Vec<u8> =
        (0..BYTES / 8).flat_map(|n| (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).collect();
    let declared = Declared { digest: digest_of(&bytes), size: bytes.len() as u64 };
    let sealed = Sealed(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).unwrap()));
    let ways: [(&str, u8, Arc<dyn Sealer>); 2] =
        [("plain", 1, Arc::new(Plain)), ("sealed", 2, Arc::new(sealed))];
    let mib = BYTES as f64 / 1_048_576.0;
    for (way, name, sealer) in &ways {
        let begin = Instant::now();
        let mut incoming = folder.begin(BlobName([*name; 16]), declared, Arc::clone(sealer)).unwrap();
        bytes.chunks(1 << 20).for_each(|part| incoming.write(part).unwrap());
        incoming.finish().unwrap();
        println!(
            "store {way:<7} {:>7.0} MiB/s, SHA-256, SHA-1, MD5 and fsync included",
            mib / begin.elapsed().as_secs_f64()
        );
    }
    let mut took = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..TURNS {
        let begin = Instant::now();
        let file = std::fs::read(dir.path().join(BlobName([1; 16]).to_string())).unwrap();
        let [raw, ..] = &mut took;
        raw.push(begin.elapsed().as_secs_f64());
        drop(file);
        for ((_, name, sealer), took) in ways.iter().zip(took.iter_mut().skip(1)) {
            let blob = folder
                .read(&BlobName([*name; 16]), (declared.digest, declared.size), Arc::clone(sealer))
                .unwrap();
            let begin = Instant::now();
            let read: usize = blob.pieces(0..declared.size).unwrap().map(|piece| piece.unwrap().len()).sum();
            took.push(begin.elapsed().as_secs_f64());
            assert_eq!(read, BYTES);
        }
    }
    for (way, took) in ["file", "plain", "sealed"].iter().zip(&mut took) {
        took.sort_by(f64::total_cmp);
        let at = |place: usize| mib / took.get(place).copied().unwrap_or(f64::NAN);
        println!(
            "read  {way:<7} {:>7.0} MiB/s at best, {:>7.0} MiB/s in the middle of {TURNS}",
            at(0),
            at(TURNS / 2)
        );
    }
}
