//! What artifacts a tenant has: which version is which, how much of its quota they take, and whether one may go. A
//! core: the hub stores a row for each artifact, and tells it of the rows at start.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    artifact::{Artifact, Class, InvalidArtifact, Kind, Location, Name, Version},
    digest::{BlobName, Digest},
    limits::{ARTIFACT_BYTES_MAX, ARTIFACTS_MAX, UPLOADS_MAX, USERS_TOLD_MAX},
};

/// Who needs an artifact.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{kind} {name}")]
pub struct User {
    /// What it is: `campaign`, `manifest`, `device`.
    pub kind: &'static str,
    /// Which.
    pub name: String,
}

/// Whoever knows what is in use: campaigns, manifests, devices that might go back to a version.
pub trait Users {
    /// Some of those who need it, at most `max`, and how many there are.
    fn of(&self, digest: &Digest, max: usize) -> (Vec<User>, usize);
}

/// Why an artifact is not taken, or does not go.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// What is said of it is wrong.
    #[error(transparent)]
    Invalid(#[from] InvalidArtifact),
    /// Another one has that version: versions do not change.
    #[error("{title} is {there}; give the new one another version")]
    VersionTaken {
        /// What both are called.
        title: String,
        /// The one that is there.
        there: Digest,
    },
    /// The same bytes are there under another name.
    #[error("the same bytes are there as {title}; use that, or delete it first")]
    SameBytes {
        /// What they are called.
        title: String,
    },
    /// The same bytes are coming already.
    #[error("the same artifact is being uploaded; wait for it")]
    Uploading,
    /// As many uploads as there may be.
    #[error("{UPLOADS_MAX} uploads are under way; try again when one has ended")]
    Busy,
    /// More than a tenant may store.
    #[error(
        "{size} bytes do not fit: {used} of {quota} are used; delete something, or let the operator raise the quota"
    )]
    Quota {
        /// What came.
        size: u64,
        /// What is used, uploads included.
        used: u64,
        /// What there may be.
        quota: u64,
    },
    /// No bytes, or more than an artifact may have.
    #[error("an artifact has 1 to {ARTIFACT_BYTES_MAX} bytes, not {size}")]
    Size {
        /// What was said.
        size: u64,
    },
    /// As many artifacts as there may be.
    #[error("there are {ARTIFACTS_MAX} artifacts; delete some")]
    Full,
    /// There is none.
    #[error("there is no artifact {0}; `muster firmware list` shows those that are there")]
    Unknown(Digest),
    /// Somebody needs it.
    #[error("it is still used by {}{}", shown(users), more(users, *count))]
    Used {
        /// Some of them.
        users: Vec<User>,
        /// How many there are.
        count: usize,
    },
}

fn shown(users: &[User]) -> String {
    users.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn more(users: &[User], count: usize) -> String {
    match count.saturating_sub(users.len()) {
        0 => String::new(),
        more => format!(" and {more} more"),
    }
}

/// What an upload is to become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Of all its bytes.
    pub digest: Digest,
    /// How many they are.
    pub size: u64,
    /// What it will be called.
    pub name: Name,
    /// Which version.
    pub version: Version,
    /// For which devices.
    pub class: Class,
    /// What it is for.
    pub kind: Kind,
}

/// What an upload may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admitted {
    /// Come: its place in the quota is kept until [`Catalog::add`] or [`Catalog::give_up`].
    Come,
    /// It is there, under that name: nothing has to come. So a push that is repeated does no harm.
    There,
}

/// One tenant's artifacts.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    artifacts: BTreeMap<Digest, Artifact>,
    versions: BTreeMap<(Class, Name, Version), Digest>,
    coming: BTreeMap<Digest, u64>,
    used_bytes: u64,
    quota_bytes: u64,
}

impl Catalog {
    /// With the rows that are there. Rows that break a rule of today are kept: they were acknowledged.
    pub fn new(quota_bytes: u64, rows: impl IntoIterator<Item = Artifact>) -> Self {
        let mut catalog = Self { quota_bytes, ..Self::default() };
        rows.into_iter().for_each(|row| catalog.put(row));
        catalog
    }

    /// Another quota. What is stored stays, also if it is more.
    pub fn set_quota(&mut self, quota_bytes: u64) {
        self.quota_bytes = quota_bytes;
    }

    /// Asks whether an upload may begin, and keeps its place.
    pub fn admit(&mut self, wanted: &Wanted) -> Result<Admitted, Refused> {
        if let Some(there) = self.artifacts.get(&wanted.digest) {
            let same =
                (&there.class, &there.name, &there.version) == (&wanted.class, &wanted.name, &wanted.version);
            let embedded = matches!(there.location, Location::Embedded { .. });
            return match same && embedded {
                true => Ok(Admitted::There),
                false => Err(Refused::SameBytes { title: there.title() }),
            };
        }
        self.version_is_free(wanted)?;
        if !(1..=ARTIFACT_BYTES_MAX).contains(&wanted.size) {
            return Err(Refused::Size { size: wanted.size });
        }
        if self.coming.contains_key(&wanted.digest) {
            return Err(Refused::Uploading);
        }
        if self.coming.len() >= UPLOADS_MAX {
            return Err(Refused::Busy);
        }
        if self.artifacts.len() + self.coming.len() >= ARTIFACTS_MAX {
            return Err(Refused::Full);
        }
        let used = self.used_bytes();
        if wanted.size > self.quota_bytes.saturating_sub(used) {
            return Err(Refused::Quota { size: wanted.size, used, quota: self.quota_bytes });
        }
        self.coming.insert(wanted.digest, wanted.size);
        Ok(Admitted::Come)
    }

