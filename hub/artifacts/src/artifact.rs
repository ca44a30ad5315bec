//! What is known of an artifact. Where its bytes are is a type: of one that lies elsewhere there is an address, and
//! nothing here can read or hold it.

use std::{collections::BTreeMap, fmt, str::FromStr};

use muster_schemas::firmware::Encoding;
use serde::{Deserialize, Serialize};

use crate::{
    digest::{BlobName, Digest, Md5, Sha1},
    limits::{
        ATTRIBUTE_BYTES_MAX, ATTRIBUTES_MAX, NAME_BYTES_MAX, SIGNATURE_BYTES_MAX, SIGNATURES_MAX,
        URL_BYTES_MAX, URLS_MAX, VERSION_BYTES_MAX,
    },
};

/// Why a description of an artifact is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidArtifact {
    /// A name, class or version with something else than its characters.
    #[error(
        "{found:?} is no {what}: use 1 to {max} letters, digits and . _ + - ~, the first a letter or digit"
    )]
    Word {
        /// What it should be.
        what: &'static str,
        /// What came, cut.
        found: String,
        /// The bound, in bytes.
        max: usize,
    },
    /// An address that devices could not use, or should not.
    #[error("{found:?} is no address of an artifact: {why}")]
    Url {
        /// What came, cut.
        found: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// More than the bound.
    #[error("an artifact has at most {max} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// An attribute or signature that is empty or too long.
    #[error("{what} of an artifact has 1 to {max} bytes")]
    Length {
        /// What.
        what: &'static str,
        /// The bound, in bytes.
        max: usize,
    },
    /// An image that is a patch of nothing, or a whole one that names another.
    #[error("a transfer that is a patch names the image that it is for, and no other does")]
    From,
}

macro_rules! word {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// As text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidArtifact;
            fn from_str(text: &str) -> Result<Self, InvalidArtifact> {
                let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '+' | '-' | '~');
                let fits = text.len() <= $max
                    && text.starts_with(|c: char| c.is_ascii_alphanumeric())
                    && text.chars().all(inner);
                match fits {
                    true => Ok(Self(text.to_owned())),
                    false => Err(InvalidArtifact::Word { what: $what, found: cut(text), max: $max }),
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidArtifact;
            fn try_from(text: String) -> Result<Self, InvalidArtifact> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(word: $name) -> Self {
                word.0
            }
        }
    };
}

word!(
    /// What an artifact is called, as a file would be: `gateway-os.swu`. No separator of paths is in it.
    Name,
    "name of an artifact",
    NAME_BYTES_MAX
);
word!(
    /// The class of devices that it is for.
    Class,
    "class of devices",
    NAME_BYTES_MAX
);
word!(
    /// A version, as its maker writes it: `2.0.1~rc1+5`.
    Version,
    "version",
    VERSION_BYTES_MAX
);

/// Where an artifact lies that the hub does not have: an address for devices. The hub never asks there, so nothing
/// that a tenant writes into it makes the hub speak to a machine of its own network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ExternalUrl(String);

impl ExternalUrl {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ExternalUrl {
    type Err = InvalidArtifact;

