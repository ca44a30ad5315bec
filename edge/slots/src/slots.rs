//! Carries an update out on the device's media, step by step. Each step may be repeated, and may be the last one
//! before power goes: what is on the medium then boots the old image or the new one.
//!
//! ```text
//! begin: pointer forgets the other slot ─▶ journal     keep, mark: write ─▶ fsync ─▶ journal, each MiB
//! install: unpack ─▶ fsync ─▶ digest is the signed one ─▶ rename ─▶ fsync of the folder
//! switch: journal ─▶ pointer {slot, 3 tries}           commit: pointer {slot}, floor
//! ```

use std::{
    io,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{Context, SHA256};
use muster_schemas::firmware::{Digest, Encoding, ExecutionId, FailureCode, Sequence, Transfer};

use crate::{
    decode::{DecodeError, Old, decode},
    floor::FloorCounter,
    fs::Fs,
    journal::{Journal, JournalFile, Phase},
    limits::{CHUNK_BYTES, IMAGE_BYTES_MAX},
    pointer::{BootPointer, PointerFile, Reason},
    slot::{Image, Layout, Place, Slot},
};

/// Why a step of an update failed.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A file of slots or records.
    #[error("{doing} {}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The image, or what is transferred for it, does not fit.
    #[error("make room: {needed} bytes are needed and {free} are free; nothing was changed")]
    NoSpace {
        /// How many bytes are needed.
        needed: u64,
        /// How many there are.
        free: u64,
    },
    /// What is there is not what was signed.
    #[error("verify {what}: its SHA-256 is {found}, and should be {wanted}")]
    Digest {
        /// What was looked at.
        what: &'static str,
        /// What it has.
        found: Digest,
        /// What it should have.
        wanted: Digest,
    },
    /// It does not unpack.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The other slot holds an image on trial.
    #[error("write the other slot: the image in it is on trial; commit it or go back first")]
    OnTrial,
    /// There is none, so nothing is known of the slots.
    #[error("read the boot pointer: neither copy is whole; write it anew with `muster-boot init`")]
    NoPointer,
    /// A block that is not of this transfer.
    #[error("keep a block: it ends at {end}, and the transfer at {size}")]
    OutOfRange {
        /// Where it ends.
        end: u64,
        /// Where the transfer ends.
        size: u64,
    },
}

impl Fault {
    /// The word for it that hub and operator know.
    pub fn code(&self) -> FailureCode {
        match self {
            Self::NoSpace { .. } => FailureCode::NoSpace,
            Self::Io { source, .. } | Self::Decode(DecodeError::Io(source))
                if source.kind() == io::ErrorKind::StorageFull =>
            {
                FailureCode::NoSpace
            }
            Self::Digest { .. } => FailureCode::DigestMismatch,
            Self::Decode(_) => FailureCode::Decompress,
            Self::OutOfRange { .. } => FailureCode::Transfer,
            Self::Io { .. } | Self::OnTrial | Self::NoPointer => FailureCode::Other,
        }
    }
}

/// What is to be installed, and by which transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// For whom.
    pub execution: ExecutionId,
    /// Which try of it.
    pub attempt: u32,
    /// Reports of this update may have had numbers below this one: after a loss of power it goes on from here.
    pub reserved: u32,
    /// The image, from its signed manifest.
    pub image: Image,
    /// What is transferred for it, from the offer.
    pub transfer: Transfer,
}

/// The slots of one component, and its records. Only one process writes them at a time: the boot loader, then the
/// agent.
#[derive(Debug, Clone)]
pub struct Slots<F> {
    fs: F,
    layout: Layout,
    pointer: PointerFile,
    journal: JournalFile,
}

impl<F: Fs> Slots<F> {
    /// Looks at nothing yet.
    pub fn new(fs: F, layout: Layout) -> Self {
        let (pointer, journal) = (PointerFile::new(&layout.state), JournalFile::new(&layout.state));
        Self { fs, layout, pointer, journal }
    }

    /// Where they lie.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What they lie on.
    pub fn fs(&self) -> &F {
        &self.fs
    }

    /// What boots.
    ///
    /// # Errors
    /// There is no pointer, or it cannot be read.
    pub fn pointer(&self) -> Result<BootPointer, Fault> {
        let read =
            self.pointer.read(&self.fs).map_err(io_fault("read the boot pointer in", &self.layout.state))?;
        read.ok_or(Fault::NoPointer)
    }