    /// An upload ended without an artifact: its place is free.
    pub fn give_up(&mut self, digest: &Digest) {
        self.coming.remove(digest);
    }

    /// Takes an artifact: one that came, or one that lies elsewhere. To be called before its row is stored; if the
    /// row is refused, [`Catalog::forget`] takes it back.
    pub fn add(&mut self, artifact: Artifact) -> Result<(), Refused> {
        artifact.check()?;
        let wanted = Wanted {
            digest: artifact.digest,
            size: artifact.size,
            name: artifact.name.clone(),
            version: artifact.version.clone(),
            class: artifact.class.clone(),
            kind: artifact.kind.clone(),
        };
        let came = self.coming.remove(&artifact.digest);
        if let Some(there) = self.artifacts.get(&artifact.digest) {
            return Err(Refused::SameBytes { title: there.title() });
        }
        self.version_is_free(&wanted)?;
        if !(1..=ARTIFACT_BYTES_MAX).contains(&artifact.size) {
            return Err(Refused::Size { size: artifact.size });
        }
        if self.artifacts.len() >= ARTIFACTS_MAX {
            return Err(Refused::Full);
        }
        let (needs, used) = (artifact.quota_bytes(), self.used_bytes());
        if came.is_none() && needs > self.quota_bytes.saturating_sub(used) {
            return Err(Refused::Quota { size: needs, used, quota: self.quota_bytes });
        }
        self.put(artifact);
        Ok(())
    }

    /// Takes an artifact out, with what the hub made of it or for it, if nobody needs any of them. What comes back
    /// are the rows to remove, and then the files.
    pub fn remove(&mut self, digest: &Digest, users: &dyn Users) -> Result<Vec<Artifact>, Refused> {
        if !self.artifacts.contains_key(digest) {
            return Err(Refused::Unknown(*digest));
        }
        let of_it = self.transfers_about(digest).map(|transfer| transfer.digest);
        let all: Vec<Digest> = [*digest].into_iter().chain(of_it).collect();
        let (mut told, mut count) = (Vec::new(), 0);
        for digest in &all {
            let (some, number) = users.of(digest, USERS_TOLD_MAX.saturating_sub(told.len()));
            count += number.max(some.len());
            told.extend(some);
        }
        if count > 0 {
            told.sort();
            told.dedup();
            told.truncate(USERS_TOLD_MAX);
            return Err(Refused::Used { count: count.max(told.len()), users: told });
        }
        Ok(all.iter().filter_map(|digest| self.forget(digest)).collect())
    }

    /// Takes an artifact out without asking.
    pub fn forget(&mut self, digest: &Digest) -> Option<Artifact> {
        let gone = self.artifacts.remove(digest)?;
        self.versions.retain(|_, of| of != digest);
        self.used_bytes = self.used_bytes.saturating_sub(gone.quota_bytes());
        Some(gone)
    }

    /// One of them.
    pub fn artifact(&self, digest: &Digest) -> Option<&Artifact> {
        self.artifacts.get(digest)
    }

    /// That version.
    pub fn version(&self, class: &Class, name: &Name, version: &Version) -> Option<&Artifact> {
        let digest = self.versions.get(&(class.clone(), name.clone(), version.clone()))?;
        self.artifacts.get(digest)
    }

    /// All of them, by digest.
    pub fn artifacts(&self) -> impl Iterator<Item = &Artifact> {
        self.artifacts.values()
    }

    /// How an image may travel besides as it is.
    pub fn transfers_of<'a>(&'a self, image: &'a Digest) -> impl Iterator<Item = &'a Artifact> {
        self.artifacts()
            .filter(move |found| matches!(&found.kind, Kind::Transfer { image: of, .. } if of == image))
    }

    /// Bytes that are taken, uploads included.
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes.saturating_add(self.coming.values().sum())
    }

    /// Files that rows name: what [`crate::Folder::sweep`] is to leave.
    pub fn blobs(&self) -> BTreeSet<BlobName> {
        let embedded = |artifact: &Artifact| match artifact.location {
            Location::Embedded { blob } => Some(blob),
            Location::External { .. } => None,
        };
        self.artifacts().filter_map(embedded).collect()
    }

    fn transfers_about<'a>(&'a self, digest: &'a Digest) -> impl Iterator<Item = &'a Artifact> {
        self.artifacts().filter(move |found| match &found.kind {
            Kind::Transfer { image, from, .. } => image == digest || from.as_ref() == Some(digest),
            _ => false,
        })
    }

    /// What the hub made carries the name of its image, and is no version of its own.
    fn version_is_free(&self, wanted: &Wanted) -> Result<(), Refused> {
        if matches!(wanted.kind, Kind::Transfer { .. }) {
            return Ok(());
        }
        let key = (wanted.class.clone(), wanted.name.clone(), wanted.version.clone());
        match self.versions.get(&key) {
            Some(&there) if there != wanted.digest => Err(Refused::VersionTaken {
                title: format!("{} {} for {}", wanted.name, wanted.version, wanted.class),
                there,
            }),
            _ => Ok(()),
        }
    }

    fn put(&mut self, artifact: Artifact) {
        if !matches!(artifact.kind, Kind::Transfer { .. }) {
            let key = (artifact.class.clone(), artifact.name.clone(), artifact.version.clone());
            self.versions.insert(key, artifact.digest);
        }
        self.used_bytes = self.used_bytes.saturating_add(artifact.quota_bytes());
        if let Some(before) = self.artifacts.insert(artifact.digest, artifact) {
            self.used_bytes = self.used_bytes.saturating_sub(before.quota_bytes());
        }
    }
}
