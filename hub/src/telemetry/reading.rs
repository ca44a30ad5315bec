//! One measured value of one stream of one device, as the rows of a hub of yesterday hold it.

/// The first byte of every encoded row.
const VERSION: u8 = 1;

/// What was measured.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A finite number.
    Number(f64),
    /// A text.
    Text(String),
    /// True or false.
    Bool(bool),
}

/// One measured value.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The SenML name, resolved.
    pub name: String,
    /// The SenML unit.
    pub unit: Option<String>,
    /// When it was measured, in seconds since 1970, as precise as the device said it.
    pub time_s: f64,
    /// What was measured.
    pub value: Value,
}

/// A stored row that is no reading or stream: the store and this program are of different versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("read a row of the telemetry store: it has no form that this version knows")]
pub struct MalformedRow;

impl Reading {
    /// The reading as a hub of yesterday stored it.
    #[cfg(test)]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(32 + self.name.len());
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.time_s.to_be_bytes());
        put_text(&mut bytes, &self.name);
        put_text(&mut bytes, self.unit.as_deref().unwrap_or_default());
        match &self.value {
            Value::Number(number) => {
                bytes.push(b'n');
                bytes.extend_from_slice(&number.to_be_bytes());
            }
            Value::Text(text) => {
                bytes.push(b't');
                put_text(&mut bytes, text);
            }
            Value::Bool(value) => bytes.extend_from_slice(&[b'b', u8::from(*value)]),
        }
        bytes
    }

    /// The reading that `bytes` hold, and nothing else.
    ///
    /// # Errors
    /// They hold something else.
    pub fn decode(bytes: &[u8]) -> Result<Self, MalformedRow> {
        let mut rest = Rest::of(bytes)?;
        let time_s = rest.number()?;
        let name = rest.text()?;
        let unit = Some(rest.text()?).filter(|unit| !unit.is_empty());
        let value = match rest.byte()? {
            b'n' => Value::Number(rest.number()?),
            b't' => Value::Text(rest.text()?),
            b'b' => Value::Bool(rest.byte()? == 1),
            _ => return Err(MalformedRow),
        };
        rest.end()?;
        Ok(Self { name, unit, time_s, value })
    }
}

impl Reading {}

/// Texts are bounded where they enter: a payload has at most a mebibyte.
#[cfg(test)]
fn put_text(bytes: &mut Vec<u8>, text: &str) {
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

/// What is left of a row.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn of(row: &'a [u8]) -> Result<Self, MalformedRow> {
        match row {
            [VERSION, rest @ ..] => Ok(Self(rest)),
            _ => Err(MalformedRow),
        }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], MalformedRow> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(MalformedRow)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, MalformedRow> {
        self.take(1)?.first().copied().ok_or(MalformedRow)
    }

    fn number(&mut self) -> Result<f64, MalformedRow> {
        let bytes = self.take(8)?.try_into().map_err(|_| MalformedRow)?;
        Ok(f64::from_be_bytes(bytes))
    }

    fn text(&mut self) -> Result<String, MalformedRow> {
        let length = u32::from_be_bytes(self.take(4)?.try_into().map_err(|_| MalformedRow)?);
        let length = usize::try_from(length).map_err(|_| MalformedRow)?;
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| MalformedRow)?;
        Ok(text.to_owned())
    }

    fn end(self) -> Result<(), MalformedRow> {
        if self.0.is_empty() { Ok(()) } else { Err(MalformedRow) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(value: Value) -> Reading {
        Reading {
            name: "urn:dev:x:load".to_owned(),
            unit: Some("%".to_owned()),
            time_s: 1.76e9 + 0.25,
            value,
        }
    }

    #[test]
    fn a_reading_survives_storage_and_nothing_else_is_one() {
        for value in
            [Value::Number(-0.1), Value::Text("ünïcode".to_owned()), Value::Bool(true), Value::Bool(false)]
        {
            let reading = reading(value);
            let bytes = reading.encode();
            assert_eq!(Reading::decode(&bytes), Ok(reading));
            for length in 0..bytes.len() {
                assert!(Reading::decode(&bytes[..length]).is_err(), "cut to {length} bytes");
            }
            let longer = [&bytes[..], &[0]].concat();
            assert!(Reading::decode(&longer).is_err());
        }
    }
}