    /// What is remembered of an update.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn journal(&self) -> Result<Option<Journal>, Fault> {
        self.journal.read(&self.fs).map_err(io_fault("read the journal in", &self.layout.state))
    }

    /// Makes the records of a device whose slot A holds this image.
    ///
    /// # Errors
    /// The slot holds another image, or a record could not be written.
    pub fn provision(&self, image: Image) -> Result<BootPointer, Fault> {
        self.verify(&self.layout.a.image(), &image, "the image in slot a")?;
        let pointer = BootPointer::new(image);
        // Twice: both copies are there from the first day, and a later write makes no file.
        self.put_pointer(&pointer)?;
        self.put_pointer(&pointer)?;
        self.put_journal(None)?;
        self.put_journal(None)?;
        Ok(pointer)
    }

    /// Makes the other slot ready to be written, or finds how far the same update was. Blocks are wanted from the
    /// returned offset on.
    ///
    /// # Errors
    /// An image is on trial, there is no room, or a file could not be written. The active slot is as it was.
    pub fn begin(&self, plan: &Plan) -> Result<u64, Fault> {
        let pointer = self.pointer()?;
        if pointer.trial.is_some() {
            return Err(Fault::OnTrial);
        }
        let slot = pointer.active.other();
        let staging = self.staging(plan, slot);
        if let Some(verified) = self.resumed(plan, slot, &staging)? {
            if self.fs.length(&staging).map_err(io_fault("look at", &staging))?.is_some() {
                self.cut(&staging, verified)?;
            }
            self.put_journal(Some(&plan.journal(Phase::Receiving { verified })))?;
            return Ok(verified);
        }

        self.room(plan, slot)?;
        if pointer.image(slot).is_some() {
            self.put_pointer(&pointer.cleared().ok_or(Fault::OnTrial)?)?;
        }
        let place = self.layout.place(slot);
        self.unlink(&self.layout.download())?;
        if let Place::Folder(_) = place {
            self.unlink(&place.image())?;
            self.unlink(&place.part())?;
        }
        self.create(&staging)?;
        self.put_journal(Some(&plan.journal(Phase::Receiving { verified: 0 })))?;
        Ok(0)
    }

    /// Writes what arrived.
    ///
    /// # Errors
    /// It is not of this transfer, or could not be written.
    pub fn keep(&self, plan: &Plan, offset: u64, bytes: &[u8]) -> Result<(), Fault> {
        let size = plan.transfer.size;
        let end = offset.saturating_add(bytes.len() as u64);
        if end > size {
            return Err(Fault::OutOfRange { end, size });
        }
        let staging = self.staging(plan, self.pointer()?.active.other());
        self.fs.write_at(&staging, offset, bytes).map_err(io_fault("write", &staging))
    }

    /// Everything before `verified` has arrived: when this returns, a loss of power does not take it.
    ///
    /// # Errors
    /// A file could not be written.
    pub fn mark(&self, plan: &Plan, verified: u64) -> Result<(), Fault> {
        let staging = self.staging(plan, self.pointer()?.active.other());
        self.fs.sync(&staging).map_err(io_fault("sync", &staging))?;
        self.put_journal(Some(&plan.journal(Phase::Receiving { verified })))
    }

    /// Makes the image from what arrived, and verifies it: what is then in the other slot is what was signed, and on
    /// the medium.
    ///
    /// # Errors What arrived is not what the offer names, does not unpack, or does not make the signed image. The
    /// update then begins from its front; the active slot is as it was.
    pub fn install(&self, plan: &Plan) -> Result<(), Fault> {
        let done = self.unpack(plan);
        if let Err(Fault::Digest { .. } | Fault::Decode(_)) = &done {
            // What is here is worth nothing: the next attempt asks for all of it.
            self.put_journal(Some(&plan.journal(Phase::Receiving { verified: 0 })))?;
        }
        done
    }

    fn unpack(&self, plan: &Plan) -> Result<(), Fault> {
        let pointer = self.pointer()?;
        if pointer.trial.is_some() {
            return Err(Fault::OnTrial);
        }
        let place = self.layout.place(pointer.active.other());
        let (part, image) = (place.part(), place.image());
        let Plan { transfer, image: signed, .. } = plan;
        if transfer.encoding == Encoding::Full {
            if self.fs.length(&part).map_err(io_fault("look at", &part))?.is_none() {
                // Renamed already, when power went.
                return self.verify(&image, signed, "the image");
            }
        } else {
            let download = self.layout.download();
            let found = self.digest(&download, transfer.size)?;
            if found != transfer.digest {
                return Err(Fault::Digest { what: "what was transferred", found, wanted: transfer.digest });
            }
            let old = pointer.image(pointer.active).filter(|old| Some(old.digest) == transfer.from);
            let path = self.layout.place(pointer.active).image();
            let old = old.map(|old| Old { path: &path, size: old.size });
            self.create(&part)?;
            decode(&self.fs, transfer.encoding, (&download, transfer.size), old, (&part, signed.size))?;
        }
        self.cut(&part, signed.size)?;
        self.fs.sync(&part).map_err(io_fault("sync", &part))?;
        self.verify(&part, signed, "the image")?;
        if let Place::Folder(folder) = place {
            self.fs.rename(&part, &image).map_err(io_fault("rename", &part))?;
            self.fs.sync_folder(folder).map_err(io_fault("sync", folder))?;
        }
        Ok(())
    }

    /// The next start tries the new image.
    ///
    /// # Errors
    /// A record could not be written: the next start may be of either, and both are whole.
    pub fn switch(&self, plan: &Plan) -> Result<(), Fault> {
        let pointer = self.pointer()?;
        self.put_journal(Some(&plan.journal(Phase::Switching)))?;
        self.put_pointer(&pointer.switched(plan.image.clone()).ok_or(Fault::OnTrial)?)
    }

    /// The image on trial is well, and is the one that boots from now on. Nothing up to its sequence is installed any
    /// more. Without a trial nothing is done.
    ///
    /// # Errors The pointer could not be written, and the trial goes on; or the counter could not be raised, which is
    /// made up for at the next start.
    pub fn commit<C: FloorCounter>(&self, counter: &mut C) -> Result<(), Fault> {
        if let Some(committed) = self.pointer()?.committed() {
            self.put_pointer(&committed)?;
        }
        self.raise(counter)
    }

    /// Brings the counter up to what the pointer says: after a commit, and at each start of the agent.
    ///
    /// # Errors
    /// The counter could not be raised.
    pub fn raise<C: FloorCounter>(&self, counter: &mut C) -> Result<(), Fault> {
        let floor = self.pointer()?.floor;
        counter.raise(floor).map_err(io_fault("raise the counter of sequences for", &self.layout.state))
    }

    /// The highest sequence that ran here, whoever remembers it: what is offered has to be above.
    ///
    /// # Errors
    /// The pointer or the counter cannot be read.
    pub fn floor<C: FloorCounter>(&self, counter: &mut C) -> Result<Sequence, Fault> {
        let counted =
            counter.read().map_err(io_fault("read the counter of sequences for", &self.layout.state))?;
        Ok(self.pointer()?.floor.max(counted))
    }

    /// Something is wrong with the image on trial: the next start is of the old one. Without a trial nothing is done.
    ///
    /// # Errors
    /// The pointer could not be written; the tries end the trial then.
    pub fn roll_back(&self, reason: Reason) -> Result<(), Fault> {
        match self.pointer()?.faulted(reason, true) {
            Some(faulted) => self.put_pointer(&faulted),
            None => Ok(()),
        }
    }

    /// Something is wrong with the image on trial, which has tries left: it is remembered in case they do not help.
    ///
    /// # Errors
    /// The pointer could not be written.
    pub fn suspect(&self, reason: Reason) -> Result<(), Fault> {
        match self.pointer()?.faulted(reason, false) {
            Some(faulted) => self.put_pointer(&faulted),
            None => Ok(()),
        }
    }

    /// The old image runs although the new one has tries left: its trial is over.
    ///
    /// # Errors
    /// The pointer could not be written.
    pub fn give_up(&self, reason: Reason) -> Result<(), Fault> {
        let over = self.pointer()?.faulted(reason, true).and_then(|faulted| faulted.boot().write);
        over.map_or(Ok(()), |over| self.put_pointer(&over))
    }

    /// The update is over, and somebody has been told how it ended.
    ///
    /// # Errors
    /// A record could not be written: it will be told again.
    pub fn forget(&self) -> Result<(), Fault> {
        let pointer = self.pointer()?;
        if pointer.rolled_back.is_some() {
            self.put_pointer(&pointer.told())?;
        }
        self.put_journal(None)?;
        self.unlink(&self.layout.download())?;
        if pointer.trial.is_none()
            && let place @ Place::Folder(_) = self.layout.place(pointer.active.other())
        {
            self.unlink(&place.part())?;
        }
        Ok(())
    }

    /// Whether the image in a slot is the one that the pointer says.
    ///
    /// # Errors
    /// It is not, or cannot be read.
    pub fn verify(&self, path: &Path, image: &Image, what: &'static str) -> Result<(), Fault> {
        let found = self.digest(path, image.size)?;
        if found == image.digest { Ok(()) } else { Err(Fault::Digest { what, found, wanted: image.digest }) }
    }

    /// How far the same update was, if what the journal says is there.
    fn resumed(&self, plan: &Plan, slot: Slot, staging: &Path) -> Result<Option<u64>, Fault> {
        let Some(journal) = self.journal()?.filter(|journal| journal.is_of(plan)) else { return Ok(None) };
        let verified = match journal.phase {
            Phase::Receiving { verified } => verified,
            Phase::Switching => plan.transfer.size,
        };
        let here = |path: &Path| self.fs.length(path).map_err(io_fault("look at", path));
        let mut length = here(staging)?;
        if length.is_none() && plan.transfer.encoding == Encoding::Full && verified == plan.transfer.size {
            // Renamed already, when power went.
            length = here(&self.layout.place(slot).image())?;
        }
        Ok(length.is_some_and(|length| length >= verified).then_some(verified))
    }

    fn room(&self, plan: &Plan, slot: Slot) -> Result<(), Fault> {
        let needed = plan.image.size;
        if needed > IMAGE_BYTES_MAX {
            return Err(Fault::NoSpace { needed, free: IMAGE_BYTES_MAX });
        }
        let free = match self.layout.place(slot) {
            Place::Folder(folder) => {
                // What is there now goes first.
                let goes = |path: PathBuf| self.fs.length(&path).ok().flatten().unwrap_or(0);
                let place = self.layout.place(slot);
                let free = self.fs.space(folder).map_err(io_fault("ask for space in", folder))?;
                free.saturating_add(goes(place.image())).saturating_add(goes(place.part()))
            }
            Place::Device(device) => {
                self.fs.length(device).map_err(io_fault("look at", device))?.unwrap_or(0)
            }
        };
        if needed > free {
            return Err(Fault::NoSpace { needed, free });
        }
        if plan.transfer.encoding != Encoding::Full {
            let state = &self.layout.state;
            let (needed, free) =
                (plan.transfer.size, self.fs.space(state).map_err(io_fault("ask for space in", state))?);
            if needed > free {
                return Err(Fault::NoSpace { needed, free });
            }
        }
        Ok(())
    }

    /// Where blocks are written: into the slot, or beside the records if they are still to be unpacked.
    fn staging(&self, plan: &Plan, slot: Slot) -> PathBuf {
        match plan.transfer.encoding {
            Encoding::Full => self.layout.place(slot).part(),
            Encoding::Zstd | Encoding::Bsdiff | Encoding::ZstdPatch => self.layout.download(),
        }
    }

    /// An empty file whose name is on the medium. A device stays as it is.
    fn create(&self, path: &Path) -> Result<(), Fault> {
        if self.is_device(path) {
            return Ok(());
        }
        self.fs.write_at(path, 0, &[]).map_err(io_fault("make", path))?;
        self.cut(path, 0)?;
        let Some(folder) = path.parent() else { return Ok(()) };
        self.fs.sync_folder(folder).map_err(io_fault("sync", folder))
    }

    /// Takes off what lies behind the end. A device has no end of its own.
    fn cut(&self, path: &Path, end: u64) -> Result<(), Fault> {
        if self.is_device(path) {
            return Ok(());
        }
        self.fs.truncate(path, end).map_err(io_fault("cut", path))
    }

    fn is_device(&self, path: &Path) -> bool {
        [&self.layout.a, &self.layout.b]
            .iter()
            .any(|place| matches!(place, Place::Device(device) if device == path))
    }

    fn unlink(&self, path: &Path) -> Result<(), Fault> {
        self.fs.unlink(path).map_err(io_fault("remove", path))
    }

    pub(crate) fn put_pointer(&self, pointer: &BootPointer) -> Result<(), Fault> {
        self.pointer
            .write(&self.fs, pointer)
            .map_err(io_fault("write the boot pointer in", &self.layout.state))
    }

    fn put_journal(&self, journal: Option<&Journal>) -> Result<(), Fault> {
        self.journal.write(&self.fs, journal).map_err(io_fault("write the journal in", &self.layout.state))
    }

    fn digest(&self, path: &Path, size: u64) -> Result<Digest, Fault> {
        let mut context = Context::new(&SHA256);
        let mut bytes = vec![0; CHUNK_BYTES];
        let mut at = 0;
        while at < size {
            let chunk = usize::try_from(size - at).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
            let Some(into) = bytes.get_mut(..chunk) else { break };
            let read = self.fs.read_at(path, at, into).map_err(io_fault("read", path))?;
            context.update(into.get(..read).unwrap_or_default());
            at += read as u64;
            if read < chunk {
                break;
            }
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        Ok(Digest(digest))
    }
}

impl Plan {
    fn journal(&self, phase: Phase) -> Journal {
        Journal {
            execution: self.execution,
            attempt: self.attempt,
            reserved: self.reserved,
            image: self.image.clone(),
            artifact: self.transfer.digest,
            size: self.transfer.size,
            phase,
        }
    }
}

impl Journal {
    fn is_of(&self, plan: &Plan) -> bool {
        let transfer = (self.artifact, self.size) == (plan.transfer.digest, plan.transfer.size);
        transfer && self.image.digest == plan.image.digest && self.image.size == plan.image.size
    }
}

fn io_fault(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Fault {
    let path = path.to_owned();
    move |source| Fault::Io { doing, path, source }
}
