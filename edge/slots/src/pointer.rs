//! The boot pointer: which slot boots, whether the other one is on trial, and what became of the last trial. It is
//! the one thing that a switch changes, in one write.

use std::{fmt, io, path::Path};

use muster_schemas::firmware::{FailureCode, Sequence};

use crate::{
    fs::Fs,
    limits::{REASON_BYTES_MAX, TRIES_MAX},
    record::Pair,
    slot::{Image, Slot},
    wire::{Fields, put_image, put_optional, put_slot},
};

const MAGIC: [u8; 4] = *b"MBP1";

/// What is wrong with an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The word for it that hub and operator know.
    pub code: FailureCode,
    /// For people, at most 80 bytes.
    why: String,
}

impl Reason {
    /// What is too long is cut.
    pub fn new(code: FailureCode, why: &str) -> Self {
        let end = why.floor_char_boundary(REASON_BYTES_MAX);
        Self { code, why: why.get(..end).unwrap_or_default().to_owned() }
    }

    /// For people.
    pub fn why(&self) -> &str {
        &self.why
    }

    fn put(out: &mut Vec<u8>, reason: &Self) {
        out.push(reason.code.number());
        // At most 80 bytes.
        out.push(u8::try_from(reason.why.len()).unwrap_or(0));
        out.extend_from_slice(reason.why.as_bytes());
    }

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let code = FailureCode::from_number(fields.u8()?)?;
        let why = fields.text(REASON_BYTES_MAX)?.to_owned();
        Some(Self { code, why })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.why)
    }
}

/// A new image that has yet to show that it is well. It is in the slot that is not active.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// How many more times it is started.
    pub tries: u8,
    /// What was last found to be wrong with it.
    pub fault: Option<Reason>,
}

/// A trial that ended with the old image, kept until somebody has been told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolledBack {
    /// The image that was tried.
    pub image: Image,
    /// Why the device went back.
    pub reason: Reason,
}

/// What the boot loader reads, and the agent writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootPointer {
    /// The slot that has shown that it boots.
    pub active: Slot,
    /// Whether the other one is tried first.
    pub trial: Option<Trial>,
    /// What is in slot A; none while it is being written, or was never.
    pub a: Option<Image>,
    /// What is in slot B.
    pub b: Option<Image>,
    /// The highest sequence that was ever committed: nothing up to it is installed any more.
    pub floor: Sequence,
    /// The last trial that ended badly.
    pub rolled_back: Option<RolledBack>,
}

/// What is booted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// Which slot.
    pub slot: Slot,
    /// How many tries are left after this one, if it is one.
    pub trial: Option<u8>,
    /// What has to be on the medium before anything is started; none if nothing changed.
    pub write: Option<BootPointer>,
}

impl BootPointer {
    /// Of a device that leaves the factory: an image in slot A.
    pub fn new(image: Image) -> Self {
        let floor = image.sequence;
        Self { active: Slot::A, trial: None, a: Some(image), b: None, floor, rolled_back: None }
    }

    /// What is in a slot.
    pub fn image(&self, slot: Slot) -> Option<&Image> {
        match slot {
            Slot::A => self.a.as_ref(),
            Slot::B => self.b.as_ref(),
        }
    }

    fn image_mut(&mut self, slot: Slot) -> &mut Option<Image> {
        match slot {
            Slot::A => &mut self.a,
            Slot::B => &mut self.b,
        }
    }

    /// What this start boots. A trial costs a try before it begins, so that an image that takes the machine down has
    /// cost one as well; without tries left the old image boots, and the trial is over.
    pub fn boot(&self) -> Boot {
        let mut next = self.clone();
        match next.trial.take() {
            None => Boot { slot: self.active, trial: None, write: None },
            Some(Trial { tries: 0, fault }) => {
                next.rolled_back = self.trial_image().map(|image| RolledBack {
                    image: image.clone(),
                    reason: fault.unwrap_or_else(|| {
                        Reason::new(
                            FailureCode::BootFailed,
                            "it did not say that it is well in any of its tries",
                        )
                    }),
                });
                Boot { slot: self.active, trial: None, write: Some(next) }
            }
            Some(Trial { tries, fault }) => {
                let tries = tries.min(TRIES_MAX) - 1;
                next.trial = Some(Trial { tries, fault });
                Boot { slot: self.active.other(), trial: Some(tries), write: Some(next) }
            }
        }
    }

