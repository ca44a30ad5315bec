//! The judgement: may this device install what it is offered? One function, without a clock, a file or a socket, so
//! that device, tests and fuzzers ask the same. Whatever is missing, expired, not yet valid, foreign, older or not
//! what another part says is refused, with the part's name.
//!
//! ```text
//!   root ──── who may sign ────┬─────────────────────┬──────────────────┐
//!                              ▼                     ▼                  ▼
//!   envelope (tenant, offline): image, class    offer (hub):       freshness (hub):
//!        │  digest, number ◀── the same? ──▶ this device, now ◀── the same? ──▶ newest of the class
//! ```

use muster_schemas::{
    DeviceId, TenantId,
    firmware::{
        Announcement, Digest, Encoding, ExecutionId, FailureCode, Freshness, Nonce, Offer, Outcome, Sequence,
        Transfer, Uuid, Window,
    },
};

use crate::{
    Envelope, Facts, Image, InvalidEnvelope, InvalidStatement, Root, State, Unfit, Unfollowed, Version,
    carry_out,
    limits::{CLOCK_AHEAD_S_MAX, FRESHNESS_LIFE_S_MAX, OFFER_LIFE_S_MAX, ROOTS_MAX},
    offer::{read_freshness, read_offer},
};

/// What a device is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Whose it is.
    pub tenant: TenantId,
    /// Which.
    pub device: DeviceId,
    /// Maker, class and what else manifests ask for.
    pub facts: Facts,
    /// The image that it runs: what patches are for.
    pub image: Option<Digest>,
    /// The longest image that fits a slot, in bytes.
    pub slot_bytes: u64,
}

/// How a device knows the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// It has a clock: Unix seconds.
    Time(u64),
    /// It has none, or not yet, and asked for an offer with this nonce. What echoes it is of now.
    Asked(Nonce),
}

/// What came.
#[derive(Debug, Clone, Copy, Default)]
pub struct Parts<'a> {
    /// The manifest.
    pub envelope: Option<&'a [u8]>,
    /// The offer.
    pub offer: Option<&'a [u8]>,
    /// The freshness statement.
    pub freshness: Option<&'a [u8]>,
}

impl<'a> From<&'a Announcement> for Parts<'a> {
    /// What is empty did not come.
    fn from(announcement: &'a Announcement) -> Self {
        let part = |bytes: &'a [u8]| (!bytes.is_empty()).then_some(bytes);
        Self {
            envelope: part(&announcement.envelope),
            offer: part(&announcement.offer),
            freshness: part(&announcement.freshness),
        }
    }
}

/// What a refusal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The tenant's root.
    Root,
    /// The manifest.
    Envelope,
    /// The offer.
    Offer,
    /// The freshness statement.
    Freshness,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Root => "the tenant's root",
            Self::Envelope => "the manifest",
            Self::Offer => "the offer",
            Self::Freshness => "the freshness statement",
        })
    }
}

