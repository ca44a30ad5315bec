//! The one form of plans, records and snapshots as bytes: written in order, read strictly. An input that is read is the
//! very bytes that writing what was read would give: lengths and numbers are in their shortest form, nothing follows.

/// Why bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The input ends too early.
    #[error("ends within {what}")]
    Truncated {
        /// What was being read.
        what: &'static str,
    },
    /// The input goes on after its end.
    #[error("has {bytes} bytes after its end")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// A number that is not in its shortest form, or too large for what it is.
    #[error("has a number for {what} that is out of range or too long")]
    Number {
        /// What was being read.
        what: &'static str,
    },
    /// A choice that there is not.
    #[error(
        "has {found} for {what}, which this version does not know; a newer hub wrote it, or it is damaged"
    )]
    Choice {
        /// What was being read.
        what: &'static str,
        /// The number that was there.
        found: u64,
    },
    /// Text that is none, or longer than its bound.
    #[error("has no text of at most {max} bytes for {what}")]
    Text {
        /// What was being read.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// A value that its type refuses.
    #[error("has a {what} that is none: {why}")]
    Value {
        /// What was being read.
        what: &'static str,
        /// Why it is none.
        why: String,
    },
}

/// Writes.
#[derive(Debug, Default)]
pub(crate) struct Writer(pub Vec<u8>);

impl Writer {
    pub fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub fn flag(&mut self, flag: bool) {
        self.0.push(u8::from(flag));
    }

    /// Seven bits at a time, the lowest first.
    pub fn number(&mut self, number: impl Into<u64>) {
        let mut rest: u64 = number.into();
        while rest >= 0x80 {
            self.0.push(u8::try_from(rest & 0x7f).unwrap_or(0) | 0x80);
            rest >>= 7;
        }
        self.0.push(u8::try_from(rest).unwrap_or(0));
    }

    pub fn count(&mut self, count: usize) {
        self.number(u64::try_from(count).unwrap_or(u64::MAX));
    }

    pub fn fixed(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub fn text(&mut self, text: &str) {
        self.count(text.len());
        self.fixed(text.as_bytes());
    }

    pub fn option<T>(&mut self, value: Option<&T>, write: impl FnOnce(&mut Self, &T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    pub fn list<T>(&mut self, values: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.count(values.len());
        values.iter().for_each(|value| write(self, value));
    }
}

/// Reads.
#[derive(Debug)]
pub(crate) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed::Trailing { bytes: self.0.len() }) }
    }

    pub fn byte(&mut self, what: &'static str) -> Result<u8, Malformed> {
        let (first, rest) = self.0.split_first().ok_or(Malformed::Truncated { what })?;
        self.0 = rest;
        Ok(*first)
    }

    pub fn flag(&mut self, what: &'static str) -> Result<bool, Malformed> {
        match self.byte(what)? {
            0 => Ok(false),
            1 => Ok(true),
            found => Err(Malformed::Choice { what, found: found.into() }),
        }
    }

    fn long(&mut self, what: &'static str) -> Result<u64, Malformed> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(what)?;
            let bits = u64::from(byte & 0x7f);
            let placed = bits << shift;
            if placed >> shift != bits || (byte == 0 && shift > 0) {
                return Err(Malformed::Number { what });
            }
            number |= placed;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Malformed::Number { what })
    }

    pub fn number<T: TryFrom<u64>>(&mut self, what: &'static str) -> Result<T, Malformed> {
        T::try_from(self.long(what)?).map_err(|_| Malformed::Number { what })
    }

    /// A count of things that take at least a byte each, and of which there are at most `max`.
    pub fn count(&mut self, what: &'static str, max: usize) -> Result<usize, Malformed> {
        let count: usize = self.number(what)?;
        if count > max {
            return Err(Malformed::Number { what });
        }
        if count > self.0.len() {
            return Err(Malformed::Truncated { what });
        }
        Ok(count)
    }

    pub fn fixed<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Malformed> {
        let (first, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed::Truncated { what })?;
        self.0 = rest;
        Ok(*first)
    }

    pub fn text(&mut self, what: &'static str, max: usize) -> Result<&'a str, Malformed> {
        let length: usize = self.number(what)?;
        if length > max {
            return Err(Malformed::Text { what, max });
        }
        let (first, rest) = self.0.split_at_checked(length).ok_or(Malformed::Truncated { what })?;
        self.0 = rest;
        std::str::from_utf8(first).map_err(|_| Malformed::Text { what, max })
    }

    pub fn option<T>(
        &mut self,
        what: &'static str,
        read: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        if self.flag(what)? { read(self).map(Some) } else { Ok(None) }
    }

    pub fn list<T>(
        &mut self,
        what: &'static str,
        max: usize,
        mut read: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let count = self.count(what, max)?;
        (0..count).map(|_| read(self)).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_number_is_read_as_it_was_written(number: u64) {
            let mut writer = Writer::default();
            writer.number(number);
            let mut reader = Reader(&writer.0);
            prop_assert_eq!(reader.number::<u64>("n"), Ok(number));
            prop_assert_eq!(reader.end(), Ok(()));
        }

        #[test]
        fn a_number_has_one_form(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            let mut reader = Reader(&bytes);
            if let Ok(number) = reader.number::<u64>("n") {
                let mut writer = Writer::default();
                writer.number(number);
                prop_assert_eq!(&bytes[..bytes.len() - reader.0.len()], &writer.0[..]);
            }
        }
    }

    #[test]
    fn a_number_with_a_superfluous_byte_is_refused() {
        assert!(Reader(&[0x80, 0x00]).number::<u64>("n").is_err());
        assert!(Reader(&[0xff; 10]).number::<u64>("n").is_err());
    }
}
