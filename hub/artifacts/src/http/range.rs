//! The `Range` header (RFC 9110 §14.1.2, §14.2), and which parts of an artifact it means.

use std::ops::Range;

use crate::limits::{HEADER_BYTES_MAX, RANGES_MAX};

/// What a `Range` header asks of an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// All of it: there is no header, or it counts in units that are not bytes (RFC 9110 §14.2: such a header is
    /// ignored).
    Whole,
    /// These parts, at least one, none empty, none past the end, no two that overlap. In the order in which they were
    /// asked; if some overlapped, in ascending order.
    Parts(Vec<Range<u64>>),
    /// None of it: the header makes no sense, asks for too much at once, or only for what is past the end.
    Nothing,
}

/// Reads the header for an artifact of `size` bytes, which is at least one.
///
/// What is wrong is refused and not ignored (RFC 9110 §14.2 leaves the choice): a device that asked for the rest of
/// an image and got all of it would write it behind what it has. Parts that overlap are merged (RFC 9110 §15.3.7.2),
/// so that an answer is never longer than the artifact, but for the lines between its parts. Neighbours are not:
/// readers of deltas expect what they asked.
pub fn asked(header: Option<&[u8]>, size: u64) -> Asked {
    let Some(header) = header else { return Asked::Whole };
    let Some(equals) = header.iter().position(|&byte| byte == b'=') else { return Asked::Nothing };
    let (unit, set) = header.split_at(equals);
    if !unit.trim_ascii().eq_ignore_ascii_case(b"bytes") {
        return if unit.trim_ascii().is_empty() { Asked::Nothing } else { Asked::Whole };
    }
    if header.len() > HEADER_BYTES_MAX {
        return Asked::Nothing;
    }
    let mut parts = Vec::new();
    let mut specs = 0;
    for spec in set.get(1..).unwrap_or_default().split(|&byte| byte == b',') {
        let spec = spec.trim_ascii();
        // A list may have empty elements (RFC 9110 §5.6.1.2).
        if spec.is_empty() {
            continue;
        }
        specs += 1;
        if specs > RANGES_MAX {
            return Asked::Nothing;
        }
        match part(spec, size) {
            Some(range) if range.is_empty() => {}
            Some(range) => parts.push(range),
            None => return Asked::Nothing,
        }
    }
    if parts.is_empty() {
        return Asked::Nothing;
    }
    Asked::Parts(apart(parts))
}

/// One element: `first-last`, `first-` or `-length`. Empty if it is past the end, none if it is no range.
fn part(spec: &[u8], size: u64) -> Option<Range<u64>> {
    let dash = spec.iter().position(|&byte| byte == b'-')?;
    let (first, last) = (spec.get(..dash)?, spec.get(dash + 1..)?);
    match (first.is_empty(), last.is_empty()) {
        (true, true) => None,
        (true, false) => Some(size.saturating_sub(number(last)?)..size),
        (false, true) => Some(number(first)?.min(size)..size),
        (false, false) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then(|| first.min(size)..last.saturating_add(1).min(size))
        }
    }
}

/// Digits and nothing else. What does not fit is more than any artifact has.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |sum: u64, digit: &u8| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    Some(digits.iter().fold(0, add))
}

