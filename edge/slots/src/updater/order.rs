//! What an accepted offer asks for, and what the records of the device say when it starts.

use aws_lc_rs::digest::{SHA256, digest};
use muster_schemas::firmware::{Digest, ExecutionId, Transfer};

use crate::{
    journal::Journal,
    limits::LISTED_BLOCK_BYTES,
    pointer::BootPointer,
    slot::{Image, Slot},
};

/// The SHA-256 of each 64 KiB of what is transferred: with it a wrong block is found when it arrives, from whomever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockList(Vec<Digest>);

/// A list that is not the one of that transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not the list of block hashes that the offer names")]
pub struct WrongList;

impl BlockList {
    /// Reads a list: digests one behind another, one for each 64 KiB begun, whose own digest the offer has.
    ///
    /// # Errors
    /// It is another one.
    pub fn decode(bytes: &[u8], listed: Digest, size: u64) -> Result<Self, WrongList> {
        let (digests, rest) = bytes.as_chunks::<32>();
        let fits = rest.is_empty() && digests.len() as u64 == size.div_ceil(LISTED_BLOCK_BYTES);
        let is_it = digest(&SHA256, bytes).as_ref() == listed.as_bytes();
        (fits && is_it).then(|| Self(digests.iter().copied().map(Digest).collect())).ok_or(WrongList)
    }

    /// Whether these bytes are the block that begins there.
    pub fn has(&self, offset: u64, bytes: &[u8]) -> bool {
        let number = usize::try_from(offset / LISTED_BLOCK_BYTES).ok();
        let listed = number.and_then(|number| self.0.get(number));
        listed.is_some_and(|listed| digest(&SHA256, bytes).as_ref() == listed.as_bytes())
    }
}

/// One way to get the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// As the offer has it.
    pub transfer: Transfer,
    /// The hashes of its blocks, if there is a list.
    pub blocks: Option<BlockList>,
}

/// An offer that was judged and accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// For which execution.
    pub execution: ExecutionId,
    /// Which try of it.
    pub attempt: u32,
    /// The image, from its signed manifest.
    pub image: Image,
    /// Ways to get it, in the order in which they are tried.
    pub ways: Vec<Way>,
    /// How long it may take until all of it is here; none is as long as it takes.
    pub download_ms: Option<u64>,
}

/// What makes a trial a success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// The device has to reach its hub.
    pub needs_connection: bool,
    /// The command of `health_check` has to pass.
    pub needs_command: bool,
    /// All of it within this time after the start.
    pub within_ms: u64,
}

/// What the records say when the agent starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Woken {
    /// The slot that runs.
    pub slot: Slot,
    /// The boot pointer.
    pub pointer: BootPointer,
    /// The journal.
    pub journal: Option<Journal>,
    /// What the image that runs says that it is.
    pub version: String,
}
