//! Keeps the keys of a running hub in its memory: not in a file of a crash, not in another process, and not in swap where
//! the system lets us say so.

use rustix::{
    mm::{MlockAllFlags, mlockall},
    process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit},
};

/// Switches core dumps off, and with them that another process of the same user reads our memory. Where nothing bounds the
/// memory that a process may lock (`LimitMEMLOCK=infinity`), locks all that is ever touched.
pub(crate) fn keep() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let outcome =
        setrlimit(Resource::Core, none).and_then(|()| set_dumpable_behavior(DumpableBehavior::NotDumpable));
    if let Err(error) = outcome {
        tracing::warn!(%error, "core dumps could not be switched off: one would hold the keys in use");
    }
    if getrlimit(Resource::Memlock).current.is_some() {
        // With a bound, what is touched beyond it could not be had at all.
        tracing::debug!(
            "memory is not locked: set LimitMEMLOCK=infinity, or use no swap, or an encrypted one"
        );
        return;
    }
    if let Err(error) = mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT) {
        tracing::warn!(%error, "memory could not be locked: use no swap, or an encrypted one");
    }
}
