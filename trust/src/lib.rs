//! What a peer must be, decided in one place for every end: the authorities and what each may sign, the profile of each
//! kind of certificate, the verifier that hubs, devices and commands put into their TLS, and the trust object that tells
//! of revoked hubs. Not for deciding who deserves a certificate, and without a clock: the time comes with each call.
//!
//! ```text
//!   Expect { roles, kinds, tenant }
//!      |                    |
//!   ClientVerifier      HubVerifier         chain to the authority that the role demands, profile, tenant
//!   at a hub's doors    at a device            + the trust object, when there is one
//! ```

mod bundle;
mod client_verifier;
mod expect;
mod hub_verifier;
mod leaf;
pub mod limits;
mod profile;
mod role;
mod tenants;

pub use bundle::{AuthorityCertificate, NotThePeer, TrustBundle, authority_of, is_signed_by, read_authority};
pub use client_verifier::ClientVerifier;
pub use expect::{Expect, Refused};
pub use hub_verifier::{HubTrust, HubVerifier, NotAHub, entitled};
pub use leaf::{InvalidLeaf, Leaf, Serial, own_principal};
pub use profile::{ARC, Profile, TENANTS_OID, TRUST_SIGNING_OID, kind_oid};
pub use role::Role;
pub use tenants::{InvalidTenants, Tenants};
