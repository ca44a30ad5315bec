//! `muster-sign manifest`, `sign`, `show` and `verify`.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use clap::Args;
use muster_schemas::firmware::Sequence;
use muster_suit::{
    Envelope, Facts, Manifest, NewManifest, PublicKey, Version, carry_out, class_id,
    command::{Command, Parameters},
    limits::{ENVELOPE_BYTES_MAX, URI_BYTES_MAX},
    vendor_id,
};

use crate::{
    Answer,
    complaint::Complaint,
    file,
    key::{Place, place},
    root::{believed, time},
};

/// `muster-sign manifest`.
#[derive(Debug, Args)]
pub struct New {
    /// The image.
    #[arg(long, value_name = "FILE")]
    image: PathBuf,
    /// Who made the devices: a domain, as acme.example.
    #[arg(long, value_name = "DOMAIN")]
    vendor: String,
    /// Which of its devices: the model, as pump-mk2.
    #[arg(long, value_name = "NAME")]
    class: String,
    /// The number of the manifest: above that of each before it of the same class.
    #[arg(long, value_name = "N")]
    sequence: u64,
    /// The version of the image: 1.4.0, or 1.4.0-rc.2.
    #[arg(long)]
    version: Option<String>,
    /// Where the image is, for devices that have no offer of a hub.
    #[arg(long)]
    uri: Option<String>,
    /// A firmware key to sign it with at once; may be given several times.
    #[arg(long, value_name = "KEY", value_parser = place)]
    key: Vec<Place>,
    /// A new file for it.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// `muster-sign sign`.
#[derive(Debug, Args)]
pub struct Sign {
    /// The manifest.
    #[arg(value_name = "MANIFEST")]
    file: PathBuf,
    /// A firmware key; may be given several times.
    #[arg(long, value_name = "KEY", value_parser = place, required = true)]
    key: Vec<Place>,
}

/// `muster-sign show`.
#[derive(Debug, Args)]
pub struct Show {
    /// The manifest.
    #[arg(value_name = "MANIFEST")]
    file: PathBuf,
    /// The tenant's root, to say who has signed.
    #[arg(long, value_name = "ROOT")]
    root: Option<PathBuf>,
}

/// `muster-sign verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// The manifest.
    #[arg(value_name = "MANIFEST")]
    file: PathBuf,
    /// The tenant's root.
    #[arg(long, value_name = "ROOT")]
    root: PathBuf,
    /// The image that it has to be about.
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// The vendor that it has to be for; with --class.
    #[arg(long, value_name = "DOMAIN", requires = "class")]
    vendor: Option<String>,
    /// The class that it has to be for; with --vendor.
    #[arg(long, value_name = "NAME", requires = "vendor")]
    class: Option<String>,
}

impl New {
    /// Does it.
    pub fn run(self) -> Answer {
        let version = match &self.version {
            Some(text) => {
                Some(text.parse::<Version>().map_err(|why| Complaint::Version { text: text.clone(), why })?)
            }
            None => None,
        };
        if self.uri.as_ref().is_some_and(|uri| uri.len() > URI_BYTES_MAX || uri.chars().any(char::is_control))
        {
            let why = format!("the address has more than {URI_BYTES_MAX} bytes, or a control character");
            return Err(Complaint::Usage(why));
        }
        if self.vendor.is_empty() || self.class.is_empty() {
            return Err(Complaint::Usage("vendor and class have to have a name".to_owned()));
        }
        let (image, size) = file::digest(&self.image)?;
        if size == 0 {
            return Err(Complaint::Usage(format!("{} is empty, and no image", self.image.display())));
        }
        let vendor = vendor_id(&self.vendor);
        let manifest = NewManifest {
            sequence: Sequence(self.sequence),
            vendor,
            class: class_id(vendor, &self.class),
            image,
            size,
            version,
            uri: self.uri,
            invoke: true,
        };
        let bytes = signed(&self.out, manifest.envelope(), &self.key)?;
        file::create(&self.out, &bytes)?;
        shown(&self.out, &bytes, &[])
    }
}

impl Sign {
    /// Does it.
    pub fn run(self) -> Answer {
        let bytes = file::read(&self.file, ENVELOPE_BYTES_MAX)?;
        // Nobody signs what he cannot see: a manifest that cannot be read whole is not signed.
        open(&self.file, &bytes)?;
        let bytes = signed(&self.file, bytes, &self.key)?;
        file::replace(&self.file, &bytes)?;
        shown(&self.file, &bytes, &[])
    }
}

impl Show {
    /// Does it.
    pub fn run(self, now_s: u64) -> Answer {
        let bytes = file::read(&self.file, ENVELOPE_BYTES_MAX)?;
        let root = self.root.as_deref().map(believed).transpose()?;
        let keys = root.as_ref().map(|root| root.firmware.keys()).unwrap_or_default();
        let mut text = shown(&self.file, &bytes, &keys)?;
        if let Some(root) = &root {
            let found = open(&self.file, &bytes)?.0.signers(&keys).len();
            let ends = if root.expires_s <= now_s { "expired" } else { "expires" };
            let (wanted, at) = (root.firmware.threshold, time(root.expires_s));
            let _ = writeln!(
                text,
                "{found} of the {wanted} firmware keys that {} takes; its root {ends} {at}",
                root.tenant
            );
        }
        Ok(text)
    }
}