    /// What is on trial.
    pub fn trial_image(&self) -> Option<&Image> {
        self.trial.as_ref().and_then(|_| self.image(self.active.other()))
    }

    /// Before the slot that is not active is written: from here on nobody may take what is in it for an image. None
    /// during a trial, whose image it holds.
    pub fn cleared(&self) -> Option<Self> {
        let mut next = self.clone();
        *next.image_mut(self.active.other()) = None;
        self.trial.is_none().then_some(next)
    }

    /// The other slot holds this image, whole, and is tried from the next start on. None during a trial.
    pub fn switched(&self, image: Image) -> Option<Self> {
        let mut next = self.clone();
        *next.image_mut(self.active.other()) = Some(image);
        next.trial = Some(Trial { tries: TRIES_MAX, fault: None });
        next.rolled_back = None;
        self.trial.is_none().then_some(next)
    }

    /// The image on trial is well. None if none is on trial.
    pub fn committed(&self) -> Option<Self> {
        let image = self.trial_image()?;
        let mut next = self.clone();
        next.floor = self.floor.max(image.sequence);
        next.active = self.active.other();
        next.trial = None;
        next.rolled_back = None;
        Some(next)
    }

    /// Something is wrong with the image on trial; with `for_good` it is not started again. None if none is on trial.
    pub fn faulted(&self, reason: Reason, for_good: bool) -> Option<Self> {
        let mut next = self.clone();
        let trial = next.trial.as_mut()?;
        trial.fault = Some(reason);
        if for_good {
            trial.tries = 0;
        }
        Some(next)
    }

    /// Somebody has been told of the trial that ended badly.
    #[must_use]
    pub fn told(&self) -> Self {
        Self { rolled_back: None, ..self.clone() }
    }

    /// As it stands in a record.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        put_slot(&mut out, self.active);
        put_optional(&mut out, self.trial.as_ref(), |out, trial| {
            out.push(trial.tries);
            put_optional(out, trial.fault.as_ref(), Reason::put);
        });
        put_optional(&mut out, self.a.as_ref(), put_image);
        put_optional(&mut out, self.b.as_ref(), put_image);
        out.extend_from_slice(&self.floor.0.to_le_bytes());
        put_optional(&mut out, self.rolled_back.as_ref(), |out, back| {
            put_image(out, &back.image);
            Reason::put(out, &back.reason);
        });
        out
    }

    /// Reads a body; none if it is no boot pointer that we write.
    pub fn decode(body: &[u8]) -> Option<Self> {
        let mut fields = Fields(body);
        let active = fields.slot()?;
        let trial = fields.optional(|fields| {
            let tries = fields.u8().filter(|tries| *tries <= TRIES_MAX)?;
            Some(Trial { tries, fault: fields.optional(Reason::read)? })
        })?;
        let (a, b) = (fields.optional(Fields::image)?, fields.optional(Fields::image)?);
        let floor = Sequence(fields.u64()?);
        let rolled_back = fields
            .optional(|fields| Some(RolledBack { image: fields.image()?, reason: Reason::read(fields)? }))?;
        fields.end()?;
        let read = Self { active, trial, a, b, floor, rolled_back };
        // What is on trial is there.
        (read.trial.is_none() || read.trial_image().is_some()).then_some(read)
    }
}

/// Where the boot pointer of a component lies.
#[derive(Debug, Clone)]
pub struct PointerFile(Pair);

impl PointerFile {
    /// In the folder of records.
    pub fn new(state: &Path) -> Self {
        Self(Pair::new(state, "boot", MAGIC))
    }

    /// None if neither copy is whole.
    ///
    /// # Errors
    /// Neither can be read.
    pub fn read<F: Fs>(&self, fs: &F) -> io::Result<Option<BootPointer>> {
        Ok(self.0.read(fs)?.and_then(|framed| BootPointer::decode(&framed.body)))
    }

    /// When this returns, it is what boots.
    ///
    /// # Errors
    /// It could not be written; what boots is what was there, or this.
    pub fn write<F: Fs>(&self, fs: &F, pointer: &BootPointer) -> io::Result<()> {
        self.0.write(fs, &pointer.encode())
    }
}
