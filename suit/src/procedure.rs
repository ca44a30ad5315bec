//! What a manifest comes to on a device that installs images into slots: its commands are gone through once, without
//! doing anything, and leave which image each component has to be. What a device of that kind cannot do is refused
//! whole.

use muster_schemas::firmware::{Digest, Uuid};

use crate::{
    Manifest, Version,
    command::{Command, Components, Parameters},
    limits::STEPS_MAX,
};

/// What conditions are held against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Who made the device.
    pub vendor: Uuid,
    /// What it is.
    pub class: Uuid,
    /// Which it is, to manifests for one device.
    pub unit: Option<Uuid>,
    /// The slot that would be installed into.
    pub slot: Option<u64>,
    /// The version of the image that runs.
    pub version: Option<Version>,
}

/// An image that a component has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Which component.
    pub component: usize,
    /// Its SHA-256.
    pub digest: Digest,
    /// How long it is, in bytes.
    pub size: u64,
    /// Where the manifest says it is.
    pub uris: Vec<String>,
}

/// Why a manifest is not for a device, or not one that it can carry out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Another maker's device.
    #[error("is for devices of the vendor {0}")]
    Vendor(Uuid),
    /// Another class.
    #[error("is for devices of the class {0}")]
    Class(Uuid),
    /// Another device.
    #[error("is for one other device")]
    Unit,
    /// Another slot.
    #[error("is for another slot than the free one")]
    Slot,
    /// It does not go onto the version that runs.
    #[error("does not go onto the version that runs")]
    Version,
    /// It ends in a failure of its own.
    #[error("aborts on this device")]
    Abort,
    /// A command without the parameters that it needs.
    #[error("has a {0} without the parameter that it needs")]
    Parameter(&'static str),
    /// It does not say for whom it is.
    #[error("does not ask for the vendor and the class of the device, so that it would run on any")]
    ForAnybody,
    /// It names no image, or one without length or check.
    #[error("does not say which image, with its length, the component {0} has to be")]
    NoImage(usize),
    /// Two images for one component.
    #[error("names two images for the component {0}")]
    TwoImages(usize),
    /// A component that it does not have.
    #[error("is about a component that it does not have")]
    Component,
    /// Something that devices with slots do not do.
    #[error("has a {0}, which a device with slots does not do")]
    Command(&'static str),
    /// A sequence that was taken out and is not there.
    #[error("was sent without its member {0}")]
    LeftBehind(i128),
    /// More work than any manifest needs.
    #[error("has more than {STEPS_MAX} steps")]
    TooLong,
}

impl Unfit {
    /// Whether it is a condition that did not hold: what a try-each goes on from.
    fn is_condition(&self) -> bool {
        matches!(
            self,
            Self::Vendor(_) | Self::Class(_) | Self::Unit | Self::Slot | Self::Version | Self::Abort
        )
    }
}

/// Which images a manifest asks for on a device with these facts, by component.
///
/// # Errors
/// It is not for this device, or asks for more than images in slots.
pub fn carry_out(manifest: &Manifest, facts: &Facts) -> Result<Vec<Image>, Unfit> {
    const TEXT: i128 = 23;
    if let Some(member) = manifest.left_behind.iter().find(|member| **member != TEXT) {
        return Err(Unfit::LeftBehind(*member));
    }
    let components = manifest.components.len();
    let mut run = Run {
        facts,
        parameters: Vec::new(),
        current: Vec::new(),
        images: vec![None; components],
        uris: vec![Vec::new(); components],
        vendor: false,
        class: false,
        steps: 0,
    };
    let none = Vec::new();
    let sequences = [&manifest.fetch, &manifest.install, &manifest.validate, &manifest.invoke];
    let mut sequences: Vec<_> = sequences.into_iter().flatten().collect();
    if sequences.is_empty() {
        sequences.push(&none);
    }
    for sequence in sequences {
        // The shared sequence comes before each (§6.4), and nothing that another has set is left.
        run.parameters = vec![Parameters::default(); components];
        run.current = vec![0];
        run.sequence(&manifest.shared)?;
        run.current = vec![0];
        run.sequence(sequence)?;
    }
    run.ended()
}

struct Run<'a> {
    facts: &'a Facts,
    parameters: Vec<Parameters>,
    current: Vec<usize>,
    images: Vec<Option<(Digest, u64)>>,
    uris: Vec<Vec<String>>,
    vendor: bool,
    class: bool,
    steps: usize,
}

