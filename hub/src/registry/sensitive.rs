//! What a tenant says of its sensitive fields: which of the built-in classes it does without, and its own patterns. Kept
//! for whoever seals, in a snapshot that needs no actor.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use actix::{Context, Handler, Message, ResponseFuture};
use muster_items::sensitive::{Class, InvalidPattern, Pattern, Rules, Says};
use muster_schemas::TenantId;
use serde::{Deserialize, Serialize};

use super::{
    actor::RegistryActor,
    core::{Effect, Registry},
    limits::SENSITIVE_PATTERNS_MAX,
    message::{Bound, Refusal},
    row::Row,
};

/// What a tenant says of its sensitive fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SensitiveFields {
    /// Whose they are.
    pub tenant: TenantId,
    /// Classes whose built-in rules are off.
    #[serde(default)]
    pub off: Vec<String>,
    /// Its own patterns, in its order.
    #[serde(default)]
    pub patterns: Vec<FieldPattern>,
}

/// One of a tenant's patterns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldPattern {
    /// `stream/name`, with `*` and `?`.
    pub fields: String,
    /// The class that they are of; none if they are not sensitive.
    pub class: Option<String>,
}

/// Why these are no rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSensitive {
    /// Not a class.
    #[error("find the class {0:?}: there are location, id, credential and person")]
    Class(String),
    /// Not a pattern.
    #[error(transparent)]
    Pattern(#[from] InvalidPattern),
    /// More patterns than there may be.
    #[error("keep {0} patterns: {SENSITIVE_PATTERNS_MAX} are allowed")]
    Many(usize),
}

impl SensitiveFields {
    /// None of its own: the built-in rules.
    pub fn none(tenant: TenantId) -> Self {
        Self { tenant, off: Vec::new(), patterns: Vec::new() }
    }

    /// Where its row is kept.
    pub fn row_key(&self) -> Vec<u8> {
        format!("sensitive/{}", self.tenant).into_bytes()
    }

    /// As rules that can be asked.
    ///
    /// # Errors
    /// A class or a pattern is none, or there are too many.
    pub fn rules(&self) -> Result<Rules, InvalidSensitive> {
        let class = |word: &String| Class::parse(word).ok_or_else(|| InvalidSensitive::Class(word.clone()));
        if self.patterns.len() > SENSITIVE_PATTERNS_MAX {
            return Err(InvalidSensitive::Many(self.patterns.len()));
        }
        let off = self.off.iter().map(class).collect::<Result<_, _>>()?;
        let patterns = self.patterns.iter().map(|FieldPattern { fields, class: named }| {
            let says = named.as_ref().map(class).transpose()?.map_or(Says::Exempt, Says::Add);
            Ok(Pattern::parse(fields, says)?)
        });
        Ok(Rules::new(patterns.collect::<Result<_, InvalidSensitive>>()?).without(off))
    }
}

/// The rules of all tenants, for whoever seals. Cheap to clone; the registry writes it.
#[derive(Debug, Clone, Default)]
pub struct SensitiveBoard(Arc<RwLock<BTreeMap<TenantId, Arc<Rules>>>>);

impl SensitiveBoard {
    /// The rules of a tenant: the built-in ones if it has none of its own.
    pub fn rules(&self, tenant: &TenantId) -> Arc<Rules> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(tenant).cloned().unwrap_or_default()
    }

    /// All of them anew.
    pub(super) fn replace(&self, all: &BTreeMap<TenantId, SensitiveFields>) {
        let all = all.iter().filter_map(|(tenant, fields)| match fields.rules() {
            Ok(rules) => Some((tenant.clone(), Arc::new(rules))),
            Err(error) => {
                // The built-in rules seal more than any others.
                tracing::error!(%tenant, %error, "a tenant's rules for sensitive fields are not used");
                None
            }
        });
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = all.collect();
    }
}

/// Replaces a tenant's rules.
#[derive(Debug, Clone)]
pub struct SetSensitive(pub SensitiveFields);

impl Message for SetSensitive {
    type Result = Result<SensitiveFields, Refusal>;
}

/// Asks for a tenant's rules.
#[derive(Debug, Clone)]
pub struct ShowSensitive(pub TenantId);

impl Message for ShowSensitive {
    type Result = Result<SensitiveFields, Refusal>;
}