/// Merges what overlaps.
fn apart(parts: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let mut sorted = parts.clone();
    sorted.sort_by_key(|range| (range.start, range.end));
    let overlap = sorted.iter().zip(sorted.iter().skip(1)).any(|(before, after)| after.start < before.end);
    if !overlap {
        return parts;
    }
    let mut merged: Vec<Range<u64>> = Vec::with_capacity(sorted.len());
    for range in sorted {
        match merged.last_mut() {
            Some(last) if range.start < last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "lists of one range are meant")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(header: &str, size: u64) -> Vec<Range<u64>> {
        match asked(Some(header.as_bytes()), size) {
            Asked::Parts(parts) => parts,
            other => panic!("{header:?} is {other:?}"),
        }
    }

    #[test]
    fn the_examples_of_the_rfc_mean_what_it_says() {
        // RFC 9110 §14.1.2, of 10,000 bytes.
        assert_eq!(parts("bytes=0-499", 10_000), [0..500]);
        assert_eq!(parts("bytes=500-999", 10_000), [500..1000]);
        assert_eq!(parts("bytes=-500", 10_000), [9_500..10_000]);
        assert_eq!(parts("bytes=9500-", 10_000), [9_500..10_000]);
        assert_eq!(parts("bytes=0-0,-1", 10_000), [0..1, 9_999..10_000]);
        assert_eq!(parts("bytes= 0-999, 4500-5499, -1000", 10_000), [0..1_000, 4_500..5_500, 9_000..10_000]);
        assert_eq!(parts("bytes=500-600,601-999", 10_000), [500..601, 601..1_000]);
        assert_eq!(parts("bytes=500-700,601-999", 10_000), [500..1_000]);
    }

    #[test]
    fn ends_beyond_the_artifact_are_cut_and_parts_beyond_it_left_out() {
        assert_eq!(parts("bytes=5-100", 10), [5..10]);
        assert_eq!(parts("BYTES=-100", 10), [0..10]);
        assert_eq!(parts("bytes=0-99999999999999999999999999999", 10), [0..10]);
        assert_eq!(parts("bytes=50-60,1-2,10-", 10), [1..3]);
        assert_eq!(parts("bytes=,,1-2,,", 10), [1..3]);
        for past in ["bytes=10-", "bytes=10-10", "bytes=-0", "bytes=50-,60-70"] {
            assert_eq!(asked(Some(past.as_bytes()), 10), Asked::Nothing, "{past}");
        }
    }

    #[test]
    fn what_is_no_range_is_refused_and_other_units_are_ignored() {
        let wrong = [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=,",
            "bytes=2-1",
            "bytes=a-b",
            "bytes=1-2x",
            "bytes=+1-2",
            "=1-2",
        ];
        for header in
            wrong.into_iter().chain(["bytes=1--2", "bytes=0x1-2", "bytes=1-2,oops", "bytes=1-2;3-4"])
        {
            assert_eq!(asked(Some(header.as_bytes()), 10), Asked::Nothing, "{header}");
        }
        assert_eq!(asked(Some(b"lines=1-2"), 10), Asked::Whole);
        assert_eq!(asked(None, 10), Asked::Whole);
    }

    #[test]
    fn too_many_parts_are_refused_and_as_many_as_allowed_are_not() {
        let list =
            |count: usize| (0..count).map(|n| format!("{}-{}", n * 3, n * 3)).collect::<Vec<_>>().join(",");
        assert_eq!(parts(&format!("bytes={}", list(RANGES_MAX)), 1 << 40).len(), RANGES_MAX);
        let more = format!("bytes={}", list(RANGES_MAX + 1));
        assert_eq!(asked(Some(more.as_bytes()), 1 << 40), Asked::Nothing);
        let long = format!("bytes=1-2,{}", " ".repeat(HEADER_BYTES_MAX));
        assert_eq!(asked(Some(long.as_bytes()), 10), Asked::Nothing);
    }

    #[test]
    fn the_whole_many_times_over_is_sent_once() {
        assert_eq!(parts(&format!("bytes={}", vec!["0-"; 200].join(",")), 1_000_000), [0..1_000_000]);
    }

    #[test]
    fn what_the_fuzzer_begins_with_is_read_as_its_name_says() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/range");
        let mut seen = 0;
        for entry in std::fs::read_dir(folder).expect("the corpus is there").flatten() {
            let (name, seed) = (entry.file_name(), std::fs::read(entry.path()).unwrap());
            let parts = matches!(asked(Some(&seed), 1_000), Asked::Parts(_));
            let name = name.to_string_lossy();
            assert_eq!(parts, name.starts_with("valid-") || name == "huge", "{name}");
            for length in 0..seed.len() {
                let _ = asked(Some(&seed[..length]), 1_000);
            }
            seen += 1;
        }
        assert!(seen >= 9);
    }

    proptest! {
        #[test]
        fn parts_are_within_the_artifact_and_apart_and_hold_every_byte_asked_for(
            size in 1_u64..500,
            specs in prop::collection::vec((0_u64..600, 0_u64..600, 0..3), 1..12),
        ) {
            let mut wanted = vec![false; size as usize];
            let text: Vec<String> = specs.iter().map(|&(a, b, kind)| {
                let (a, b) = (a.min(b), a.max(b));
                let (range, text) = match kind {
                    0 => (a..b + 1, format!("{a}-{b}")),
                    1 => (a..size, format!("{a}-")),
                    _ => (size.saturating_sub(a)..size, format!("-{a}")),
                };
                range.filter(|&at| at < size).for_each(|at| wanted[at as usize] = true);
                text
            }).collect();
            let got = asked(Some(format!("bytes={}", text.join(", ")).as_bytes()), size);
            let parts = match got {
                Asked::Parts(parts) => parts,
                other => { prop_assert_eq!(other, Asked::Nothing); Vec::new() }
            };
            let mut given = vec![0; size as usize];
            for range in &parts {
                prop_assert!(range.start < range.end && range.end <= size);
                range.clone().for_each(|at| given[at as usize] += 1);
            }
            let expected: Vec<i32> = wanted.iter().map(|&wanted| i32::from(wanted)).collect();
            prop_assert_eq!(given, expected);
        }

        #[test]
        fn no_header_is_a_panic(header in prop::collection::vec(any::<u8>(), 0..64), size in 1_u64..) {
            let _ = asked(Some(&header), size);
            let _ = asked(Some(&[b"bytes=", &header[..]].concat()), size);
        }
    }
}