/// What is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It did not come.
    #[error("is missing")]
    Missing,
    /// It cannot be read, or is signed by nobody who may.
    #[error("{0}")]
    Envelope(InvalidEnvelope),
    /// It cannot be read, or is signed by nobody who may.
    #[error("{0}")]
    Statement(InvalidStatement),
    /// It does not follow on the one that the device has.
    #[error("{0}")]
    Root(Unfollowed),
    /// Too few of the tenant's firmware keys have signed.
    #[error("is signed by {found} of the tenant's firmware keys, and takes {threshold}")]
    Signatures {
        /// How many have signed.
        found: usize,
        /// How many it takes.
        threshold: usize,
    },
    /// Its time is over.
    #[error("expired at {at_s}, and it is {now_s} (Unix seconds)")]
    Expired {
        /// When, Unix seconds.
        at_s: u64,
        /// What time it is.
        now_s: u64,
    },
    /// Its time has not come.
    #[error("begins at {at_s}, and it is {now_s} (Unix seconds)")]
    NotYet {
        /// When, Unix seconds.
        at_s: u64,
        /// What time it is.
        now_s: u64,
    },
    /// It would hold for longer than one may.
    #[error("holds for {found_s} seconds, and {max_s} are the most")]
    TooLong {
        /// How long.
        found_s: u64,
        /// How long at most.
        max_s: u64,
    },
    /// It is another tenant's.
    #[error("is of the tenant {0}")]
    OtherTenant(TenantId),
    /// It is for another device.
    #[error("is for the device {0}")]
    OtherDevice(DeviceId),
    /// It is about another class.
    #[error("is about the class {0}")]
    OtherClass(Uuid),
    /// It is not for this device, or nothing that it can carry out.
    #[error("{0}")]
    Unfit(Unfit),
    /// It is older than what the device knows.
    #[error("has the number {found}, and {known} is known")]
    Older {
        /// Its number, or time.
        found: u64,
        /// What is known.
        known: u64,
    },
    /// It is what the device has.
    #[error("is installed already")]
    Installed,
    /// It does not say what another part says.
    #[error("names {what} otherwise than {other}")]
    Mismatched {
        /// What.
        what: &'static str,
        /// Than which part.
        other: Part,
    },
    /// It does not echo what the device asked with.
    #[error("does not echo the nonce of the device, which has no clock")]
    NotAsked,
    /// The image fits no slot.
    #[error("is for an image of {size} bytes, and a slot has {slot_bytes}")]
    NoSpace {
        /// How long the image is.
        size: u64,
        /// How long a slot is.
        slot_bytes: u64,
    },
    /// There is no way to the image.
    #[error("has no transfer that this device can use")]
    NoTransfer,
}

/// Why nothing is installed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{part} {fault}")]
pub struct Refusal {
    /// What is refused.
    pub part: Part,
    /// Why.
    pub fault: Fault,
}

impl Refusal {
    /// How the device reports it.
    pub fn outcome(&self) -> Outcome {
        let code = match &self.fault {
            Fault::Installed => return Outcome::AlreadyInstalled,
            Fault::Older { .. } => FailureCode::Downgrade,
            Fault::Expired { .. } | Fault::NotYet { .. } | Fault::TooLong { .. } | Fault::NotAsked => {
                FailureCode::ExpiredOffer
            }
            Fault::Unfit(Unfit::Vendor(_) | Unfit::Class(_) | Unfit::Unit | Unfit::Version | Unfit::Slot)
            | Fault::OtherClass(_)
            | Fault::OtherDevice(_)
            | Fault::OtherTenant(_) => FailureCode::WrongClass,
            Fault::Signatures { .. }
            | Fault::Missing
            | Fault::Root(_)
            | Fault::Envelope(_)
            | Fault::Statement(_) => FailureCode::Signature,
            Fault::Mismatched { .. } => FailureCode::DigestMismatch,
            Fault::NoSpace { .. } => FailureCode::NoSpace,
            Fault::NoTransfer => FailureCode::Transfer,
            Fault::Unfit(_) => FailureCode::Other,
        };
        Outcome::Failed { code }
    }
}

/// What to install.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// For which execution.
    pub execution: ExecutionId,
    /// Which try of it.
    pub attempt: u32,
    /// The manifest.
    pub manifest: Digest,
    /// Its number.
    pub sequence: Sequence,
    /// The version that is installed, when the manifest says it.
    pub version: Option<Version>,
    /// SHA-256 of the image, as the tenant signed it.
    pub image: Digest,
    /// How long the image is, in bytes: nothing that unpacks may become longer.
    pub size: u64,
    /// Ways to get it that this device can use, the best first.
    pub transfers: Vec<Transfer>,
    /// When to install it; none: at once.
    pub window: Option<Window>,
    /// When the offer ends, Unix seconds.
    pub expires_s: u64,
    /// Whether somebody at the device has to agree first.
    pub consent: bool,
    /// What time the hub says it is at least: to be kept as [`State::seen_s`].
    pub seen_s: u64,
    /// What the hub says is newest: to be kept as [`State::newest`].
    pub newest: Sequence,
}

/// The root after these, one after the other. It may have expired; [`judge`] looks.
///
/// # Errors
/// One of them does not follow on the one before.
pub fn follow(root: &Root, roots: &[Vec<u8>]) -> Result<Root, Refusal> {
    let mut last = root.clone();
    for bytes in roots.iter().take(ROOTS_MAX) {
        match last.next(bytes) {
            Ok(next) => last = next,
            // A hub that does not know how far a device is sends some that the device has.
            Err(Unfollowed::Version { found, next }) if found < next => {}
            Err(fault) => return refuse(Part::Root, Fault::Root(fault)),
        }
    }
    Ok(last)
}

