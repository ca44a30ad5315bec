//! Bytes on their way out: small packets side by side in one buffer, large payloads as they are.

use bytes::{Bytes, BytesMut};

use crate::limits::PAYLOAD_CHUNK_BYTES_MIN;

/// Encoded packets in order, as chunks for a vectored write. Filled by the session, emptied by the writer.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// Complete chunks, oldest first.
    chunks: Vec<Bytes>,
    /// Bytes in `chunks`.
    chunk_bytes: usize,
    /// What follows them, still growing.
    tail: BytesMut,
    /// Packets put in since they were last asked for.
    packets: u64,
}

impl Outgoing {
    /// Appends bytes by copying them.
    pub fn push(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
    }

    /// Appends a payload: shared from 4 KiB on, else copied.
    pub fn push_shared(&mut self, payload: &Bytes) {
        if payload.len() < PAYLOAD_CHUNK_BYTES_MIN {
            self.push(payload);
        } else {
            self.end_chunk();
            self.chunk_bytes += payload.len();
            self.chunks.push(payload.clone());
        }
    }

    /// Takes all chunks, leaving nothing.
    pub fn take_chunks(&mut self) -> Vec<Bytes> {
        self.end_chunk();
        self.chunk_bytes = 0;
        std::mem::take(&mut self.chunks)
    }

    /// Moves all chunks to the end of `into`, leaving nothing. Saves the allocation of [`Self::take_chunks`].
    pub fn drain_into(&mut self, into: &mut impl Extend<Bytes>) {
        self.end_chunk();
        self.chunk_bytes = 0;
        into.extend(self.chunks.drain(..));
    }

    /// Counts a packet that was put in.
    pub(crate) fn count_packet(&mut self) {
        self.packets += 1;
    }

    /// Packets that were put in since this was last asked.
    pub fn take_packets(&mut self) -> u64 {
        std::mem::take(&mut self.packets)
    }

    /// Bytes not yet taken.
    pub fn len(&self) -> usize {
        self.chunk_bytes + self.tail.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The growing end, for encoders.
    pub(crate) fn tail(&mut self) -> &mut BytesMut {
        &mut self.tail
    }

    fn end_chunk(&mut self) {
        if !self.tail.is_empty() {
            self.chunk_bytes += self.tail.len();
            self.chunks.push(self.tail.split().freeze());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pieces_share_a_chunk_and_large_payloads_keep_their_memory() {
        let large = Bytes::from(vec![7; PAYLOAD_CHUNK_BYTES_MIN]);
        let mut outgoing = Outgoing::default();
        outgoing.push(b"ab");
        outgoing.push_shared(&Bytes::from_static(b"c"));
        outgoing.push_shared(&large);
        outgoing.push(b"d");
        assert_eq!(outgoing.len(), 4 + large.len());
        let chunks = outgoing.take_chunks();
        assert_eq!(chunks.iter().map(Bytes::len).collect::<Vec<_>>(), [3, large.len(), 1]);
        assert_eq!(chunks[1].as_ptr(), large.as_ptr());
        assert!(outgoing.is_empty());
    }

    #[test]
    fn nothing_gives_no_chunk() {
        let mut outgoing = Outgoing::default();
        assert!(outgoing.take_chunks().is_empty());
    }
}
