//! The two slots, what is in them, and where they lie.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use muster_schemas::firmware::{Digest, Sequence};

use crate::limits::VERSION_BYTES_MAX;

/// One of the two places for an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// The first.
    A,
    /// The second.
    B,
}

impl Slot {
    /// The one that is not this one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// `a` or `b`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an image calls itself: printable, without spaces, at most 64 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(String);

/// A text that is no version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no version: 1 to 64 printable characters of ASCII without spaces")]
pub struct InvalidVersion;

impl Version {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Version {
    type Err = InvalidVersion;
    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        let fits =
            (1..=VERSION_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| Self(text.to_owned())).ok_or(InvalidVersion)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An image as its signed manifest describes it. Everything that is trusted of an image comes from there, and nothing
/// from the transfer that brought it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// SHA-256 of all of its bytes.
    pub digest: Digest,
    /// How many they are.
    pub size: u64,
    /// The number of the manifest.
    pub sequence: Sequence,
    /// What the image says of itself once it runs.
    pub version: Version,
}

/// Where one slot lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A folder that holds the image as the file `image`; while it is being written it is called `image.part`.
    Folder(PathBuf),
    /// A block device, or a file that stands for one, which is written in place. Nothing boots from it while it is.
    Device(PathBuf),
}

impl Place {
    /// Where the image is booted from.
    pub fn image(&self) -> PathBuf {
        match self {
            Self::Folder(folder) => folder.join("image"),
            Self::Device(device) => device.clone(),
        }
    }

    /// Where it is written.
    pub fn part(&self) -> PathBuf {
        match self {
            Self::Folder(folder) => folder.join("image.part"),
            Self::Device(device) => device.clone(),
        }
    }
}

/// Where slots and records of one component lie. The agent's own slots are another component, in another folder.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Boot pointer, journal, and what was received of a packed image. Its owner alone may write there.
    pub state: PathBuf,
    /// Slot A.
    pub a: Place,
    /// Slot B.
    pub b: Place,
}

impl Layout {
    /// Everything in one folder: `slot-a`, `slot-b` and `state`.
    pub fn in_folder(root: &Path) -> Self {
        Self {
            state: root.join("state"),
            a: Place::Folder(root.join("slot-a")),
            b: Place::Folder(root.join("slot-b")),
        }
    }

    /// Where a slot lies.
    pub fn place(&self, slot: Slot) -> &Place {
        match slot {
            Slot::A => &self.a,
            Slot::B => &self.b,
        }
    }

    /// Where a packed image or a patch lies until it is unpacked.
    pub fn download(&self) -> PathBuf {
        self.state.join("download")
    }
}