/// Whether this device may install what came, and what that is.
///
/// # Errors
/// The first part that is not as it has to be, and why.
pub fn judge(
    device: &Device,
    state: &State,
    root: Option<&Root>,
    parts: Parts<'_>,
    clock: Clock,
) -> Result<Accepted, Refusal> {
    let missing = |part: Part| Refusal { part, fault: Fault::Missing };
    let root = root.ok_or_else(|| missing(Part::Root))?;
    let envelope = parts.envelope.ok_or_else(|| missing(Part::Envelope))?;
    let offer = parts.offer.ok_or_else(|| missing(Part::Offer))?;
    let freshness = parts.freshness.ok_or_else(|| missing(Part::Freshness))?;
    if root.tenant != device.tenant {
        return refuse(Part::Root, Fault::OtherTenant(root.tenant.clone()));
    }

    let freshness = read_freshness(freshness, &root.hub)
        .map_err(|fault| Refusal { part: Part::Freshness, fault: Fault::Statement(fault) })?;
    let now_s = time(state, clock, &freshness)?;
    if now_s >= root.expires_s {
        return refuse(Part::Root, Fault::Expired { at_s: root.expires_s, now_s });
    }
    check_freshness(device, state, &freshness, now_s)?;

    let offer = read_offer(offer, &root.hub)
        .map_err(|fault| Refusal { part: Part::Offer, fault: Fault::Statement(fault) })?;
    check_offer(device, &offer, clock, now_s)?;

    let unreadable = |fault| Refusal { part: Part::Envelope, fault: Fault::Envelope(fault) };
    let envelope = Envelope::open(envelope).map_err(unreadable)?;
    let (found, threshold) = (envelope.signers(&root.firmware.keys()).len(), root.firmware.threshold);
    if found < threshold {
        return refuse(Part::Envelope, Fault::Signatures { found, threshold });
    }
    let manifest = envelope.manifest().map_err(unreadable)?;

    // The three say the same, and nothing older than what is known.
    let mismatch = |part, what, other| refuse(part, Fault::Mismatched { what, other });
    if offer.manifest != envelope.digest() {
        return mismatch(Part::Offer, "the manifest", Part::Envelope);
    }
    if offer.sequence != manifest.sequence {
        return mismatch(Part::Offer, "the number of the manifest", Part::Envelope);
    }
    if state.manifest == Some(offer.manifest) && state.sequence == offer.sequence {
        return refuse(Part::Envelope, Fault::Installed);
    }
    if manifest.sequence <= state.sequence {
        return refuse(Part::Envelope, Fault::Older { found: manifest.sequence.0, known: state.sequence.0 });
    }
    if manifest.sequence < freshness.sequence {
        return refuse(Part::Offer, Fault::Older { found: manifest.sequence.0, known: freshness.sequence.0 });
    }
    if manifest.sequence != freshness.sequence {
        return mismatch(Part::Freshness, "the newest number", Part::Offer);
    }
    if freshness.manifest != offer.manifest {
        return mismatch(Part::Freshness, "the manifest", Part::Offer);
    }

    let unfit = |fault| Refusal { part: Part::Envelope, fault: Fault::Unfit(fault) };
    let images = carry_out(&manifest, &device.facts).map_err(unfit)?;
    let [image] = images.as_slice() else {
        return Err(unfit(Unfit::Command("second component")));
    };
    if image.size > device.slot_bytes {
        let (size, slot_bytes) = (image.size, device.slot_bytes);
        return refuse(Part::Envelope, Fault::NoSpace { size, slot_bytes });
    }
    let transfers = usable(device, &offer, image)?;
    Ok(Accepted {
        execution: offer.execution,
        attempt: offer.attempt,
        manifest: offer.manifest,
        sequence: manifest.sequence,
        version: manifest.version,
        image: image.digest,
        size: image.size,
        transfers,
        window: offer.window,
        expires_s: offer.expires_s,
        consent: offer.consent,
        seen_s: freshness.time_s.max(state.seen_s),
        newest: freshness.sequence,
    })
}

