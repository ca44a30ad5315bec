//! `[backup]`: where backups go, and who can open them.

use std::path::{Path, PathBuf};

use super::reader::{ConfigError, Section};
use crate::limits::BACKUP_RECIPIENTS_MAX;

/// Where backups go, and who can open them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// A directory, or the address of an object store: `s3://bucket/prefix?endpoint=https://host`.
    pub place: String,
    /// PEM files with the public keys of those who can open them, 1 to 16.
    pub recipients: Vec<PathBuf>,
    /// A file with the key id and the secret key for the object store, a line each. Without it they come from
    /// `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`.
    pub credentials_file: Option<PathBuf>,
}

pub(super) fn read(top: &mut Section<'_>, beside: &Path) -> Result<Option<Backup>, ConfigError> {
    const PLACE: &str = "a directory, or \"s3://bucket/prefix?endpoint=https://host\"";
    const RECIPIENTS: &str = "1 to 16 files that `muster backup keygen` made, such as [\"backup.pub.pem\"]";
    let Some(mut section) = top.optional_section("backup")? else { return Ok(None) };
    let place: String = section.required("place", PLACE)?;
    if place.is_empty() {
        return Err(section.wrong("place", PLACE));
    }
    let place = match muster_backup::S3::is_address(&place) {
        true => place,
        false => beside.join(place).to_string_lossy().into_owned(),
    };
    let recipients = section.texts("recipients")?.ok_or_else(|| section.missing("recipients", RECIPIENTS))?;
    if recipients.is_empty() || recipients.len() > BACKUP_RECIPIENTS_MAX {
        return Err(section.wrong("recipients", RECIPIENTS));
    }
    let recipients = recipients.into_iter().map(|file| beside.join(file)).collect();
    let credentials_file = section.text("credentials_file")?.map(|file| beside.join(file));
    section.finish()?;
    Ok(Some(Backup { place, recipients, credentials_file }))
}