    fn from_str(text: &str) -> Result<Self, InvalidArtifact> {
        let wrong = |why| Err(InvalidArtifact::Url { found: cut(text), why });
        if text.len() > URL_BYTES_MAX {
            return wrong("it is longer than 2048 bytes");
        }
        if !text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`'))
        {
            return wrong("a character in it has to be written with %");
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return wrong("it does not begin with https:// or http://");
        };
        if !scheme.eq_ignore_ascii_case("https") && !scheme.eq_ignore_ascii_case("http") {
            return wrong("it does not begin with https:// or http://");
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        match () {
            () if authority.is_empty() || authority.starts_with(':') => wrong("it names no host"),
            () if authority.contains('@') => wrong("every device would read the password in it"),
            () if authority.contains(['?', '#']) || path.contains('#') => wrong("it names a part of a page"),
            () => Ok(Self(text.to_owned())),
        }
    }
}

impl TryFrom<String> for ExternalUrl {
    type Error = InvalidArtifact;
    fn try_from(text: String) -> Result<Self, InvalidArtifact> {
        text.parse()
    }
}

impl From<ExternalUrl> for String {
    fn from(url: ExternalUrl) -> Self {
        url.0
    }
}

/// A place where a tenant keeps artifacts itself. Only addresses are made of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Repository {
    /// A folder behind a web server, laid out as `repo build` does.
    Directory {
        /// What stands before `blobs/`.
        base: ExternalUrl,
    },
    /// An object store that answers without a signature.
    S3 {
        /// Its endpoint.
        endpoint: ExternalUrl,
        /// The bucket.
        bucket: String,
        /// What stands before `blobs/` in the names of objects.
        prefix: String,
        /// Whether the bucket stands in the path, and not in the name of the host.
        path_style: bool,
    },
}

impl Repository {
    /// Where an artifact is there.
    pub fn address(&self, digest: &Digest) -> Result<ExternalUrl, InvalidArtifact> {
        let text = match self {
            Self::Directory { base } => format!("{}/{}", base.0.trim_end_matches('/'), blob_path(digest)),
            Self::S3 { endpoint, bucket, prefix, path_style } => {
                let named = !bucket.is_empty()
                    && bucket
                        .bytes()
                        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'));
                if !named {
                    return Err(InvalidArtifact::Url {
                        found: cut(bucket),
                        why: "that is no name of a bucket",
                    });
                }
                let prefix = match prefix.trim_matches('/') {
                    "" => String::new(),
                    prefix => format!("{prefix}/"),
                };
                let endpoint = endpoint.0.trim_end_matches('/');
                let (scheme, host) = endpoint.split_once("://").unwrap_or(("https", endpoint));
                match path_style {
                    true => format!("{scheme}://{host}/{bucket}/{prefix}{}", blob_path(digest)),
                    false => format!("{scheme}://{bucket}.{host}/{prefix}{}", blob_path(digest)),
                }
            }
        };
        text.parse()
    }
}

/// Where an artifact lies in a tree that `repo build` made.
pub fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{digest}")
}

/// What an artifact is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Kind {
    /// What a device runs, as it lies in its slot.
    Image,
    /// What a client of others unpacks itself: a file of swupdate or RAUC.
    Bundle,
    /// Settings, rendered for one device or many.
    Configuration,
    /// Made by the hub: an image as it travels.
    Transfer {
        /// Which image comes out of it.
        image: Digest,
        /// How.
        encoding: Encoding,
        /// On which image, for patches.
        from: Option<Digest>,
    },
}

/// Where its bytes are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "where", rename_all = "kebab-case")]
pub enum Location {
    /// In the hub's own folder, sealed.
    Embedded {
        /// In which file.
        blob: BlobName,
    },
    /// At places that devices reach and the hub does not ask.
    External {
        /// Which: the nearest first.
        urls: Vec<ExternalUrl>,
    },
}

/// An artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// SHA-256 of its bytes: what it is found by.
    pub digest: Digest,
    /// How many they are.
    pub size: u64,
    /// For clients of hawkBit, which check it. Whoever registers an external artifact has to say it, if such devices
    /// are to get it.
    pub sha1: Option<Sha1>,
    /// For clients of hawkBit.
    pub md5: Option<Md5>,
    /// What it is called.
    pub name: Name,
    /// Which version of it.
    pub version: Version,
    /// For which devices.
    pub class: Class,
    /// What it is for.
    #[serde(flatten)]
    pub kind: Kind,
    /// What its owner notes about it.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// SUIT envelopes and the like, that were made elsewhere: kept and given out, not judged here.
    #[serde(default)]
    pub signatures: Vec<Vec<u8>>,
    /// When it was stored, in seconds since 1970.
    pub stored_s: u64,
    /// Where its bytes are.
    pub location: Location,
}

impl Artifact {
    /// Looks at the bounds that are not in the types of its fields.
    pub fn check(&self) -> Result<(), InvalidArtifact> {
        let many = [
            ("attributes", self.attributes.len(), ATTRIBUTES_MAX),
            ("signatures", self.signatures.len(), SIGNATURES_MAX),
            ("addresses", self.urls().len(), URLS_MAX),
        ];
        if let Some((what, _, max)) = many.into_iter().find(|(_, found, max)| found > max) {
            return Err(InvalidArtifact::TooMany { what, max });
        }
        let texts = self.attributes.iter().flat_map(|(key, value)| [key, value]);
        if texts.into_iter().any(|text| text.is_empty() || text.len() > ATTRIBUTE_BYTES_MAX) {
            return Err(InvalidArtifact::Length { what: "an attribute", max: ATTRIBUTE_BYTES_MAX });
        }
        if self
            .signatures
            .iter()
            .any(|signature| signature.is_empty() || signature.len() > SIGNATURE_BYTES_MAX)
        {
            return Err(InvalidArtifact::Length { what: "a signature", max: SIGNATURE_BYTES_MAX });
        }
        match (&self.kind, &self.location) {
            (Kind::Transfer { encoding, from, .. }, _) if encoding.is_patch() != from.is_some() => {
                Err(InvalidArtifact::From)
            }
            (_, Location::External { urls }) if urls.is_empty() => Err(InvalidArtifact::Url {
                found: String::new(),
                why: "an artifact that lies elsewhere needs one",
            }),
            _ => Ok(()),
        }
    }

    /// Bytes of the tenant's quota.
    pub fn quota_bytes(&self) -> u64 {
        match self.location {
            Location::Embedded { .. } => self.size,
            Location::External { .. } => 0,
        }
    }

    /// Where it is elsewhere.
    pub fn urls(&self) -> &[ExternalUrl] {
        match &self.location {
            Location::Embedded { .. } => &[],
            Location::External { urls } => urls,
        }
    }

    /// As people name it.
    pub fn title(&self) -> String {
        format!("{} {} for {}", self.name, self.version, self.class)
    }
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_files_and_never_paths() {
        for good in ["fw.swu", "2.0.1~rc1+5", "a", "gateway_os-1"] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        let long = "a".repeat(NAME_BYTES_MAX + 1);
        for bad in ["", ".", "..", "../x", "a/b", "-x", "a b", "a\n", "ä", "a\\b", "a\"", long.as_str()] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_are_those_that_a_device_can_use_and_carry_no_password() {
        let good = [
            "https://cdn.example/fw/a.swu?x=1",
            "http://10.0.0.1:8080/",
            "HTTPS://[::1]/x%20y",
            "https://host",
        ];
        for url in good {
            assert!(url.parse::<ExternalUrl>().is_ok(), "{url}");
        }
        let long = format!("https://h/{}", "x".repeat(URL_BYTES_MAX));
        let bad = [
            "",
            "cdn.example/x",
            "ftp://h/x",
            "file:///etc/passwd",
            "https://",
            "https:///x",
            "https://:80/",
            "https://u:p@h/x",
            "https://h/a b",
            "https://h/\r\nX: y",
            "https://h/x#y",
            "https://h?x",
            "javascript://x",
            &long,
        ];
        for url in bad {
            assert!(url.parse::<ExternalUrl>().is_err(), "{url}");
        }
    }

    #[test]
    fn repositories_make_addresses_and_nothing_else() {
        let digest = Digest([0xab; 32]);
        let blob = format!("blobs/sha256/{}", "ab".repeat(32));
        let base = "https://cdn.example/acme/".parse().unwrap();
        let directory = Repository::Directory { base };
        assert_eq!(directory.address(&digest).unwrap().as_str(), format!("https://cdn.example/acme/{blob}"));
        let s3 = |path_style, bucket: &str| Repository::S3 {
            endpoint: "https://s3.example:9000".parse().unwrap(),
            bucket: bucket.into(),
            prefix: "/fw/".into(),
            path_style,
        };
        assert_eq!(
            s3(true, "acme").address(&digest).unwrap().as_str(),
            format!("https://s3.example:9000/acme/fw/{blob}")
        );
        assert_eq!(
            s3(false, "acme").address(&digest).unwrap().as_str(),
            format!("https://acme.s3.example:9000/fw/{blob}")
        );
        for bucket in ["", "a/b", "evil.example/x?", "A"] {
            assert!(s3(true, bucket).address(&digest).is_err(), "{bucket}");
        }
    }
}
