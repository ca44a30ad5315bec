//! A purchase manifest: CSV with a head, one chip in a line. The columns may come in any order; what they mean is checked by
//! the hub, line by line.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use data_encoding::HEXLOWER;
use muster_schemas::api::admission::{AllowedRow, RowReport};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{Complaint, Exit};
use crate::{
    authority::pem_certificates,
    limits::{MANIFEST_BYTES_MAX, MANIFEST_ROWS_MAX},
};

/// Every column.
const COLUMNS: [&str; 8] =
    ["ek_hash", "issuer", "certificate_serial", "class", "model", "name", "serial_number", "mac"];

/// What was read: rows to send, and reports of those that cannot be.
#[derive(Debug, Default)]
pub(super) struct Manifest {
    pub(super) rows: Vec<AllowedRow>,
    pub(super) reports: Vec<RowReport>,
}

impl Manifest {
    /// Reads a file. `issuer` is who issued the certificates of rows that name none.
    pub(super) fn read(path: &Path, issuer: Option<&str>) -> Result<Self, Complaint> {
        let wrong = |why: String| {
            let next = format!("give it a head of some of {}, and one chip in a line", COLUMNS.join(", "));
            Complaint::new(Exit::Usage, format!("read the manifest {}", path.display()), why, next)
        };
        let long = fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len() > MANIFEST_BYTES_MAX;
        if long {
            return Err(wrong(format!("it has more than {MANIFEST_BYTES_MAX} bytes; split it")));
        }
        let text = fs::read(path).map_err(|error| wrong(error.to_string()))?;
        let mut reader = csv::ReaderBuilder::new()
            .trim(csv::Trim::All)
            .flexible(true)
            .comment(Some(b'#'))
            .from_reader(text.as_slice());
        let head: Vec<String> = reader
            .headers()
            .map_err(|error| wrong(error.to_string()))?
            .iter()
            .map(|name| name.trim_start_matches('\u{feff}').to_ascii_lowercase())
            .collect();
        if let Some(unknown) = head.iter().find(|name| !COLUMNS.contains(&name.as_str())) {
            return Err(wrong(format!("there is no column {unknown:?}")));
        }
        let place = |name: &str| head.iter().position(|column| column == name);
        let places = COLUMNS.map(place);
        let mut issuers = Issuers { beside: path.parent().map(Path::to_owned), known: BTreeMap::new() };
        let mut seen = BTreeMap::new();
        let mut manifest = Self::default();
        let (mut record, mut lines) = (csv::StringRecord::new(), Lines::default());
        while reader.read_record(&mut record).map_err(|error| wrong(error.to_string()))? {
            let line = lines.ending_at(&text, reader.position().byte());
            if manifest.rows.len() + manifest.reports.len() >= MANIFEST_ROWS_MAX {
                return Err(wrong(format!("it has more than {MANIFEST_ROWS_MAX} rows; split it")));
            }
            let cell = |place: Option<usize>| {
                place.and_then(|place| record.get(place)).filter(|text| !text.is_empty()).map(str::to_owned)
            };
            let [ek_hash, named, certificate_serial, class, model, name, serial_number, mac] =
                places.map(cell);
            let mut refuse = |outcome: &str, reason: String| {
                manifest.reports.push(RowReport { line, outcome: outcome.to_owned(), reason });
            };
            if record.len() > head.len() {
                refuse("malformed", format!("has {} cells, and the head {}", record.len(), head.len()));
                continue;
            }
            let named = named.or_else(|| certificate_serial.as_ref().and(issuer.map(str::to_owned)));
            let issuer = match named.map(|named| issuers.hash(&named)).transpose() {
                Ok(issuer) => issuer,
                Err(reason) => {
                    refuse("malformed", reason);
                    continue;
                }
            };
            let chip = (
                ek_hash.as_deref().map(str::to_ascii_lowercase),
                issuer.clone(),
                certificate_serial.as_deref().map(str::to_ascii_lowercase),
            );
            if let Some(first) = seen.insert(chip, line) {
                refuse("duplicate", format!("the chip stands in line {first} too"));
                continue;
            }
            manifest.rows.push(AllowedRow {
                line,
                ek_hash,
                issuer,
                certificate_serial,
                class,
                model,
                name,
                serial_number,
                mac,
            });
        }
        Ok(manifest)
    }
}

