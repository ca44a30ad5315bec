//! What a peer must be, as a value: every end says what it expects, and one function compares.

use muster_schemas::{Kind, Principal, TenantId};

use crate::{Leaf, Role, Tenants};

/// What an end expects of its peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expect {
    /// The authorities that may have signed it.
    pub roles: &'static [Role],
    /// What it may be.
    pub kinds: &'static [Kind],
    /// The tenant that a hub must be entitled to serve.
    pub tenant: Option<TenantId>,
}

/// Why a peer with a certificate of ours is not the one that was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Another authority signed it.
    #[error("was signed by the {0} authority, which is not the one for this end")]
    Role(Role),
    /// It speaks for something that has no business here.
    #[error("speaks for {0}, and this end takes no {kind}", kind = .0.kind)]
    Kind(Principal),
    /// It is no hub of the operator's.
    #[error("speaks for {0}, which is not the operator's")]
    NotTheOperators(Principal),
    /// It is a hub without the capability for any tenant.
    #[error(
        "does not say which tenants its hub may serve; start the hub once with this version, it issues another"
    )]
    NoTenants,
    /// It is a hub of other tenants.
    #[error("is of a hub that may serve {theirs}, not {ours}")]
    Tenant {
        /// Who expected it.
        ours: TenantId,
        /// Whom it may serve.
        theirs: Tenants,
    },
}

impl Expect {
    /// At the MQTT doors, with and without WebSocket.
    pub const MQTT: Self = Self {
        roles: &[Role::Device, Role::Client],
        kinds: &[Kind::Device, Kind::App, Kind::Service],
        tenant: None,
    };
    /// At the door for enrolment, when a certificate is shown: that of a device that renews.
    pub const ENROLMENT: Self = Self { roles: &[Role::Device], kinds: &[Kind::Device], tenant: None };
    /// At the HTTPS port. Devices come there to renew by EST and for nothing else: the API refuses them.
    pub const API: Self = Self {
        roles: &[Role::Device, Role::Client],
        kinds: &[Kind::Device, Kind::App, Kind::User, Kind::Service],
        tenant: None,
    };
    /// What signs the trust object.
    pub const TRUST_SIGNER: Self = Self { roles: &[Role::Software], kinds: &[Kind::Software], tenant: None };

    /// At a device: its hub. Before its first enrolment a device has no tenant.
    pub fn hub(tenant: Option<TenantId>) -> Self {
        Self { roles: &[Role::Server], kinds: &[Kind::Node], tenant }
    }

    /// Compares with a certificate whose chain was verified. `serves` is the capability of a hub's.
    pub fn check(&self, leaf: &Leaf, serves: Option<&Tenants>) -> Result<(), Refused> {
        if !self.roles.contains(&leaf.authority) {
            return Err(Refused::Role(leaf.authority));
        }
        if !self.kinds.contains(&leaf.principal.kind) {
            return Err(Refused::Kind(leaf.principal.clone()));
        }
        if leaf.principal.kind == Kind::Node && leaf.principal.tenant != Principal::operator_tenant() {
            return Err(Refused::NotTheOperators(leaf.principal.clone()));
        }
        match (&self.tenant, serves) {
            (None, _) => Ok(()),
            (Some(_), None) => Err(Refused::NoTenants),
            (Some(tenant), Some(serves)) if serves.cover(tenant) => Ok(()),
            (Some(tenant), Some(serves)) => {
                Err(Refused::Tenant { ours: tenant.clone(), theirs: serves.clone() })
            }
        }
    }
}
