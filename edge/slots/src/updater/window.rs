//! The window: up to 64 KiB that were asked for together, in memory until all of it is there.

use muster_schemas::firmware::{Block, Digest, Get};

use crate::limits::{ASK_AGAIN_MS, ASK_AGAIN_MS_MAX, WINDOW_BYTES};

#[derive(Debug, Clone)]
pub(super) struct Window {
    artifact: Digest,
    pub(super) from: u64,
    bytes: Vec<u8>,
    got: Vec<bool>,
    block_bytes: u32,
    wait_ms: u64,
    /// When what is missing is asked for again; none while there is nobody to ask.
    pub(super) deadline: Option<u64>,
}

impl Window {
    /// The one that begins there. Windows end at multiples of their size, or with the transfer.
    pub(super) fn new(artifact: Digest, size: u64, from: u64, block_bytes: u32) -> Self {
        let to = (from - from % WINDOW_BYTES).saturating_add(WINDOW_BYTES).min(size);
        let length = usize::try_from(to.saturating_sub(from)).unwrap_or(0);
        let blocks = length.div_ceil(usize::try_from(block_bytes).unwrap_or(usize::MAX));
        let (bytes, got) = (vec![0; length], vec![false; blocks]);
        Self { artifact, from, bytes, got, block_bytes, wait_ms: ASK_AGAIN_MS, deadline: None }
    }

    pub(super) fn end(&self) -> u64 {
        self.from + self.bytes.len() as u64
    }

    /// Asks for what is missing.
    pub(super) fn ask(&mut self, now_ms: u64, request: u32) -> Get {
        self.deadline = Some(now_ms.saturating_add(self.wait_ms));
        self.wait_ms = (self.wait_ms * 2).min(ASK_AGAIN_MS_MAX);
        let bitmap = self.got.contains(&true).then(|| {
            let bytes = self.got.chunks(8);
            bytes
                .map(|got| got.iter().enumerate().fold(0, |byte, (bit, got)| byte | u8::from(!got) << bit))
                .collect()
        });
        Get {
            artifact: self.artifact,
            offset: self.from,
            block_bytes: self.block_bytes,
            count: u32::try_from(self.got.len()).unwrap_or(u32::MAX),
            bitmap,
            request,
        }
    }

    /// Takes a block. Whatever is not asked for is passed over: it may be late, or said twice.
    pub(super) fn take(&mut self, block: &Block) -> bool {
        let Some(within) = block.offset.checked_sub(self.from).filter(|_| block.artifact == self.artifact)
        else {
            return false;
        };
        let block_bytes = u64::from(self.block_bytes);
        let Ok(number) = usize::try_from(within / block_bytes) else { return false };
        let Ok(start) = usize::try_from(within) else { return false };
        let rest = self.bytes.get_mut(start..).unwrap_or_default();
        let expected = usize::try_from(block_bytes).map_or(rest.len(), |length| length.min(rest.len()));
        let Some(got) = self.got.get_mut(number) else { return false };
        let fits = within.is_multiple_of(block_bytes) && block.bytes.len() == expected;
        let Some(into) = rest.get_mut(..expected).filter(|_| fits && !*got) else { return false };
        into.copy_from_slice(&block.bytes);
        *got = true;
        // Something comes: what is missing has the whole time again.
        self.wait_ms = ASK_AGAIN_MS;
        true
    }

    /// Something came, so that it is waited again.
    pub(super) fn wait(&mut self, now_ms: u64) {
        self.deadline = Some(now_ms.saturating_add(ASK_AGAIN_MS));
    }

    /// All of it, once it is there.
    pub(super) fn whole(&self) -> Option<&[u8]> {
        (!self.got.contains(&false)).then_some(self.bytes.as_slice())
    }
}
