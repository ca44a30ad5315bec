//! Reads the engine's journal, and changes nothing of it: which batches are whole, and what lies behind the last of them.
//!
//! Holds for fjall 3 (disk format `FJL 3`); `the_engine_writes_what_is_read_here` fails when an update changes it. Files
//! `<number>.jnl`, the highest is the one being written, the others are closed and synced. All numbers little-endian:
//!
//! ```text
//! journal  batch.. zeros           a new file is 64 MiB of zeros; after a restart it ends with its last batch
//! batch    start (item | clear).. end
//! start    1, items u32, seqno u64                              not covered by the checksum
//! item     2, kind u8, compression u8, keyspace u64, key bytes u16, value bytes u32, bytes on disk u32, key, value
//! clear    4, keyspace u64
//! end      3, XXH3-64 of the items as written u64, "FJL" 3
//! ```
//!
//! The last item of each batch of ours counts the commits (`MARK_NUMBER`); that number is big-endian.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use xxhash_rust::xxh3::Xxh3;

use super::{committer::MARK_NUMBER, limits::JOURNAL_BUFFER_BYTES};

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
/// What every batch ends with.
const TRAILER: [u8; 4] = *b"FJL\x03";
/// Tag, items and seqno.
const START_BYTES: usize = 1 + 4 + 8;
/// The largest kind of an item.
const KIND_MAX: u8 = 4;
/// The largest compression.
const COMPRESSION_MAX: u8 = 1;

/// A batch that is whole: its items are as many as it says, and have its checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Batch {
    /// Where the next one begins.
    pub end: u64,
    /// Orders the batches: the engine takes the row with the higher one for the later.
    pub seqno: u64,
    /// The number of the commit, if it is one of ours.
    pub number: Option<u64>,
}

/// A journal file, open for reading.
pub(super) struct Journal {
    reader: BufReader<File>,
    /// Where the reader is, or [`NOWHERE`].
    at: u64,
    bytes: u64,
}

/// The reader has to be sought before it is read from.
const NOWHERE: u64 = u64::MAX;

/// The journal files of the engine in `dir` with their numbers, the oldest first. None if there is no engine yet.
pub(super) fn journals(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let entries = match dir.read_dir() {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".jnl"));
        // The engine refuses names that it does not know.
        if let Some(number) = name.and_then(|name| name.parse().ok()) {
            found.push((number, path));
        }
    }
    found.sort_unstable();
    Ok(found)
}

