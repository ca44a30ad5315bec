//! Lengths that say less: padding to size classes (ISO/IEC 7816-4: one byte 80, then zeros).

use zeroize::Zeroizing;

use crate::limits::{PADDING_BYTES_MIN, PADDING_STEP_BYTES};

/// Whether a length tells how long the plaintext is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Padding {
    /// As long as it is.
    #[default]
    None,
    /// Padded to the next of 64, 128, 256, 512, 1,024 bytes, and from there to a multiple of 1,024.
    SizeClasses,
}

/// The plaintext as it is sealed, with room for `tag` bytes more.
pub(crate) fn padded(plaintext: &[u8], padding: Padding, tag: usize) -> Zeroizing<Vec<u8>> {
    let length = match padding {
        Padding::None => plaintext.len(),
        Padding::SizeClasses => class_of(plaintext.len().saturating_add(1)),
    };
    let mut out = Zeroizing::new(Vec::with_capacity(length.saturating_add(tag)));
    out.extend_from_slice(plaintext);
    if padding == Padding::SizeClasses {
        out.push(0x80);
        out.resize(length, 0);
    }
    out
}

/// How long the plaintext is within its padding; none when that is not padding.
pub(crate) fn unpadded_length(padded: &[u8]) -> Option<usize> {
    let last = padded.iter().rposition(|&byte| byte != 0)?;
    (padded.get(last) == Some(&0x80)).then_some(last)
}

fn class_of(length: usize) -> usize {
    if length <= PADDING_STEP_BYTES {
        length.next_power_of_two().max(PADDING_BYTES_MIN)
    } else {
        length.checked_next_multiple_of(PADDING_STEP_BYTES).unwrap_or(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_hidden_in_its_class_and_comes_back() {
        for (length, class) in
            [(0, 64), (63, 64), (64, 128), (127, 128), (1_023, 1_024), (1_024, 2_048), (5_000, 5_120)]
        {
            let plaintext = vec![0; length];
            let padded = padded(&plaintext, Padding::SizeClasses, 16);
            assert_eq!(padded.len(), class, "of {length}");
            assert_eq!(unpadded_length(&padded), Some(length));
        }
    }

    #[test]
    fn what_does_not_end_in_padding_has_no_length() {
        assert_eq!(unpadded_length(&[]), None);
        assert_eq!(unpadded_length(&[0, 0]), None);
        assert_eq!(unpadded_length(&[0x80, 1, 0]), None);
    }
}
