//! The mark of who works on a repository, so that nobody takes pieces away that a backup under way counts on. It is a
//! courtesy between programs: an object store cannot promise that two do not put it at the same instant.

use serde::{Deserialize, Serialize};

use crate::{
    error::BackupError,
    limits::{BUSY_MS_MAX, SMALL_OBJECT_BYTES_MAX},
    place::Place,
};

const MARK: &str = "busy.json";

#[derive(Serialize, Deserialize)]
struct Mark {
    what: String,
    since_ms: u64,
}

/// The mark is there as long as this is.
pub(crate) struct Busy<'a> {
    place: &'a dyn Place,
}

impl<'a> Busy<'a> {
    /// Puts the mark, if nobody else's is there that may still be alive.
    pub fn mark(place: &'a dyn Place, what: &str, now_ms: u64, force: bool) -> Result<Self, BackupError> {
        let found = place.get(MARK, SMALL_OBJECT_BYTES_MAX)?;
        let found = found.and_then(|text| serde_json::from_slice::<Mark>(&text).ok());
        if let Some(Mark { what, since_ms }) = found
            && now_ms.saturating_sub(since_ms) < BUSY_MS_MAX
            && !force
        {
            return Err(BackupError::Busy { place: place.shown(), what, since_ms });
        }
        let mark = Mark { what: what.to_owned(), since_ms: now_ms };
        let text = serde_json::to_vec(&mark).map_err(|_| BackupError::Library("write JSON"))?;
        place.put(MARK, &text)?;
        Ok(Self { place })
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        // Whoever may only add leaves a mark of nobody. If that does not work either, the next one is told, and since when.
        if self.place.remove(MARK).is_err() {
            let _ = self.place.put(MARK, br#"{"what":"nothing","since_ms":0}"#);
        }
    }
}