impl Verify {
    /// Does it.
    pub fn run(self, now_s: u64) -> Answer {
        let bytes = file::read(&self.file, ENVELOPE_BYTES_MAX)?;
        let root = believed(&self.root)?;
        let (envelope, manifest) = open(&self.file, &bytes)?;
        let file = self.file.display();
        if root.expires_s <= now_s {
            let why = format!("the root {} expired {}", self.root.display(), time(root.expires_s));
            return Err(Complaint::NotVerified(why));
        }
        let (found, wanted) = (envelope.signers(&root.firmware.keys()).len(), root.firmware.threshold);
        if found < wanted {
            let why =
                format!("{file} is signed by {found} firmware keys of {}, which takes {wanted}", root.tenant);
            return Err(Complaint::NotVerified(why));
        }
        let facts = match (&self.vendor, &self.class) {
            (Some(vendor), Some(class)) => {
                let vendor = vendor_id(vendor);
                Facts { vendor, class: class_id(vendor, class), unit: None, slot: None, version: None }
            }
            _ => own_facts(&manifest),
        };
        let images =
            carry_out(&manifest, &facts).map_err(|why| Complaint::Unfit { path: self.file.clone(), why })?;
        if let Some(path) = &self.image {
            let (digest, size) = file::digest(path)?;
            if !images.iter().any(|image| image.digest == digest && image.size == size) {
                let why = format!(
                    "{} is {digest} with {size} bytes, and {file} is about another image",
                    path.display()
                );
                return Err(Complaint::NotVerified(why));
            }
        }
        let mut text = shown(&self.file, &bytes, &root.firmware.keys())?;
        let _ = writeln!(
            text,
            "verified: signed by {found} firmware keys of {}, which takes {wanted}",
            root.tenant
        );
        Ok(text)
    }
}

fn signed(path: &Path, bytes: Vec<u8>, keys: &[Place]) -> Result<Vec<u8>, Complaint> {
    let mut bytes = bytes;
    for key in keys {
        let signer = key.signer()?;
        let envelope =
            Envelope::open(&bytes).map_err(|why| Complaint::Envelope { path: path.to_owned(), why })?;
        // Signing twice adds nothing.
        if envelope.signers(&[signer.public()]).is_empty() {
            bytes = envelope.signed_by(&*signer)?;
        }
    }
    Envelope::open(&bytes).map_err(|why| Complaint::Envelope { path: path.to_owned(), why })?;
    Ok(bytes)
}

fn open<'a>(path: &Path, bytes: &'a [u8]) -> Result<(Envelope<'a>, Manifest), Complaint> {
    let envelope = Envelope::open(bytes).and_then(|envelope| Ok((envelope.manifest()?, envelope)));
    let (manifest, envelope) = envelope.map_err(|why| Complaint::Envelope { path: path.to_owned(), why })?;
    Ok((envelope, manifest))
}

/// What the manifest itself asks of a device.
fn own_facts(manifest: &Manifest) -> Facts {
    let of = parameters(manifest);
    let none = muster_schemas::firmware::Uuid([0; 16]);
    Facts {
        vendor: of.vendor.unwrap_or(none),
        class: of.class.unwrap_or(none),
        unit: of.device,
        slot: of.slot,
        version: None,
    }
}

/// What the shared sequence sets first.
fn parameters(manifest: &Manifest) -> Parameters {
    let set = manifest.shared.iter().find_map(|command| match command {
        Command::Override(parameters) => Some(parameters.as_ref().clone()),
        _ => None,
    });
    set.unwrap_or_default()
}

fn shown(path: &Path, bytes: &[u8], keys: &[&PublicKey]) -> Answer {
    let (envelope, manifest) = open(path, bytes)?;
    let mut text = format!("manifest {}\nsequence {}\n", envelope.digest(), manifest.sequence);
    if let Some(version) = &manifest.version {
        let _ = writeln!(text, "version  {version}");
    }
    let of = parameters(&manifest);
    for (name, id) in [("vendor", of.vendor), ("class", of.class), ("device", of.device)] {
        if let Some(id) = id {
            let _ = writeln!(text, "{name:<8} {id}");
        }
    }
    match carry_out(&manifest, &own_facts(&manifest)) {
        Ok(images) => {
            for image in images {
                let _ = writeln!(text, "image    {}, {} bytes", image.digest, image.size);
                for uri in image.uris {
                    let _ = writeln!(text, "address  {uri}");
                }
            }
        }
        Err(why) => {
            let _ = writeln!(text, "no device with slots installs it: it {why}");
        }
    }
    let signers = envelope.signers(keys);
    let names = signers.iter().map(|key| key.id().to_string()).collect::<Vec<_>>().join(", ");
    let count = envelope.signatures();
    let _ = match (keys.is_empty(), names.is_empty()) {
        (true, _) => writeln!(text, "signatures: {count}"),
        (false, true) => writeln!(text, "signatures: {count}, none of a firmware key"),
        (false, false) => writeln!(text, "signatures: {count}, of firmware keys: {names}"),
    };
    Ok(text)
}