impl Registry {
    /// Replaces a tenant's rules.
    ///
    /// # Errors
    /// The tenant is unknown or suspended, or there are too many of them.
    pub fn set_sensitive(
        &mut self,
        fields: SensitiveFields,
        effects: &mut Vec<Effect>,
    ) -> Result<SensitiveFields, Refusal> {
        self.active_tenant(&fields.tenant)?;
        if fields.patterns.len() > SENSITIVE_PATTERNS_MAX || fields.off.len() > Class::ALL.len() {
            return Err(Refusal::Full(Bound::SensitivePatterns));
        }
        self.put(Row::Sensitive(fields.clone()), effects);
        Ok(fields)
    }

    /// A tenant's rules.
    ///
    /// # Errors
    /// The tenant is unknown.
    pub fn sensitive(&self, tenant: &TenantId) -> Result<SensitiveFields, Refusal> {
        self.tenant(tenant).ok_or_else(|| Refusal::TenantUnknown(tenant.clone()))?;
        let found = self.sensitive.get(tenant).cloned();
        Ok(found.unwrap_or_else(|| SensitiveFields::none(tenant.clone())))
    }
}

impl Handler<SetSensitive> for RegistryActor {
    type Result = ResponseFuture<Result<SensitiveFields, Refusal>>;

    fn handle(&mut self, SetSensitive(fields): SetSensitive, ctx: &mut Context<Self>) -> Self::Result {
        let set = self.change(ctx, |refusal| refusal, |core, _, effects| core.set_sensitive(fields, effects));
        // Before it is durable: it is sealed rather too much for a moment than too little.
        self.tell_sensitive();
        set
    }
}

impl Handler<ShowSensitive> for RegistryActor {
    type Result = Result<SensitiveFields, Refusal>;

    fn handle(&mut self, ShowSensitive(tenant): ShowSensitive, _: &mut Context<Self>) -> Self::Result {
        self.core().sensitive(&tenant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::message::CreateTenant;

    fn fields(off: &[&str], patterns: &[(&str, Option<&str>)]) -> SensitiveFields {
        SensitiveFields {
            tenant: "acme".parse().expect("id"),
            off: off.iter().map(|word| (*word).to_owned()).collect(),
            patterns: patterns
                .iter()
                .map(|(fields, class)| FieldPattern {
                    fields: (*fields).to_owned(),
                    class: class.map(str::to_owned),
                })
                .collect(),
        }
    }

    #[test]
    fn a_tenants_rules_are_kept_told_and_stand_above_the_built_in_ones() {
        let (mut registry, mut effects) = (Registry::default(), Vec::new());
        let create = CreateTenant { tenant: "acme".parse().expect("id"), accept_simulated_tpms: false };
        registry.create_tenant(0, create, &mut effects).expect("created");
        let mine = fields(&["person"], &[("climate/*", Some("location")), ("gps/alt", None)]);
        registry.set_sensitive(mine.clone(), &mut effects).expect("set");
        let row = Row::Sensitive(mine.clone());
        assert_eq!(Row::decode(&row.encode().expect("encodes")).expect("decodes"), row);
        assert_eq!(registry.sensitive(&mine.tenant).expect("known"), mine);
        let board = SensitiveBoard::default();
        let acme = |name: &str| board.rules(&mine.tenant).class_of("climate", name, None, None);
        assert_eq!(acme("temp"), None);
        board.replace(&registry.sensitive);
        assert_eq!(acme("temp"), Some(Class::Location));
        let rules = board.rules(&mine.tenant);
        assert_eq!(rules.class_of("gps", "lat", None, None), Some(Class::Location), "built in");
        assert_eq!(rules.class_of("crew", "person", None, Some("ann@example.org")), None, "off");
        assert_eq!(board.rules(&"other".parse().expect("id")).class_of("climate", "temp", None, None), None);
    }

    #[test]
    fn what_is_no_rule_is_named() {
        assert!(matches!(fields(&["places"], &[]).rules(), Err(InvalidSensitive::Class(_))));
        assert!(matches!(fields(&[], &[("climate", None)]).rules(), Err(InvalidSensitive::Pattern(_))));
        assert!(matches!(fields(&[], &[("a/b", Some("x"))]).rules(), Err(InvalidSensitive::Class(_))));
        let many = vec![("a/b", None); SENSITIVE_PATTERNS_MAX + 1];
        assert!(matches!(fields(&[], &many).rules(), Err(InvalidSensitive::Many(_))));
        let mut registry = Registry::default();
        assert!(registry.set_sensitive(fields(&[], &[]), &mut Vec::new()).is_err());
    }
}
