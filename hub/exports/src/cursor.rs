//! Where a page ended. Opaque to whoever passes it back; it holds nothing that was not on the page, and is good for the
//! same question only.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use muster_items::{QueryRefusal, StreamId};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::limits::CURSOR_BYTES_MAX;

/// What a question is, for its cursors: they say by a hash which one they are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Of(u64);

/// The place of one entry of a range or of windows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    device: String,
    stream: String,
    /// Of the reading, or of the window's beginning.
    pub time_us: i64,
    /// Name, unit and kind.
    pub measure: (String, Option<String>, u8),
}

impl Place {
    pub fn new(stream: &StreamId, time_us: i64, measure: (String, Option<String>, u8)) -> Self {
        let StreamId { device, stream } = stream;
        Self { device: device.as_str().to_owned(), stream: stream.clone(), time_us, measure }
    }

    /// How a stream lies to that of this place.
    pub fn cmp_stream(&self, stream: &StreamId) -> std::cmp::Ordering {
        (stream.device.as_str(), stream.stream.as_str()).cmp(&(&self.device, &self.stream))
    }
}

impl fmt::Display for Of {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Of {
    /// The question that these words are.
    pub fn question(words: &str) -> Self {
        // FNV-1a: it keeps mistakes apart, not attackers, who may read what they may read in any order.
        let hash = words.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Self(hash)
    }

    /// A cursor after this place.
    pub fn seal(self, place: &impl Serialize) -> Option<String> {
        let json = serde_json::to_vec(&(self.0, place)).ok()?;
        Some(BASE64URL_NOPAD.encode(&json))
    }

    /// The place of a cursor.
    ///
    /// # Errors
    /// It is none, or one of another question.
    pub fn open<P: DeserializeOwned>(self, cursor: &str) -> Result<P, QueryRefusal> {
        if cursor.len() > CURSOR_BYTES_MAX {
            return Err(QueryRefusal::Cursor);
        }
        let json = BASE64URL_NOPAD.decode(cursor.as_bytes()).map_err(|_| QueryRefusal::Cursor)?;
        let (of, place): (u64, P) = serde_json::from_slice(&json).map_err(|_| QueryRefusal::Cursor)?;
        if of == self.0 { Ok(place) } else { Err(QueryRefusal::Cursor) }
    }
}
