//! Who asks, as the rules see it.

use std::{collections::BTreeSet, sync::Arc};

use muster_items::Attributes;
use muster_schemas::{DeviceId, Kind, TenantId};

/// A principal with what its tenant says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reader {
    /// Its own tenant, which need not be the one whose data it asks for.
    pub tenant: TenantId,
    /// User, app or service.
    pub kind: Kind,
    /// Its id within its tenant and kind.
    pub id: DeviceId,
    /// What its tenant says of it.
    pub attributes: Arc<Attributes>,
    /// The groups that its tenant has put it in.
    pub groups: Arc<BTreeSet<String>>,
}

impl Reader {
    /// As policies name its kind; none for kinds that no rule speaks of, which are shown nothing.
    pub(crate) fn entity_type(&self) -> Option<&'static str> {
        match self.kind {
            Kind::User => Some("User"),
            Kind::App => Some("App"),
            Kind::Service => Some("Service"),
            Kind::Device | Kind::Relay | Kind::Node | Kind::Software => None,
        }
    }

    /// How it is named where its kind and tenant are known: a guest by its tenant too, so that none is named as a member.
    pub(crate) fn entity_id(&self, home: &TenantId) -> String {
        if self.tenant == *home { self.id.to_string() } else { format!("{}/{}", self.tenant, self.id) }
    }
}
