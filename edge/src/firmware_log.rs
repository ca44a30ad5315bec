//! The log that a PC's firmware keeps of what it measured (TCG PC Client Platform Firmware Profile, 10): little-endian, an
//! event in the old form that names the digests' lengths, then events with a digest for each bank. It is input like any
//! other: whatever is not whole ends the reading.

use muster_schemas::enrolment::Event;

use crate::limits::FIRMWARE_EVENTS_MAX;

/// TPM_ALG_SHA256.
const SHA256: u16 = 0x000b;
/// An event that extended no register.
const NO_ACTION: u32 = 3;
/// Length of the digest in the first event: SHA-1.
const OLD_DIGEST_BYTES: usize = 20;
/// Where the first event's own contents have the number of banks: after signature, class and versions.
const BANKS_AT: usize = 24;
/// Most banks that a log has.
const BANKS_MAX: u32 = 16;

/// The events of a log that extended the SHA-256 bank, as far as it can be read.
#[must_use]
pub fn parse(log: &[u8]) -> Vec<Event> {
    let mut reader = Reader(log);
    let Some(banks) = first_event(&mut reader) else { return Vec::new() };
    let mut events = Vec::new();
    while events.len() < FIRMWARE_EVENTS_MAX {
        match next_event(&mut reader, &banks) {
            Some(Some(event)) => events.push(event),
            Some(None) => {}
            None => break,
        }
    }
    events
}

/// Reads the event that says which banks there are, and how long their digests.
fn first_event(reader: &mut Reader<'_>) -> Option<Vec<(u16, usize)>> {
    reader.u32()?;
    if reader.u32()? != NO_ACTION {
        return None;
    }
    reader.take(OLD_DIGEST_BYTES)?;
    let size = reader.u32()?;
    let contents = reader.take(usize::try_from(size).ok()?)?;
    if !contents.starts_with(b"Spec ID Event03\0") {
        return None;
    }
    let mut contents = Reader(contents.get(BANKS_AT..)?);
    let count = contents.u32().filter(|count| *count <= BANKS_MAX)?;
    (0..count).map(|_| Some((contents.u16()?, usize::from(contents.u16()?)))).collect()
}

/// The next event; within, none when it extended nothing that is quoted.
fn next_event(reader: &mut Reader<'_>, banks: &[(u16, usize)]) -> Option<Option<Event>> {
    let register = reader.u32()?;
    let kind = reader.u32()?;
    let count = reader.u32().filter(|count| *count <= BANKS_MAX)?;
    let mut digest = None;
    for _ in 0..count {
        let algorithm = reader.u16()?;
        let (_, length) = banks.iter().find(|(known, _)| *known == algorithm)?;
        let bytes = reader.take(*length)?;
        if algorithm == SHA256 {
            digest = bytes.try_into().ok();
        }
    }
    let size = reader.u32()?;
    reader.take(usize::try_from(size).ok()?)?;
    let (Some(digest), Ok(pcr @ 0..=23), true) = (digest, u8::try_from(register), kind != NO_ACTION) else {
        return Some(None);
    };
    Some(Some(Event { pcr, digest, kind: "firmware".to_owned(), text: format!("event type {kind:#x}") }))
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log with two banks and these events.
    fn log(events: &[(u32, u32, u8)]) -> Vec<u8> {
        let mut contents = b"Spec ID Event03\0".to_vec();
        contents.extend([0, 0, 0, 0, 0, 2, 0, 2]);
        contents.extend(2u32.to_le_bytes());
        for (algorithm, length) in [(4u16, 20u16), (SHA256, 32)] {
            contents.extend(algorithm.to_le_bytes());
            contents.extend(length.to_le_bytes());
        }
        contents.push(0);
        let mut log = [0u32.to_le_bytes(), NO_ACTION.to_le_bytes()].concat();
        log.extend([0; 20]);
        log.extend(u32::try_from(contents.len()).expect("short").to_le_bytes());
        log.extend(contents);
        for (register, kind, digest) in events {
            log.extend(register.to_le_bytes());
            log.extend(kind.to_le_bytes());
            log.extend(2u32.to_le_bytes());
            log.extend(4u16.to_le_bytes());
            log.extend([0xaa; 20]);
            log.extend(SHA256.to_le_bytes());
            log.extend([*digest; 32]);
            log.extend(3u32.to_le_bytes());
            log.extend(b"abc");
        }
        log
    }

    #[test]
    fn events_are_read_with_the_digest_of_the_bank_that_is_quoted() {
        let events = parse(&log(&[(0, 8, 1), (7, 0x8000_0001, 2), (0, NO_ACTION, 3), (99, 8, 4)]));
        let found: Vec<_> = events.iter().map(|event| (event.pcr, event.digest)).collect();
        assert_eq!(found, [(0, [1; 32]), (7, [2; 32])]);
        assert_eq!(events[1].text, "event type 0x80000001");
    }

    #[test]
    fn a_log_that_ends_early_or_is_none_never_panics() {
        let whole = log(&[(0, 8, 1), (7, 8, 2)]);
        for length in 0..whole.len() {
            assert!(parse(&whole[..length]).len() < 2);
        }
        let mut state = 1u32;
        for _ in 0..2_000 {
            let mut damaged = whole.clone();
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let place = usize::try_from(state >> 8).expect("fits") % damaged.len();
            damaged[place] = state.to_le_bytes()[0];
            assert!(parse(&damaged).len() <= 2, "{damaged:?}");
        }
        assert_eq!(parse(b"not a log at all, and longer than a head"), []);
    }
}
