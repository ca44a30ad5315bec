//! A fleet of devices with a simulated TPM each, and without a process each: they enrol, connect and are held, so that
//! what becomes of hundreds of them can be looked at within a minute.

mod member;
mod office;

pub use member::{Member, MemberError, Session, SessionEnd};
pub use office::{Office, OfficeError};
