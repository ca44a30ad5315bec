//! The highest sequence that ran on this device, kept where replacing files does not reach: a counter in a TPM.

use std::io;

use muster_schemas::firmware::Sequence;

/// A number that only grows. Where there is none, the boot pointer alone remembers, and whoever can write its folder
/// can take a device back.
pub trait FloorCounter {
    /// Where it stands; zero if it never moved.
    ///
    /// # Errors
    /// It cannot be read, and nothing may be installed until it can.
    fn read(&mut self) -> io::Result<Sequence>;

    /// Brings it to at least that; it never goes back.
    ///
    /// # Errors
    /// It stands where it stood.
    fn raise(&mut self, to: Sequence) -> io::Result<()>;
}

/// There is no counter.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCounter;

impl FloorCounter for NoCounter {
    fn read(&mut self) -> io::Result<Sequence> {
        Ok(Sequence(0))
    }

    fn raise(&mut self, _to: Sequence) -> io::Result<()> {
        Ok(())
    }
}