impl Journal {
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { reader: BufReader::with_capacity(JOURNAL_BUFFER_BYTES, file), at: 0, bytes })
    }

    /// The batch that begins at `start`, if it is whole.
    pub fn batch(&mut self, start: u64) -> io::Result<Option<Batch>> {
        // To seek empties the buffer.
        if start != self.at {
            self.seek(start)?;
        }
        match self.read_batch() {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.at = NOWHERE;
                Ok(None)
            }
            outcome => outcome,
        }
    }

    /// Where the last byte from `start` on ends that is not zero; none if there is none.
    pub fn end_of_content(&mut self, start: u64) -> io::Result<Option<u64>> {
        let mut end = None;
        let mut start = start;
        // What was never written is a hole in the file: there is nothing to read there.
        while let Some(content) = next_content(self.reader.get_ref(), start)? {
            self.seek(content)?;
            let hole = rustix::fs::seek(self.reader.get_ref(), rustix::fs::SeekFrom::Hole(content));
            let hole = hole.unwrap_or(self.bytes);
            self.seek(content)?;
            while self.at < hole {
                let at = self.at;
                let piece = self.reader.fill_buf()?;
                let count = piece.len().min(usize::try_from(hole - at).unwrap_or(usize::MAX));
                if count == 0 {
                    break;
                }
                if let Some(last) = piece.iter().take(count).rposition(|byte| *byte != 0) {
                    end = Some(at + last as u64 + 1);
                }
                self.consume(count);
            }
            start = hole;
        }
        self.at = NOWHERE;
        Ok(end)
    }

    /// The first place in `start..end` where another batch was begun: one that follows on the end of a batch, or is whole.
    /// One that does not come after `seqno` was written earlier, and its page lies where the new one did not get to.
    pub fn next_batch(&mut self, start: u64, end: u64, seqno: Option<u64>) -> io::Result<Option<u64>> {
        // Wide enough to see, around a place, the end before it and the first item after it.
        const BEFORE: usize = TRAILER.len();
        const WIDTH: usize = BEFORE + START_BYTES + 3;
        let mut from = start.saturating_sub(BEFORE as u64);
        let mut window = Vec::with_capacity(JOURNAL_BUFFER_BYTES);
        while from + (WIDTH as u64) <= end {
            self.seek(from)?;
            window.clear();
            let piece = (end - from).min(JOURNAL_BUFFER_BYTES as u64);
            (&mut self.reader).take(piece).read_to_end(&mut window)?;
            self.at += window.len() as u64;
            if window.len() < WIDTH {
                break;
            }
            for (place, around) in window.windows(WIDTH).enumerate() {
                let (before, batch) = around.split_at(BEFORE);
                let begins = begins(batch).is_some_and(|found| seqno.is_none_or(|seqno| found > seqno));
                let place = from + (place + BEFORE) as u64;
                if begins && (before == TRAILER || self.batch(place)?.is_some()) {
                    return Ok(Some(place));
                }
            }
            from += (window.len() - WIDTH + 1) as u64;
        }
        Ok(None)
    }

    fn read_batch(&mut self) -> io::Result<Option<Batch>> {
        if self.read::<1>()? != [START] {
            return Ok(None);
        }
        let items = u32::from_le_bytes(self.read()?);
        let seqno = u64::from_le_bytes(self.read()?);
        let mut sum = Xxh3::new();
        let mut number = None;
        for _ in 0..items {
            number = match self.read::<1>()? {
                [ITEM] => match self.read_item(&mut sum)? {
                    Some(number) => number,
                    None => return Ok(None),
                },
                [CLEAR] => {
                    sum.update(&[CLEAR]);
                    sum.update(&self.read::<8>()?);
                    None
                }
                _ => return Ok(None),
            };
        }
        if self.read::<1>()? != [END] {
            return Ok(None);
        }
        let is_whole = u64::from_le_bytes(self.read()?) == sum.digest() && self.read()? == TRAILER;
        Ok(is_whole.then_some(Batch { end: self.at, seqno, number }))
    }

    /// Reads on behind the tag of an item. None if it cannot be one, else the number of a commit if it holds that.
    fn read_item(&mut self, sum: &mut Xxh3) -> io::Result<Option<Option<u64>>> {
        let [kind, compression] = self.read()?;
        let keyspace: [u8; 8] = self.read()?;
        let (key, value, on_disk) = (self.read::<2>()?, self.read::<4>()?, self.read::<4>()?);
        if !is_item(&[ITEM, kind, compression]) {
            return Ok(None);
        }
        for part in [[ITEM, kind, compression].as_slice(), &keyspace, &key, &value, &on_disk] {
            sum.update(part);
        }
        let (key, value) = (u16::from_le_bytes(key), u32::from_le_bytes(on_disk));
        if usize::from(key) == MARK_NUMBER.len() && value as usize == size_of::<u64>() {
            let (key, value): ([u8; MARK_NUMBER.len()], [u8; 8]) = (self.read()?, self.read()?);
            sum.update(&key);
            sum.update(&value);
            return Ok(Some((key == MARK_NUMBER).then(|| u64::from_be_bytes(value))));
        }
        self.sum_up(u64::from(key) + u64::from(value), sum)?;
        Ok(Some(None))
    }

    /// Adds the next `count` bytes to the checksum.
    fn sum_up(&mut self, mut count: u64, sum: &mut Xxh3) -> io::Result<()> {
        if count > self.bytes.saturating_sub(self.at) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        while count > 0 {
            let piece = self.reader.fill_buf()?;
            let taken = piece.len().min(usize::try_from(count).unwrap_or(usize::MAX));
            let Some(piece) = piece.get(..taken).filter(|piece| !piece.is_empty()) else {
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            sum.update(piece);
            self.consume(taken);
            count -= taken as u64;
        }
        Ok(())
    }

    fn read<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes)?;
        self.at += N as u64;
        Ok(bytes)
    }

    fn consume(&mut self, count: usize) {
        self.reader.consume(count);
        self.at += count as u64;
    }

    fn seek(&mut self, to: u64) -> io::Result<()> {
        self.at = self.reader.seek(SeekFrom::Start(to))?;
        Ok(())
    }
}

/// The seqno of a batch, if `bytes` look like the beginning of one and of its first item.
fn begins(bytes: &[u8]) -> Option<u64> {
    let (start, item) = bytes.split_at_checked(START_BYTES)?;
    let is_begin = start.first() == Some(&START) && (item.first() == Some(&CLEAR) || is_item(item));
    let seqno = start.last_chunk().filter(|_| is_begin)?;
    Some(u64::from_le_bytes(*seqno))
}

/// Whether `bytes` look like the beginning of an item.
fn is_item(bytes: &[u8]) -> bool {
    matches!(bytes, [ITEM, kind, compression, ..] if *kind <= KIND_MAX && *compression <= COMPRESSION_MAX)
}

/// The first place from `start` on that is not in a hole of the file; none if there is none.
fn next_content(file: &File, start: u64) -> io::Result<Option<u64>> {
    match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(start)) {
        Ok(place) => Ok(Some(place)),
        // Also when `start` is at the end.
        Err(rustix::io::Errno::NXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
