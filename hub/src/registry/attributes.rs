//! What a tenant says of its devices, apps, users and services: attributes, and groups. Access rules read them; nothing
//! here decides who is let in.

use std::collections::{BTreeMap, BTreeSet};

use actix::{Context, Handler, Message, ResponseFuture};
use muster_items::Attributes;
use muster_policy::{InvalidAttributes, check_attributes, check_name, limits::GROUPS_MAX};
use muster_schemas::{DeviceId, Kind, TenantId};
use serde::{Deserialize, Serialize};

use super::{
    actor::RegistryActor,
    core::{Effect, Registry},
    message::Refusal,
    row::{ClientKind, Row},
    rules::RuleRefusal,
};

/// Of what something may be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Party {
    /// A device, whatever lets it in.
    Device,
    /// An app.
    App,
    /// A user.
    User,
    /// A service.
    Service,
}

impl Party {
    /// As principals name it; none for those of whom nothing is said.
    pub fn of(kind: Kind) -> Option<Self> {
        match kind {
            Kind::Device => Some(Self::Device),
            Kind::App => Some(Self::App),
            Kind::User => Some(Self::User),
            Kind::Service => Some(Self::Service),
            Kind::Relay | Kind::Node | Kind::Software => None,
        }
    }

    /// As principals name it.
    pub fn kind(self) -> Kind {
        match self {
            Self::Device => Kind::Device,
            Self::App => Kind::App,
            Self::User => Kind::User,
            Self::Service => Kind::Service,
        }
    }
}

/// What is said of one of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Described {
    /// Its tenant.
    pub tenant: TenantId,
    /// What it is.
    pub party: Party,
    /// Its id.
    pub id: DeviceId,
    /// Names with their texts.
    pub attributes: BTreeMap<String, BTreeSet<String>>,
    /// The groups that it is in.
    #[serde(default)]
    pub groups: BTreeSet<String>,
}

impl Described {
    /// Where its row is kept.
    pub fn key(&self) -> Vec<u8> {
        format!("attributes/{}/{}/{}", self.tenant, self.party.kind(), self.id).into_bytes()
    }

    /// As rules see them.
    pub fn attributes(&self) -> Attributes {
        Attributes(self.attributes.clone())
    }
}

/// Says something of a device, an app, a user or a service. What is not named stays.
#[derive(Debug, Clone)]
pub struct Describe {
    /// Its tenant.
    pub tenant: TenantId,
    /// What it is.
    pub party: Party,
    /// Its id.
    pub id: DeviceId,
    /// Names with their texts; a name without any is taken away.
    pub attributes: BTreeMap<String, BTreeSet<String>>,
    /// The groups that it is in from now on.
    pub groups: Option<BTreeSet<String>>,
}

impl Message for Describe {
    type Result = Result<Described, Refusal>;
}

impl Registry {
    /// Says something of somebody.
    ///
    /// # Errors
    /// There is nobody of that name, or it cannot be said of it.
    pub fn describe(&mut self, command: Describe, effects: &mut Vec<Effect>) -> Result<Described, Refusal> {
        let Describe { tenant, party, id, attributes, groups } = command;
        self.active_tenant(&tenant)?;
        match ClientKind::of(party.kind()) {
            Some(kind) if self.client(&tenant, kind, &id).is_none() => {
                return Err(Refusal::ClientUnknown { kind: kind.kind(), id, tenant });
            }
            None if !self.legacy.contains_key(&(tenant.clone(), id.clone())) => {
                self.device(&tenant, &id).map(drop)?;
            }
            _ => {}
        }
        let before = self.rules.described(&tenant, party, &id).cloned();
        let mut row = before.unwrap_or_else(|| {
            let (attributes, groups) = Default::default();
            Described { tenant, party, id, attributes, groups }
        });
        row.attributes.extend(attributes);
        row.attributes.retain(|_, texts| !texts.is_empty());
        check_attributes(&row.attributes()).map_err(RuleRefusal::from)?;
        if let Some(groups) = groups {
            if groups.len() > GROUPS_MAX || party == Party::Device && !groups.is_empty() {
                return Err(RuleRefusal::from(InvalidAttributes::Many).into());
            }
            groups.iter().try_for_each(|group| check_name(group)).map_err(RuleRefusal::from)?;
            row.groups = groups;
        }
        self.put(Row::Described(row.clone()), effects);
        Ok(row)
    }

    /// Forgets what was said of somebody who is no more: whoever has that name later is somebody else.
    pub(super) fn forget_description(
        &mut self,
        tenant: &TenantId,
        party: Party,
        id: &DeviceId,
        effects: &mut Vec<Effect>,
    ) {
        let gone = self.rules.undescribe(tenant, party, id);
        effects.extend(gone.map(|row| Effect::Delete(row.key())));
    }
}

impl Handler<Describe> for RegistryActor {
    type Result = ResponseFuture<Result<Described, Refusal>>;

    fn handle(&mut self, command: Describe, ctx: &mut Context<Self>) -> Self::Result {
        let (tenant, party, id) = (command.tenant.clone(), command.party, command.id.clone());
        let answer = self.change(ctx, |refusal| refusal, |core, _, effects| core.describe(command, effects));
        match party {
            Party::Device => self.tell_device(&tenant, &id),
            _ => self.tell_rules(&tenant),
        }
        answer
    }
}
