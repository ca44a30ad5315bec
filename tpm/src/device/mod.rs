//! The device's side of a real TPM (or of a simulated one in its own process), over tpm2-tss. The hub never links it.
//!
//! tpm2-tss writes to standard error about every expected failure, such as probing an empty handle. A program silences it
//! with `TSS2_LOG=all+NONE` in its **environment before it starts**: setting a variable from inside is unsafe once
//! threads run, so the launcher (systemd unit, shell, parent process) does it. Filter `tss_esapi=off` in the log as well.

mod bound;
mod chip;
mod loaded;
pub mod manufacture;
mod nv;
pub mod signer;
pub mod swtpm;
pub mod thread;

pub use bound::FirmwareBinding;
pub use chip::Chip;
pub use signer::TlsKey;
pub use thread::TpmThread;
