//! What policies may speak of, as a Cedar schema. Everything else in a policy is an error when it is set, and not when it is
//! asked.

use std::{collections::BTreeSet, fmt::Write as _};

/// What may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Be shown an item, or counted it: in history, aggregates, exports and live.
    View,
    /// Read a data set at all. Each of its items is asked for besides.
    Open,
    /// Be shown fields that are classed as sensitive.
    Reveal,
    /// Change policies, attributes, groups, data sets and grants.
    Administer,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::View, Self::Open, Self::Reveal, Self::Administer];

    /// As policies name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Open => "open",
            Self::Reveal => "reveal",
            Self::Administer => "administer",
        }
    }
}

/// The name of the policy that nobody can leave out: what is a tenant's is for its own, and for whom it is shared with.
pub const WALL: &str = "tenant-wall";
/// The name of the policy that lets those in whom something is shared with.
pub const GRANT: &str = "grant";

/// Policy 0 of every set.
pub(crate) const WALL_TEXT: &str = r#"
forbid (principal, action in [Action::"view", Action::"open"], resource)
unless { principal.tenant == resource.tenant || resource.shared_with.contains(principal.tenant) };
"#;
/// Policy 0 as far as the tenant itself is concerned.
pub(crate) const WALL_OF_TENANT_TEXT: &str = r#"
forbid (principal, action in [Action::"reveal", Action::"administer"], resource)
unless { principal.tenant == resource };
"#;
/// What a grant permits. The tenant's own `forbid` still forbids.
pub(crate) const GRANT_TEXT: &str = r#"
permit (principal, action in [Action::"view", Action::"open"], resource)
when { resource.shared_with.contains(principal.tenant) };
"#;

/// The schema with the attributes that a tenant uses. Each is a set of texts, and empty for whom it was not set.
pub(crate) fn text(attributes: &BTreeSet<String>) -> String {
    let mut own = String::new();
    for name in attributes {
        // Writing to a text does not fail.
        let _ = write!(own, ", {name}: Set<String>");
    }
    format!(
        "entity Tenant;\nentity Group;\nentity Device;\n\
         entity User, App, Service in [Group] = {{ tenant: Tenant, name: String{own} }};\n\
         entity Item in [Device] = {{ tenant: Tenant, shared_with: Set<Tenant>, device: Device, stream: String, \
         captured: datetime, cell: String{own} }};\n\
         entity DataSet = {{ tenant: Tenant, shared_with: Set<Tenant> }};\n\
         action view appliesTo {{ principal: [User, App, Service], resource: [Item], context: {{ now: datetime }} }};\n\
         action open appliesTo {{ principal: [User, App, Service], resource: [DataSet], context: {{ now: datetime }} }};\n\
         action reveal, administer appliesTo {{ principal: [User, App, Service], resource: [Tenant], \
         context: {{ now: datetime }} }};\n"
    )
}
