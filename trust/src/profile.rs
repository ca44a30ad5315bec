//! What each kind of certificate may be used for, as one table, and the object identifiers that are ours.
//!
//! Standard usages do not tell our kinds apart: devices, apps and services are all TLS clients. So each kind also has a
//! usage of its own, below an arc of ours, and a certificate whose usage contradicts its name is nobody's.

use muster_schemas::Kind;

/// Our arc. `2.25` is for anyone who draws a UUID (ITU-T X.667), so nothing needs to be registered. The upper half of
/// this UUID is zero, because the libraries that write and read certificates hold an arc in 64 bits:
/// `00000000-0000-0000-a3f1-6c529d0e4b87`.
pub const ARC: [u64; 3] = [2, 25, 0xa3f1_6c52_9d0e_4b87];

/// The extension of a server certificate that names the tenants that its hub may serve.
pub const TENANTS_OID: [u64; 5] = [ARC[0], ARC[1], ARC[2], 2, 1];
/// The extended key usage of who signs the trust object.
pub const TRUST_SIGNING_OID: [u64; 5] = [ARC[0], ARC[1], ARC[2], 1, 100];

/// The extended key usage of a kind: `<arc>.1.<number>`.
pub const fn kind_oid(kind: Kind) -> [u64; 5] {
    let number = match kind {
        Kind::Device => 1,
        Kind::Relay => 2,
        Kind::App => 3,
        Kind::User => 4,
        Kind::Service => 5,
        Kind::Node => 6,
        Kind::Software => 7,
    };
    [ARC[0], ARC[1], ARC[2], 1, number]
}

/// Whether the encoded content of an object identifier (X.690 §8.19) is this one of ours.
pub(crate) fn is_oid(encoded: &[u8], oid: &[u64]) -> bool {
    let mut expected = Vec::new();
    let [first, second, rest @ ..] = oid else { return false };
    for arc in std::iter::once(first * 40 + second).chain(rest.iter().copied()) {
        // Seven bits in each byte, the highest first; all but the last have the eighth set.
        let groups = (u64::BITS - (arc | 1).leading_zeros()).div_ceil(7);
        for group in (0..groups).rev() {
            let bits = u8::try_from((arc >> (group * 7)) & 0x7f).unwrap_or_default();
            expected.push(if group == 0 { bits } else { bits | 0x80 });
        }
    }
    encoded == expected
}

/// The standard usages of a kind, beside its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// Opens TLS connections.
    pub client_auth: bool,
    /// Answers TLS connections.
    pub server_auth: bool,
    /// Signs software.
    pub code_signing: bool,
    /// Certificates of the first version lack the kind's own usage. The kinds that came later never do.
    pub kind_usage_required: bool,
}

impl Profile {
    /// The table.
    pub const fn of(kind: Kind) -> Self {
        const NONE: Profile = Profile {
            client_auth: false,
            server_auth: false,
            code_signing: false,
            kind_usage_required: false,
        };
        match kind {
            Kind::Device | Kind::App | Kind::User => Self { client_auth: true, ..NONE },
            // Short-lived, and new: without its own usage it is none.
            Kind::Service => Self { client_auth: true, kind_usage_required: true, ..NONE },
            // A client of its hub, and the server of the devices behind it.
            Kind::Relay => Self { client_auth: true, server_auth: true, kind_usage_required: true, ..NONE },
            Kind::Node => Self { server_auth: true, ..NONE },
            Kind::Software => Self { code_signing: true, kind_usage_required: true, ..NONE },
        }
    }
}
