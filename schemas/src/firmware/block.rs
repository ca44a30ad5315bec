//! Blocks of what is transferred, over MQTT: the device asks for a window of them, and again for those that did not
//! come.

use super::{Digest, InvalidUpdate, codec::decode};
use crate::{
    cbor::Writer,
    limits::{
        UPDATE_BITMAP_BYTES_MAX, UPDATE_BLOCK_BYTES_MAX, UPDATE_BLOCK_BYTES_MIN, UPDATE_BLOCKS_MAX,
        UPDATE_WINDOW_BYTES_MAX,
    },
};

/// A device asks for a window: `count` blocks of `block_bytes` from `offset`, the last one of a file may be shorter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Get {
    /// What is transferred.
    pub artifact: Digest,
    /// Where the window begins, in bytes.
    pub offset: u64,
    /// How long a block is, in bytes: 256 to 65,536.
    pub block_bytes: u32,
    /// How many blocks: 1 to 256, together at most 65,536 bytes.
    pub count: u32,
    /// Which of them, when not all: block `n` is wanted if bit `n % 8` (from the least) of byte `n / 8` is set.
    pub bitmap: Option<Vec<u8>>,
    /// The number that the topic of the answer ends in.
    pub request: u32,
}

/// One block of a window, and where it belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// What is transferred.
    pub artifact: Digest,
    /// Where the block begins, in bytes.
    pub offset: u64,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Get {
    /// Whether the block with that number is wanted.
    pub fn wants(&self, block: u32) -> bool {
        let Some(bitmap) = &self.bitmap else { return block < self.count };
        let byte = usize::try_from(block / 8).ok().and_then(|place| bitmap.get(place));
        block < self.count && byte.is_some_and(|byte| byte >> (block % 8) & 1 == 1)
    }

    /// Where the wanted blocks begin, in bytes, in order.
    pub fn offsets(&self) -> impl Iterator<Item = u64> {
        let wanted = (0..self.count).filter(|block| self.wants(*block));
        wanted.filter_map(|block| {
            self.offset.checked_add(u64::from(block).checked_mul(self.block_bytes.into())?)
        })
    }

    /// The payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.map(5 + usize::from(self.bitmap.is_some()));
        w.unsigned(0).bytes(self.artifact.as_bytes()).unsigned(1).unsigned(self.offset);
        w.unsigned(2).unsigned(self.block_bytes.into()).unsigned(3).unsigned(self.count.into());
        if let Some(bitmap) = &self.bitmap {
            w.unsigned(4).bytes(bitmap);
        }
        w.unsigned(5).unsigned(self.request.into());
        w.into_bytes()
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// It is none, or asks for more than a window.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidUpdate> {
        decode(bytes, |map| {
            let (artifact, offset) = (Digest(map.exactly(0)?), map.unsigned(1)?);
            let block_bytes = map.number(2)?;
            if !(UPDATE_BLOCK_BYTES_MIN..=UPDATE_BLOCK_BYTES_MAX).contains(&block_bytes) {
                return Err(InvalidUpdate::Value {
                    key: 2,
                    what: "a block length outside 256 to 65536 bytes",
                });
            }
            let count = map.number(3)?;
            let whole = count.checked_mul(block_bytes).is_some_and(|bytes| bytes <= UPDATE_WINDOW_BYTES_MAX);
            if !(1..=UPDATE_BLOCKS_MAX).contains(&count) || !whole {
                return Err(InvalidUpdate::Value {
                    key: 3,
                    what: "no block, or more than a window of 65536 bytes",
                });
            }
            let end = u64::from(count) * u64::from(block_bytes);
            if offset.checked_add(end).is_none() {
                return Err(InvalidUpdate::Value { key: 1, what: "an offset that no file reaches" });
            }
            let bitmap =
                if map.has(4)? { Some(map.reader.bytes(UPDATE_BITMAP_BYTES_MAX)?.to_vec()) } else { None };
            let expected = usize::try_from(count.div_ceil(8)).unwrap_or(usize::MAX);
            if bitmap.as_ref().is_some_and(|bitmap| bitmap.len() != expected) {
                return Err(InvalidUpdate::Value {
                    key: 4,
                    what: "a bitmap that is not one bit for each block",
                });
            }
            Ok(Self { artifact, offset, block_bytes, count, bitmap, request: map.number(5)? })
        })
    }
}

impl Block {
    /// The payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new(Vec::with_capacity(self.bytes.len() + 64));
        w.map(3).unsigned(0).bytes(self.artifact.as_bytes());
        w.unsigned(1).unsigned(self.offset).unsigned(2).bytes(&self.bytes);
        w.into_bytes()
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// It is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidUpdate> {
        decode(bytes, |map| {
            let (artifact, offset) = (Digest(map.exactly(0)?), map.unsigned(1)?);
            let bytes = map.bytes(2, UPDATE_BLOCK_BYTES_MAX as usize)?;
            Ok(Self { artifact, offset, bytes })
        })
    }
}
