//! `muster-sign root`.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use muster_schemas::TenantId;
use muster_suit::{PublicKey, Role, Root, RootDraft, limits::ROOT_BYTES_MAX};

use crate::{
    Answer,
    complaint::Complaint,
    file,
    key::{Place, place},
};

const DAY_S: u64 = 24 * 3_600;

/// `muster-sign root`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make the first root of a tenant. It holds once enough of its root keys have signed it.
    New {
        /// The tenant.
        #[arg(long)]
        tenant: TenantId,
        #[command(flatten)]
        roles: Roles,
        #[command(flatten)]
        expiry: Expiry,
        /// A new file for it.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Make the next root after one: what is not given stays. Old and new root keys have to sign it.
    Rotate {
        /// The root that holds now.
        #[arg(value_name = "ROOT")]
        old: PathBuf,
        #[command(flatten)]
        roles: Roles,
        #[command(flatten)]
        expiry: Expiry,
        /// A new file for it.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Add signatures to a root.
    Sign {
        /// The root.
        #[arg(value_name = "ROOT")]
        file: PathBuf,
        /// A root key, of this root or of the one before; may be given several times.
        #[arg(long, value_name = "KEY", value_parser = place, required = true)]
        key: Vec<Place>,
    },
    /// Show a root, and whether enough keys have signed it.
    Show {
        /// The root.
        #[arg(value_name = "ROOT")]
        file: PathBuf,
        /// The root before it, whose keys have to have signed it too.
        #[arg(long, value_name = "ROOT")]
        after: Option<PathBuf>,
    },
}

/// Keys, and how many of each it takes.
#[derive(Debug, Args)]
pub struct Roles {
    /// Public key of somebody who signs roots; may be given several times.
    #[arg(long, value_name = "KEY", value_parser = place)]
    root: Vec<Place>,
    /// How many of them it takes. All of them when it is not given.
    #[arg(long, value_name = "K")]
    root_threshold: Option<usize>,
    /// Public key of somebody who signs firmware; may be given several times.
    #[arg(long, value_name = "KEY", value_parser = place)]
    firmware: Vec<Place>,
    /// How many of them it takes. All of them when it is not given.
    #[arg(long, value_name = "K")]
    firmware_threshold: Option<usize>,
    /// Public key of a hub that may offer firmware; may be given several times. Each offers by itself.
    #[arg(long, value_name = "KEY", value_parser = place)]
    hub: Vec<Place>,
}

/// When a root expires.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct Expiry {
    /// The day on which it expires, in UTC: 2027-11-30.
    #[arg(long, value_name = "DATE")]
    expires: Option<Date>,
    /// In how many days it expires.
    #[arg(long, value_name = "N", default_value_t = 365)]
    days: u32,
}

impl Expiry {
    fn at_s(&self, now_s: u64) -> Result<u64, Complaint> {
        let at_s = match self.expires {
            None => now_s + u64::from(self.days) * DAY_S,
            Some(date) => {
                let begins = date.to_zoned(TimeZone::UTC).map_err(|why| Complaint::Usage(why.to_string()))?;
                u64::try_from(begins.timestamp().as_second()).unwrap_or_default()
            }
        };
        if at_s <= now_s {
            return Err(Complaint::Usage("the root would have expired already; give a later day".to_owned()));
        }
        Ok(at_s)
    }
}

impl Roles {
    fn role(given: &[Place], threshold: Option<usize>, before: Option<&Role>) -> Result<Role, Complaint> {
        let keys = given.iter().map(Place::public).collect::<Result<Vec<_>, _>>()?;
        match before {
            Some(before) if keys.is_empty() => {
                Ok(Role::new(before.keys.clone(), threshold.unwrap_or(before.threshold)))
            }
            Some(before) => Ok(Role::new(keys, threshold.unwrap_or(before.threshold))),
            None => {
                let threshold = threshold.unwrap_or(keys.len());
                Ok(Role::new(keys, threshold))
            }
        }
    }

    fn all(&self, before: Option<&Root>) -> Result<(Role, Role, Role), Complaint> {
        let root = Self::role(&self.root, self.root_threshold, before.map(|root| &root.root))?;
        let firmware =
            Self::role(&self.firmware, self.firmware_threshold, before.map(|root| &root.firmware))?;
        let hub = Self::role(&self.hub, Some(1), before.map(|root| &root.hub))?;
        Ok((root, firmware, hub))
    }
}

