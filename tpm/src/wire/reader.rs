//! A reader over borrowed bytes: big-endian integers and sized buffers, each with a bound.

/// Why bytes are not the structure they should be. Always the sender's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MalformedStructure {
    /// The bytes end inside a field.
    #[error("end inside a field: {needed} bytes needed, {left} left")]
    Truncated {
        /// Bytes the field needs.
        needed: usize,
        /// Bytes that were left.
        left: usize,
    },
    /// Bytes remain after the structure.
    #[error("have {count} trailing bytes")]
    Trailing {
        /// How many.
        count: usize,
    },
    /// A field or the whole is longer than its bound.
    #[error("have a {field} of {len} bytes where at most {max} are accepted")]
    TooLong {
        /// The field.
        field: &'static str,
        /// Its length, in bytes.
        len: usize,
        /// The bound, in bytes.
        max: usize,
    },
    /// A value that the standard knows and that has no use here.
    #[error("have the {field} {value:#x}, which is not supported")]
    Unsupported {
        /// The field.
        field: &'static str,
        /// The value.
        value: u32,
    },
    /// A value that the standard does not allow.
    #[error("have a wrong {field}")]
    Wrong {
        /// The field.
        field: &'static str,
    },
}

/// Reads a structure from its first byte to its last.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader over a whole structure called `field`, of at most `max` bytes.
    ///
    /// # Errors
    /// `TooLong`.
    pub fn new(bytes: &'a [u8], field: &'static str, max: usize) -> Result<Self, MalformedStructure> {
        if bytes.len() > max {
            return Err(MalformedStructure::TooLong { field, len: bytes.len(), max });
        }
        Ok(Self { rest: bytes })
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// `Truncated`.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], MalformedStructure> {
        let truncated = MalformedStructure::Truncated { needed: count, left: self.rest.len() };
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], MalformedStructure> {
        let truncated = MalformedStructure::Truncated { needed: N, left: self.rest.len() };
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// One byte.
    ///
    /// # Errors
    /// `Truncated`.
    pub fn u8(&mut self) -> Result<u8, MalformedStructure> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Two bytes.
    ///
    /// # Errors
    /// `Truncated`.
    pub fn u16(&mut self) -> Result<u16, MalformedStructure> {
        self.array().map(u16::from_be_bytes)
    }

    /// Four bytes.
    ///
    /// # Errors
    /// `Truncated`.
    pub fn u32(&mut self) -> Result<u32, MalformedStructure> {
        self.array().map(u32::from_be_bytes)
    }

    /// Eight bytes.
    ///
    /// # Errors
    /// `Truncated`.
    pub fn u64(&mut self) -> Result<u64, MalformedStructure> {
        self.array().map(u64::from_be_bytes)
    }

    /// A `TPM2B`: two bytes of length and that many bytes, at most `max`.
    ///
    /// # Errors
    /// `Truncated`, `TooLong`.
    pub fn sized(&mut self, field: &'static str, max: usize) -> Result<&'a [u8], MalformedStructure> {
        let len = usize::from(self.u16()?);
        if len > max {
            return Err(MalformedStructure::TooLong { field, len, max });
        }
        self.bytes(len)
    }

    /// Ends the structure.
    ///
    /// # Errors
    /// `Trailing` when bytes remain.
    pub fn finish(self) -> Result<(), MalformedStructure> {
        match self.rest.len() {
            0 => Ok(()),
            count => Err(MalformedStructure::Trailing { count }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_beyond_the_end_is_truncated() {
        let mut reader = Reader::new(&[0, 3, 1, 2], "test", 16).unwrap();
        assert_eq!(reader.sized("part", 8), Err(MalformedStructure::Truncated { needed: 3, left: 2 }));
    }

    #[test]
    fn a_length_beyond_the_bound_is_refused_before_it_is_read() {
        let mut reader = Reader::new(&[0xff, 0xff], "test", 16).unwrap();
        let expected = MalformedStructure::TooLong { field: "part", len: 65_535, max: 8 };
        assert_eq!(reader.sized("part", 8), Err(expected));
    }

    #[test]
    fn what_is_left_over_is_an_error() {
        let mut reader = Reader::new(&[1, 2], "test", 16).unwrap();
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.finish(), Err(MalformedStructure::Trailing { count: 1 }));
    }
}
