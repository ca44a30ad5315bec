//! The authorities below the root, and what each may sign.

use std::{fmt, str::FromStr};

use muster_schemas::Kind;

/// What an authority is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Signs the other authorities, and nothing else.
    Root,
    /// Signs hubs.
    Server,
    /// Signs devices that proved their TPM.
    Device,
    /// Signs gateways that forward for devices behind them.
    Relay,
    /// Signs apps, users and services.
    Client,
    /// Signs who may sign software, and who signs the trust object.
    Software,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 6] =
        [Self::Root, Self::Server, Self::Device, Self::Relay, Self::Client, Self::Software];

    /// The authorities below the root.
    pub const INTERMEDIATES: [Self; 5] =
        [Self::Server, Self::Device, Self::Relay, Self::Client, Self::Software];

    /// The authorities that an installation made by the first version lacks; a hub works without them.
    pub const LATER: [Self; 2] = [Self::Relay, Self::Software];

    /// The name, as in file names and certificates.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Server => "server",
            Self::Device => "device",
            Self::Relay => "relay",
            Self::Client => "client",
            Self::Software => "software",
        }
    }

    /// The authority that signs principals of that kind. There is exactly one.
    pub fn of(kind: Kind) -> Self {
        match kind {
            Kind::Device => Self::Device,
            Kind::Relay => Self::Relay,
            Kind::App | Kind::User | Kind::Service => Self::Client,
            Kind::Node => Self::Server,
            Kind::Software => Self::Software,
        }
    }

    /// Whether this authority may sign principals of that kind.
    pub fn issues(self, kind: Kind) -> bool {
        Self::of(kind) == self
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or("it is none of root, server, device, relay, client, software")
    }
}
