//! What a boot loader does with the pointer before it starts anything: spends a try, looks at the image, and falls
//! back.

use crate::{
    fs::Fs,
    pointer::Reason,
    slot::{Image, Slot},
    slots::{Fault, Slots},
};

/// What to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The slot.
    pub slot: Slot,
    /// What is in it.
    pub image: Image,
    /// How many tries are left after this one, if it is on trial.
    pub trial: Option<u8>,
    /// Whether the image that should have been started is damaged, and this is the other one.
    pub instead: bool,
}

/// Neither slot holds an image that is whole.
#[derive(Debug, thiserror::Error)]
#[error("boot: neither slot holds the image that the pointer says; write one with `muster-boot init`")]
pub struct Unbootable(#[source] pub Fault);

/// Chooses what to start. What it costs is on the medium when this returns: a machine that goes down with the new
/// image has spent a try. If that cannot be written, the old image is started, which needs no try.
///
/// # Errors
/// There is nothing that could be started.
pub fn choose<F: Fs>(slots: &Slots<F>) -> Result<Chosen, Unbootable> {
    let mut pointer = slots.pointer().map_err(Unbootable)?;
    let boot = pointer.boot();
    if let (Some(next), Some(tries)) = (&boot.write, boot.trial) {
        if slots.put_pointer(next).is_ok() {
            match look(slots, boot.slot, next.image(boot.slot), Some(tries)) {
                Ok(chosen) => return Ok(chosen),
                Err(fault) => {
                    let reason =
                        Reason::new(fault.code(), "the image in the slot is not the one that was installed");
                    pointer = next.faulted(reason, true).unwrap_or(pointer);
                }
            }
            if let Some(over) = pointer.boot().write {
                // If it is not written, the tries left end the trial at some later start.
                let _ = slots.put_pointer(&over);
            }
        }
    } else if let Some(over) = &boot.write {
        let _ = slots.put_pointer(over);
    }
    let active = look(slots, pointer.active, pointer.image(pointer.active), None);
    active.or_else(|fault| {
        let other = pointer.active.other();
        let instead = look(slots, other, pointer.image(other), None);
        instead.map(|chosen| Chosen { instead: true, ..chosen }).map_err(|_| Unbootable(fault))
    })
}

fn look<F: Fs>(
    slots: &Slots<F>,
    slot: Slot,
    image: Option<&Image>,
    trial: Option<u8>,
) -> Result<Chosen, Fault> {
    let image = image.ok_or(Fault::NoPointer)?;
    slots.verify(&slots.layout().place(slot).image(), image, "the image")?;
    Ok(Chosen { slot, image: image.clone(), trial, instead: false })
}