impl Command {
    /// Does it.
    pub fn run(self, now_s: u64) -> Answer {
        match self {
            Self::New { tenant, roles, expiry, out } => {
                let (root, firmware, hub) = roles.all(None)?;
                let expires_s = expiry.at_s(now_s)?;
                let draft = RootDraft::new(Root { tenant, version: 1, expires_s, root, firmware, hub })?;
                file::create(&out, &draft.encode())?;
                Ok(format!("{}{}\n", shown(&draft, None, now_s), next(&out, &draft)))
            }
            Self::Rotate { old, roles, expiry, out } => {
                let before = believed(&old)?;
                let (root, firmware, hub) = roles.all(Some(&before))?;
                let version = before.version + 1;
                let expires_s = expiry.at_s(now_s)?;
                let tenant = before.tenant.clone();
                let draft = RootDraft::new(Root { tenant, version, expires_s, root, firmware, hub })?;
                file::create(&out, &draft.encode())?;
                Ok(format!("{}{}\n", shown(&draft, Some(&before), now_s), next(&out, &draft)))
            }
            Self::Sign { file: path, key } => {
                let mut draft = read(&path)?;
                for key in key {
                    draft.sign(&*key.signer()?)?;
                }
                file::replace(&path, &draft.encode())?;
                Ok(shown(&draft, None, now_s))
            }
            Self::Show { file: path, after } => {
                let draft = read(&path)?;
                let before = after.as_deref().map(believed).transpose()?;
                let mut text = shown(&draft, before.as_ref(), now_s);
                if let Some(before) = before {
                    let followed = before.next(&draft.encode());
                    match followed {
                        Ok(_) => writeln!(text, "it follows on version {}", before.version),
                        Err(why) => writeln!(text, "it does not follow: it {why}"),
                    }
                    .unwrap_or_default();
                }
                Ok(text)
            }
        }
    }
}

fn next(path: &Path, draft: &RootDraft) -> String {
    let wanted = draft.root().root.threshold;
    format!("next: {wanted} of its root keys sign it: muster-sign root sign {} --key KEY", path.display())
}

fn read(path: &Path) -> Result<RootDraft, Complaint> {
    let bytes = file::read(path, ROOT_BYTES_MAX)?;
    RootDraft::decode(&bytes).map_err(|why| Complaint::Root { path: path.to_owned(), why })
}

/// A root that enough of its own keys have signed.
pub fn believed(path: &Path) -> Result<Root, Complaint> {
    let bytes = file::read(path, ROOT_BYTES_MAX)?;
    Root::first(&bytes).map_err(|why| Complaint::Unfollowed { path: path.to_owned(), why })
}

/// A time that people read.
pub fn time(at_s: u64) -> String {
    let time = i64::try_from(at_s).ok().and_then(|at_s| Timestamp::from_second(at_s).ok());
    time.map_or_else(|| format!("Unix second {at_s}"), |time| time.to_string())
}

fn shown(draft: &RootDraft, before: Option<&Root>, now_s: u64) -> String {
    let root = draft.root();
    let signed = draft.signers(&root.keys());
    let mut text = format!("root of {}, version {}, ", root.tenant, root.version);
    let ends = if root.expires_s <= now_s { "expired" } else { "expires" };
    let _ = writeln!(text, "{ends} {}", time(root.expires_s));
    for (name, role) in [("root", &root.root), ("firmware", &root.firmware), ("hub", &root.hub)] {
        let _ = writeln!(
            text,
            "{name:<9} {} of {}: {}",
            role.threshold,
            role.keys.len(),
            names(&role.keys, &signed)
        );
    }
    let own = root.root.keys.iter().filter(|key| signed.contains(key)).count();
    let _ = writeln!(text, "signed by {own} of the {} root keys that it takes", root.root.threshold);
    if let Some(before) = before {
        let found = draft.signers(&before.root.keys()).len();
        let wanted = before.root.threshold;
        let _ = writeln!(
            text,
            "signed by {found} of the {wanted} root keys of version {} that it takes",
            before.version
        );
    }
    text
}

fn names(keys: &[PublicKey], signed: &[&PublicKey]) -> String {
    let name = |key: &PublicKey| match signed.contains(&key) {
        true => format!("{} (signed)", key.id()),
        false => key.id().to_string(),
    };
    keys.iter().map(name).collect::<Vec<_>>().join(", ")
}
