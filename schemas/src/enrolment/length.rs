//! The length prefix before every frame.

use crate::limits::ENROLMENT_FRAME_BYTES_MAX;

/// Size of the length prefix, in bytes.
pub const LENGTH_PREFIX_BYTES: usize = 4;

/// Why a length prefix is refused, before anything is allocated for its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLength {
    /// No frame is empty.
    #[error("announces an empty frame")]
    Empty,
    /// Longer than any frame may be.
    #[error("announces a frame of {found} bytes, more than {ENROLMENT_FRAME_BYTES_MAX}")]
    TooLong {
        /// What the prefix said, in bytes.
        found: usize,
    },
}

/// Reads the prefix: how many bytes of frame follow, 1 to 16,384.
pub fn frame_length(prefix: [u8; LENGTH_PREFIX_BYTES]) -> Result<usize, InvalidLength> {
    let found = usize::try_from(u32::from_be_bytes(prefix)).unwrap_or(usize::MAX);
    match found {
        0 => Err(InvalidLength::Empty),
        1..=ENROLMENT_FRAME_BYTES_MAX => Ok(found),
        _ => Err(InvalidLength::TooLong { found }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_accepted_up_to_the_bound() {
        assert_eq!(frame_length([0, 0, 0, 1]), Ok(1));
        assert_eq!(frame_length(16_384_u32.to_be_bytes()), Ok(16_384));
        assert_eq!(frame_length([0; 4]), Err(InvalidLength::Empty));
        assert_eq!(frame_length(16_385_u32.to_be_bytes()), Err(InvalidLength::TooLong { found: 16_385 }));
        assert_eq!(frame_length(*b"GET "), Err(InvalidLength::TooLong { found: 0x4745_5420 }));
    }
}