/// What time it is. A clock is not believed when it is behind what a hub has signed before; without one, the hub's time
/// counts, because what it said it said after it was asked.
fn time(state: &State, clock: Clock, freshness: &Freshness) -> Result<u64, Refusal> {
    match clock {
        Clock::Time(now_s) => Ok(now_s.max(state.seen_s)),
        Clock::Asked(nonce) if freshness.nonce == Some(nonce) => Ok(freshness.time_s),
        Clock::Asked(_) => refuse(Part::Freshness, Fault::NotAsked),
    }
}

fn check_freshness(device: &Device, state: &State, freshness: &Freshness, now_s: u64) -> Result<(), Refusal> {
    let fault = if freshness.tenant != device.tenant {
        Fault::OtherTenant(freshness.tenant.clone())
    } else if freshness.class != device.facts.class {
        Fault::OtherClass(freshness.class)
    } else if freshness.expires_s.saturating_sub(freshness.time_s) > FRESHNESS_LIFE_S_MAX {
        let found_s = freshness.expires_s.saturating_sub(freshness.time_s);
        Fault::TooLong { found_s, max_s: FRESHNESS_LIFE_S_MAX }
    } else if now_s >= freshness.expires_s {
        Fault::Expired { at_s: freshness.expires_s, now_s }
    } else if freshness.time_s > now_s.saturating_add(CLOCK_AHEAD_S_MAX) {
        Fault::NotYet { at_s: freshness.time_s, now_s }
    } else if freshness.time_s < state.seen_s {
        Fault::Older { found: freshness.time_s, known: state.seen_s }
    } else if freshness.sequence < state.newest {
        Fault::Older { found: freshness.sequence.0, known: state.newest.0 }
    } else {
        return Ok(());
    };
    refuse(Part::Freshness, fault)
}

fn check_offer(device: &Device, offer: &Offer, clock: Clock, now_s: u64) -> Result<(), Refusal> {
    let life_s = offer.expires_s.saturating_sub(offer.not_before_s);
    let fault = if offer.tenant != device.tenant {
        Fault::OtherTenant(offer.tenant.clone())
    } else if offer.device != device.device {
        Fault::OtherDevice(offer.device.clone())
    } else if life_s > OFFER_LIFE_S_MAX {
        Fault::TooLong { found_s: life_s, max_s: OFFER_LIFE_S_MAX }
    } else if now_s >= offer.expires_s {
        Fault::Expired { at_s: offer.expires_s, now_s }
    } else if offer.not_before_s > now_s.saturating_add(CLOCK_AHEAD_S_MAX) {
        Fault::NotYet { at_s: offer.not_before_s, now_s }
    } else if matches!(clock, Clock::Asked(nonce) if offer.nonce != Some(nonce)) {
        Fault::NotAsked
    } else {
        return Ok(());
    };
    refuse(Part::Offer, fault)
}

/// Ways to the image that this device can go: in full, packed, or as a patch on what it runs. An offer without any
/// leaves it to the addresses in the manifest.
fn usable(device: &Device, offer: &Offer, image: &Image) -> Result<Vec<Transfer>, Refusal> {
    let full = offer.transfers.iter().filter(|transfer| transfer.encoding == Encoding::Full);
    for transfer in full {
        if transfer.digest != image.digest || transfer.size != image.size {
            let (what, other) = ("the image", Part::Envelope);
            return refuse(Part::Offer, Fault::Mismatched { what, other });
        }
    }
    let fits = |transfer: &&Transfer| transfer.from.is_none() || transfer.from == device.image;
    let mut usable: Vec<_> = offer.transfers.iter().filter(fits).cloned().collect();
    if offer.transfers.is_empty() && !image.uris.is_empty() {
        usable.push(Transfer {
            encoding: Encoding::Full,
            from: None,
            size: image.size,
            digest: image.digest,
            uris: image.uris.clone(),
        });
    }
    if usable.is_empty() {
        return refuse(Part::Offer, Fault::NoTransfer);
    }
    Ok(usable)
}

fn refuse<T>(part: Part, fault: Fault) -> Result<T, Refusal> {
    Err(Refusal { part, fault })
}