/// Counts lines. The reader's own count is where it began to look: before blank lines and remarks, and between the two
/// characters of a line's end.
#[derive(Debug, Default)]
struct Lines {
    counted: usize,
    ends: u64,
}

impl Lines {
    /// The line that ends, with its end or without, at this place; places only grow.
    fn ending_at(&mut self, text: &[u8], place: u64) -> u64 {
        let place = usize::try_from(place).unwrap_or(usize::MAX).min(text.len());
        let read = text.get(self.counted..place).unwrap_or_default();
        self.ends += read.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.counted = place;
        self.ends + u64::from(read.last() != Some(&b'\n'))
    }
}

/// The hash of an issuer's key, from a text that is one or names a file with its certificate.
pub(super) fn issuer_hash(text: &str, beside: Option<&Path>) -> Result<String, String> {
    let lower = text.to_ascii_lowercase();
    if HEXLOWER.decode(lower.as_bytes()).is_ok_and(|bytes| bytes.len() == 32) {
        return Ok(lower);
    }
    let path = beside.map_or_else(|| PathBuf::from(text), |folder| folder.join(text));
    let wrong = |why: String| format!("issuer {text:?} is neither 64 hex digits nor a certificate: {why}");
    let certificates = pem_certificates(&path).map_err(|error| match std::error::Error::source(&error) {
        Some(source) => wrong(format!("failed to {error}: {source}")),
        None => wrong(format!("failed to {error}")),
    })?;
    let first = certificates.first().ok_or_else(|| wrong("the file is empty".to_owned()))?;
    let (_, parsed) =
        X509Certificate::from_der(first).map_err(|_| wrong("it is not strict DER".to_owned()))?;
    let spki = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, parsed.public_key().raw);
    Ok(HEXLOWER.encode(spki.as_ref()))
}

/// Issuers that were looked up: a manifest names few, many times.
struct Issuers {
    beside: Option<PathBuf>,
    known: BTreeMap<String, Result<String, String>>,
}

impl Issuers {
    fn hash(&mut self, text: &str) -> Result<String, String> {
        if let Some(known) = self.known.get(text) {
            return known.clone();
        }
        let found = issuer_hash(text, self.beside.as_deref());
        self.known.insert(text.to_owned(), found.clone());
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Manifest, Complaint> {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("delivery.csv");
        fs::write(&path, text).expect("written");
        Manifest::read(&path, None)
    }

    #[test]
    fn rows_keep_their_lines_and_cells_their_columns() {
        let hash = "0a".repeat(32);
        let text = format!(
            "\u{feff}EK_hash, model ,serial_number\r\n{hash},pump,\"PMP, 17\"\r\n# a remark\r\n\r\n{},,\r\n",
            "0b".repeat(32)
        );
        let manifest = read(&text).expect("read");
        let [first, second] = manifest.rows.as_slice() else { panic!("{manifest:?}") };
        assert_eq!((first.line, first.ek_hash.as_deref()), (2, Some(hash.as_str())));
        assert_eq!((first.model.as_deref(), first.serial_number.as_deref()), (Some("pump"), Some("PMP, 17")));
        assert_eq!((second.line, second.model.as_deref()), (5, None));
        assert_eq!(manifest.reports, []);
    }

    #[test]
    fn what_cannot_be_sent_is_reported_with_its_line() {
        let (a, b) = ("0a".repeat(32), "0b".repeat(32));
        let text = format!("ek_hash,issuer\n{a},\n{b},nowhere.pem\n{},\n{b},,,\n", a.to_uppercase());
        let manifest = read(&text).expect("read");
        assert_eq!(manifest.rows.len(), 1);
        let found: Vec<_> = manifest.reports.iter().map(|row| (row.line, row.outcome.as_str())).collect();
        assert_eq!(found, [(3, "malformed"), (4, "duplicate"), (5, "malformed")]);
        assert!(manifest.reports[0].reason.contains("nowhere.pem"), "{manifest:?}");
    }

    #[test]
    fn a_column_that_nobody_knows_is_named() {
        let complaint = read("ek_hash,colour\n").expect_err("refused");
        assert!(complaint.why.contains("colour") && complaint.next.contains("ek_hash"), "{complaint:?}");
    }
}