impl Run<'_> {
    fn sequence(&mut self, commands: &[Command]) -> Result<(), Unfit> {
        commands.iter().try_for_each(|command| self.command(command))
    }

    fn command(&mut self, command: &Command) -> Result<(), Unfit> {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return Err(Unfit::TooLong);
        }
        match command {
            Command::SetComponents(Components::All) => {
                self.current = (0..self.images.len()).collect();
                Ok(())
            }
            Command::SetComponents(Components::These(these)) => {
                if these.iter().any(|index| *index >= self.images.len()) {
                    return Err(Unfit::Component);
                }
                self.current.clone_from(these);
                Ok(())
            }
            Command::TryEach { sequences, or_none } => self.try_each(sequences, *or_none),
            Command::Abort => Err(Unfit::Abort),
            Command::Write => Err(Unfit::Command("write of content (18)")),
            Command::Copy => Err(Unfit::Command("copy (22)")),
            Command::Swap => Err(Unfit::Command("swap (31)")),
            // It starts what was installed, which the device does after a switch of slots anyway.
            Command::Invoke => Ok(()),
            of_components => {
                for index in self.current.clone() {
                    self.on_component(of_components, index)?;
                }
                Ok(())
            }
        }
    }

    fn on_component(&mut self, command: &Command, index: usize) -> Result<(), Unfit> {
        let parameters = self.parameters.get_mut(index).ok_or(Unfit::Component)?;
        match command {
            Command::Override(others) => parameters.override_with(others),
            Command::VendorMatches => {
                let wanted = parameters.vendor.ok_or(Unfit::Parameter("condition on the vendor"))?;
                if wanted != self.facts.vendor {
                    return Err(Unfit::Vendor(wanted));
                }
                self.vendor = true;
            }
            Command::ClassMatches => {
                let wanted = parameters.class.ok_or(Unfit::Parameter("condition on the class"))?;
                if wanted != self.facts.class {
                    return Err(Unfit::Class(wanted));
                }
                self.class = true;
            }
            Command::DeviceMatches => {
                let wanted = parameters.device.ok_or(Unfit::Parameter("condition on the device"))?;
                if Some(wanted) != self.facts.unit {
                    return Err(Unfit::Unit);
                }
            }
            Command::SlotMatches => {
                let wanted = parameters.slot.ok_or(Unfit::Parameter("condition on the slot"))?;
                if Some(wanted) != self.facts.slot {
                    return Err(Unfit::Slot);
                }
            }
            Command::VersionMatches => {
                let wanted = parameters.version.as_ref();
                let (comparison, named) = wanted.ok_or(Unfit::Parameter("condition on the version"))?;
                let ours = self.facts.version.as_ref();
                if !ours.is_some_and(|ours| ours.matches(*comparison, named)) {
                    return Err(Unfit::Version);
                }
            }
            Command::ImageMatches => {
                let (Some(digest), Some(size)) = (parameters.digest, parameters.size) else {
                    return Err(Unfit::NoImage(index));
                };
                let image = self.images.get_mut(index).ok_or(Unfit::Component)?;
                if image.is_some_and(|known| known != (digest, size)) {
                    return Err(Unfit::TwoImages(index));
                }
                *image = Some((digest, size));
            }
            Command::Fetch => {
                let uri = parameters.uri.clone().ok_or(Unfit::Parameter("fetch"))?;
                let uris = self.uris.get_mut(index).ok_or(Unfit::Component)?;
                if !uris.contains(&uri) {
                    uris.push(uri);
                }
            }
            other => unreachable_command(other)?,
        }
        Ok(())
    }

    fn try_each(&mut self, sequences: &[Vec<Command>], or_none: bool) -> Result<(), Unfit> {
        let mut last = Unfit::Abort;
        for sequence in sequences {
            let before = (
                self.parameters.clone(),
                self.current.clone(),
                self.images.clone(),
                self.uris.clone(),
                (self.vendor, self.class),
            );
            match self.sequence(sequence) {
                Ok(()) => return Ok(()),
                // What a sequence that failed has set is as if it had not been.
                Err(unfit) if unfit.is_condition() => {
                    (self.parameters, self.current, self.images, self.uris, (self.vendor, self.class)) =
                        before;
                    last = unfit;
                }
                Err(unfit) => return Err(unfit),
            }
        }
        if or_none { Ok(()) } else { Err(last) }
    }

    fn ended(self) -> Result<Vec<Image>, Unfit> {
        if !(self.vendor && self.class) {
            return Err(Unfit::ForAnybody);
        }
        let images = self.images.into_iter().zip(self.uris).enumerate();
        images
            .map(|(component, (image, uris))| {
                let (digest, size) = image.ok_or(Unfit::NoImage(component))?;
                Ok(Image { component, digest, size, uris })
            })
            .collect()
    }
}

/// Commands that are not about a component never come here.
fn unreachable_command(command: &Command) -> Result<(), Unfit> {
    match command {
        Command::Abort => Err(Unfit::Abort),
        _ => Err(Unfit::Command("command out of its place")),
    }
}
