//! A tenant's policies: parsed, validated, and taken apart by what they speak of, so that a question is put to those only
//! that may have something to say.

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr as _,
};

use cedar_policy::{
    ActionConstraint, Effect, EntityTypeName, EntityUid, Policy, PolicyId, PolicySet, PrincipalConstraint,
    Schema, ValidationMode, Validator,
};
use miette::Diagnostic;
use muster_schemas::TenantId;
use serde_json::Value;

use crate::{
    est::{attribute, conditions, walk},
    fault::Fault,
    limits::{
        FAULTS_TOLD_MAX, POLICIES_MAX, POLICY_NESTING_MAX, POLICY_OPERATORS_MAX, POLICY_TEXT_BYTES_MAX,
    },
    names::{check_name, is_attribute_name},
    reader::Reader,
    schema::{self, Action, GRANT, GRANT_TEXT, WALL, WALL_OF_TENANT_TEXT, WALL_TEXT},
};

/// The policies of one tenant.
#[derive(Debug, Clone)]
pub struct Policies {
    entries: Vec<Entry>,
    attributes: BTreeSet<String>,
}

/// One policy.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) policy: Policy,
    /// The same as JSON, to be looked at.
    pub(crate) json: Value,
    pub(crate) actions: BTreeSet<Action>,
}

impl Entry {
    fn new(name: String, policy: &Policy) -> Option<Self> {
        let actions = match policy.action_constraint() {
            ActionConstraint::Any => Action::ALL.into(),
            ActionConstraint::In(all) => all.iter().filter_map(action).collect(),
            ActionConstraint::Eq(one) => action(&one).into_iter().collect(),
        };
        let policy = policy.new_id(PolicyId::new(&name));
        let json = policy.to_json().ok()?;
        Some(Self { name, policy, json, actions })
    }

    /// A policy of our own.
    fn fixed(name: &str, text: &str) -> Option<Self> {
        Self::new(name.to_owned(), &Policy::parse(None, text).ok()?)
    }

    pub(crate) fn permits(&self) -> bool {
        self.policy.effect() == Effect::Permit
    }

    /// Whether it speaks of this action.
    pub(crate) fn is_for(&self, action: Action) -> bool {
        self.actions.contains(&action)
    }

    /// Whether it may have something to say to this reader.
    pub(crate) fn concerns(&self, reader: &Reader, home: &TenantId) -> bool {
        // Nothing is shared with a member.
        if self.name == GRANT && reader.tenant == *home {
            return false;
        }
        let is = |wanted: &EntityTypeName| reader.entity_type() == Some(wanted.basename());
        let within = |wanted: &EntityUid| {
            let id: &str = wanted.id().as_ref();
            match wanted.type_name().basename() {
                // The groups of another tenant are not those of this one.
                "Group" => reader.tenant == *home && reader.groups.contains(id),
                _ => is(wanted.type_name()) && reader.entity_id(home) == id,
            }
        };
        match self.policy.principal_constraint() {
            PrincipalConstraint::Any => true,
            PrincipalConstraint::In(wanted) | PrincipalConstraint::Eq(wanted) => within(&wanted),
            PrincipalConstraint::Is(kind) => is(&kind),
            PrincipalConstraint::IsIn(kind, wanted) => is(&kind) && within(&wanted),
        }
    }
}

fn action(uid: &EntityUid) -> Option<Action> {
    let id: &str = uid.id().as_ref();
    Action::ALL.into_iter().find(|action| action.as_str() == id)
}

impl Policies {
    /// Parses and validates a text of policies.
    ///
    /// # Errors
    /// Everything that is wrong with it, in order, as far as [`FAULTS_TOLD_MAX`].
    pub fn parse(text: &str) -> Result<Self, Vec<Fault>> {
        check_shape(text).map_err(|fault| vec![fault])?;
        let set = PolicySet::from_str(text).map_err(|errors| {
            let told = errors.iter().map(|error| {
                let what = format!("cannot be read: {error}");
                with_help(error, Fault::whole(what, "write it as docs/rules.md shows"))
                    .at(text, offset(error))
            });
            told.take(FAULTS_TOLD_MAX).collect::<Vec<_>>()
        })?;
        if set.templates().next().is_some() {
            let what = "a policy has a slot (`?principal` or `?resource`)";
            return Err(vec![Fault::whole(what, "write who and what it is for")]);
        }
        // They are numbered in the order of the text.
        let numbered: BTreeMap<usize, &Policy> = set
            .policies()
            .filter_map(|policy| {
                Some((AsRef::<str>::as_ref(policy.id()).strip_prefix("policy")?.parse().ok()?, policy))
            })
            .collect();
        if numbered.len() > POLICIES_MAX {
            let what = format!("there are {} policies, more than {POLICIES_MAX}", numbered.len());
            return Err(vec![Fault::whole(
                what,
                "let one policy speak of a group instead of one for each principal",
            )]);
        }
        let entries = named(&numbered)?;
        let attributes = entries.iter().flat_map(|entry| attributes_of(&entry.json)).collect();
        let policies = Self { entries, attributes };
        policies.validate(text)?;
        let fixed = [(WALL, WALL_TEXT), (WALL_OF_TENANT, WALL_OF_TENANT_TEXT), (GRANT, GRANT_TEXT)];
        let fixed: Option<Vec<Entry>> = fixed.iter().map(|(name, text)| Entry::fixed(name, text)).collect();
        let fixed =
            fixed.ok_or_else(|| vec![Fault::whole("the tenant's wall does not parse", "report this")])?;
        Ok(Self { entries: fixed.into_iter().chain(policies.entries).collect(), ..policies })
    }

