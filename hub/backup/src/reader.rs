//! Opens a backup with a recipient's key: reads all of it, or what is asked for, and names what is not as it was.

use data_encoding::HEXLOWER;
use muster_seal::Opener;

use crate::{
    chunk,
    error::{BackupError, Damage, Why},
    index::{self, Entry},
    limits::{DAMAGES_TOLD_MAX, OBJECT_BYTES_MAX},
    manifest::{Listed, Manifest, Memory, Repository, Stored},
    object::{self, ContentKeys, Kind, Reference},
    place::Place,
    signer::Signer,
    source::{FILES, Sink},
};

/// What reading a backup came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Pieces that were looked at.
    pub pieces: u64,
    /// Rows in them, with files and keys.
    pub rows: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// What is not as it was written.
    pub damages: Vec<Damage>,
    /// How many more there are than are told.
    pub damages_untold: u64,
}

impl Found {
    /// Whether all is as it was written.
    pub fn is_whole(&self) -> bool {
        self.damages.is_empty()
    }

    pub(crate) fn damage(&mut self, object: String, why: Why, lost: String) {
        match self.damages.len() < DAMAGES_TOLD_MAX {
            true => self.damages.push(Damage { object, why, lost }),
            false => self.damages_untold += 1,
        }
    }
}

/// A backup, open.
pub struct Opened<'a> {
    place: &'a dyn Place,
    keys: ContentKeys<'a>,
    stored: Stored,
    manifest: Manifest,
}

impl<'a> Opened<'a> {
    /// Opens the manifest of a backup, and checks that this hub signed it.
    ///
    /// # Errors
    /// The key is not one of those that it was made for; the manifest was changed, forged, or is another one's.
    pub fn open(
        place: &'a dyn Place,
        repository: &'a Repository,
        listed: Listed,
        opener: &'a Opener,
        signer: &Signer,
    ) -> Result<Self, BackupError> {
        let stored = Stored::read(place, listed)?.map_err(BackupError::Damage)?;
        stored.check(signer)?;
        let mut keys = ContentKeys::new(place, &repository.id, opener);
        let manifest = stored.open(&mut keys)?;
        Ok(Self { place, keys, stored, manifest })
    }

    /// What it says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What the hub that is restored from it has to remember.
    pub fn memory(&self) -> Memory {
        self.stored.memory(&self.manifest.repository)
    }

    /// Reads the backup and gives `sink` what is whole of it, of the tables that `wanted` says yes to.
    ///
    /// # Errors
    /// The place, or the sink. What is damaged is no error: it is in what comes back.
    pub fn read(&mut self, wanted: &dyn Fn(&str) -> bool, sink: &mut dyn Sink) -> Result<Found, BackupError> {
        let mut found = Found::default();
        let Some(pieces) = self.stored.pieces() else {
            let lost = format!("backup {}", self.manifest.number);
            found.damage(self.stored.listed.name(), Why::Malformed, lost);
            return Ok(found);
        };
        let all = pieces.len();
        for (number, piece) in pieces.iter().enumerate() {
            found.pieces += 1;
            match self.entries(piece)? {
                Ok(entries) => {
                    for entry in entries.iter().filter(|entry| wanted(&entry.span.table)) {
                        self.entry(entry, sink, &mut found)?;
                    }
                }
                Err(why) => {
                    let lost = format!("the rows that piece {} of {all} of the index lists", number + 1);
                    found.damage(piece.name(), why, lost);
                }
            }
        }
        if found.is_whole() {
            let tables = self.manifest.tables.iter().filter(|table| wanted(&table.name));
            let rows: u64 = tables.map(|table| table.rows).sum();
            if rows != found.rows {
                let lost = format!("{} of {rows} rows", rows.saturating_sub(found.rows));
                found.damage(self.stored.listed.name(), Why::Malformed, lost);
            }
        }
        Ok(found)
    }

    fn entries(&mut self, piece: &Reference) -> Result<Result<Vec<Entry>, Why>, BackupError> {
        let object = match self.fetch(piece)? {
            Ok(object) => object,
            Err(why) => return Ok(Err(why)),
        };
        let sealed = match self.keys.open(Kind::Index, piece, &object)? {
            Ok(sealed) => sealed,
            Err(why) => return Ok(Err(why)),
        };
        let references = object::references(Kind::Index, &object);
        let entries = references.and_then(|references| index::read(references, &sealed));
        Ok(entries.ok_or(Why::Malformed))
    }

    fn entry(&mut self, entry: &Entry, sink: &mut dyn Sink, found: &mut Found) -> Result<(), BackupError> {
        found.pieces += 1;
        let Entry { reference, span } = entry;
        let kind = if reference.kind == Kind::Keys as u8 { Kind::Keys } else { Kind::Rows };
        let opened = match self.fetch(reference)? {
            Ok(object) => self.keys.open(kind, reference, &object)?,
            Err(why) => Err(why),
        };
        let outcome = match opened {
            Ok(body) => deliver(&body, entry, sink, found)?,
            Err(why) => Err(why),
        };
        if let Err(why) = outcome {
            let whose = match kind {
                Kind::Keys => self.whose_keys(&reference.tag),
                _ => String::new(),
            };
            found.damage(reference.name(), why, format!("{span}{whose}"));
        }
        Ok(())
    }

    fn whose_keys(&self, tag: &[u8]) -> String {
        let tag = HEXLOWER.encode(tag);
        match self.manifest.tenants.iter().find(|tenant| tenant.tag == tag) {
            Some(tenant) if tenant.tenant.is_empty() => {
                ": the keys of the platform, and with them the registry".to_owned()
            }
            Some(tenant) => format!(": keys of tenant {}, and with them what they sealed", tenant.tenant),
            None => String::new(),
        }
    }

    fn fetch(&self, reference: &Reference) -> Result<Result<Vec<u8>, Why>, BackupError> {
        let Some(object) = self.place.get(&reference.name(), OBJECT_BYTES_MAX)? else {
            return Ok(Err(Why::Missing));
        };
        let (size, written) = (object.len() as u64, u64::from(reference.bytes));
        match size == written {
            true => Ok(Ok(object)),
            false => Ok(Err(Why::Size { found: size, written })),
        }
    }
}

/// Gives the rows of an opened piece to the sink.
fn deliver(
    body: &[u8],
    entry: &Entry,
    sink: &mut dyn Sink,
    found: &mut Found,
) -> Result<Result<(), Why>, BackupError> {
    let Some((table, rows)) = chunk::rows(body).filter(|(table, _)| *table == entry.span.table) else {
        return Ok(Err(Why::Malformed));
    };
    for row in rows {
        let Some((key, value)) = row else { return Ok(Err(Why::Malformed)) };
        found.rows += 1;
        found.bytes += (key.len() + value.len()) as u64;
        let taken = match table == FILES {
            false => sink.row(&table, key, value),
            true => match (String::from_utf8(key), value.split_first_chunk()) {
                (Ok(path), Some((mode, content))) => sink.file(&path, u32::from_be_bytes(*mode), content),
                _ => return Ok(Err(Why::Malformed)),
            },
        };
        taken.map_err(BackupError::Sink)?;
    }
    Ok(Ok(()))
}