    /// No policies: nobody may do anything.
    pub fn none() -> Self {
        Self { entries: Vec::new(), attributes: BTreeSet::new() }
    }

    /// The attributes that they speak of: of who asks, and of what is asked for.
    pub fn attributes(&self) -> &BTreeSet<String> {
        &self.attributes
    }

    /// How many there are, without those that are in every set.
    pub fn len(&self) -> usize {
        self.own().count()
    }

    /// Whether there are none, so that nobody may do anything.
    pub fn is_empty(&self) -> bool {
        self.own().next().is_none()
    }

    /// Their names, in the order of the text.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.own().map(|entry| entry.name.as_str())
    }

    pub(crate) fn own(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| !is_fixed(&entry.name))
    }

    /// Those that may have something to say to this reader about this action.
    pub(crate) fn concerning(
        &self,
        reader: &Reader,
        home: &TenantId,
        action: Action,
    ) -> impl Iterator<Item = &Entry> {
        let asked = move |entry: &&Entry| entry.is_for(action) && entry.concerns(reader, home);
        self.entries.iter().filter(asked)
    }

    /// All for an action: what the selection above must never differ from.
    #[cfg(test)]
    pub(crate) fn all(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    fn validate(&self, text: &str) -> Result<(), Vec<Fault>> {
        let schema = schema::text(&self.attributes);
        let parsed = Schema::from_cedarschema_str(&schema);
        let (schema, _) =
            parsed.map_err(|error| vec![Fault::whole(format!("the schema: {error}"), "report this")])?;
        let set = PolicySet::from_policies(self.entries.iter().map(|entry| entry.policy.clone()));
        let set = set.map_err(|error| vec![Fault::whole(error.to_string(), "report this")])?;
        let result = Validator::new(schema).validate(&set, ValidationMode::Strict);
        let mut faults: Vec<Fault> = result
            .validation_errors()
            .map(|error| {
                let name: &str = error.policy_id().as_ref();
                let policy = Some(name.to_owned());
                let what = error.to_string();
                let what = what.strip_prefix(&format!("for policy `{name}`, ")).unwrap_or(&what).to_owned();
                let fault = Fault { policy, ..Fault::whole(what, NEXT) };
                with_help(error, fault).at(text, offset(error))
            })
            .collect();
        faults.sort_by_key(|fault| (fault.line, fault.column));
        faults.dedup();
        faults.truncate(FAULTS_TOLD_MAX);
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }
}

/// The part of the wall that speaks of the tenant itself.
const WALL_OF_TENANT: &str = "tenant-wall-itself";
/// What to do about a policy that does not fit.
const NEXT: &str =
    "name the action in the policy (`action == Action::\"view\"`), and only what docs/rules.md lists for it";

fn is_fixed(name: &str) -> bool {
    [WALL, WALL_OF_TENANT, GRANT].contains(&name)
}

fn offset(error: &dyn Diagnostic) -> Option<usize> {
    Some(error.labels()?.next()?.offset())
}

fn with_help(error: &dyn Diagnostic, fault: Fault) -> Fault {
    match error.help() {
        Some(help) => Fault { next: help.to_string(), ..fault },
        None => fault,
    }
}

fn named(numbered: &BTreeMap<usize, &Policy>) -> Result<Vec<Entry>, Vec<Fault>> {
    let (mut entries, mut faults, mut taken) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (number, policy) in numbered {
        let name = policy.annotation("id").map_or_else(|| format!("policy-{}", number + 1), str::to_owned);
        let fault = |what: &str, next| Fault { policy: Some(name.clone()), ..Fault::whole(what, next) };
        if check_name(&name).is_err() || is_fixed(&name) {
            faults.push(fault(
                "cannot have that name",
                "let @id hold a-z, 0-9, '-' and '_', at most 64 of them",
            ));
        } else if !taken.insert(name.clone()) {
            faults.push(fault("is there twice", "give each policy an @id of its own"));
        }
        entries.extend(Entry::new(name, policy));
    }
    if faults.is_empty() { Ok(entries) } else { Err(faults) }
}

/// The names that are read of who asks and of what is asked for, and that a tenant may have given.
fn attributes_of(policy: &Value) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for body in conditions(policy) {
        walk(body, &mut |expression| {
            if let Some(("principal" | "resource", name)) = attribute(expression)
                && is_attribute_name(name)
            {
                names.insert(name.to_owned());
            }
            true
        });
    }
    names
}

/// Whether a text is so small and so flat that what parses it does not run out of room.
fn check_shape(text: &str) -> Result<(), Fault> {
    if text.len() > POLICY_TEXT_BYTES_MAX {
        let what = format!("the text has {} bytes, more than {POLICY_TEXT_BYTES_MAX}", text.len());
        return Err(Fault::whole(what, "shorten it"));
    }
    let (mut nesting, mut operators) = (0_usize, 0_usize);
    for (offset, c) in text.char_indices() {
        match c {
            '(' | '[' | '{' => nesting += 1,
            ')' | ']' | '}' => nesting = nesting.saturating_sub(1),
            '&' | '|' | '+' | '-' | '*' | '!' | '.' => operators += 1,
            ';' => (nesting, operators) = (0, 0),
            _ => {}
        }
        if nesting > POLICY_NESTING_MAX || operators > 4 * POLICY_OPERATORS_MAX {
            let what = "a policy nests too deep or is too long";
            return Err(
                Fault::whole(what, "cut it into several; each that permits is enough").at(text, Some(offset))
            );
        }
    }
    Ok(())
}
