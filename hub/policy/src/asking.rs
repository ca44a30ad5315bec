//! One reader's question to one tenant's policies at one instant: whom and what is asked, ready to be decided item by item.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::LazyLock,
};

use cedar_policy::{
    AuthorizationError, Authorizer, Context, Decision as Verdict, Entities, Entity, EntityId, EntityTypeName,
    EntityUid, PolicySet, Request, Response, RestrictedExpression,
};
use muster_items::{Attributes, ItemInfo};
use muster_schemas::TenantId;

use crate::{
    policies::{Entry, Policies},
    reader::Reader,
    schema::Action,
    sight::Sight,
};

/// Last instant that a rule can name, in milliseconds since 1970: the end of the year 9999.
const INSTANT_MS_MAX: i64 = 253_402_300_799_999;
/// First instant that a rule can name: the beginning of the year 1.
const INSTANT_MS_MIN: i64 = -62_135_596_800_000;

/// What was decided, and by which policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether it may be.
    pub allowed: bool,
    /// The policies that decided; none if it is because no policy permits it.
    pub by: BTreeSet<String>,
    /// Policies that could not be evaluated. There are none in a validated set but for numbers that overflow; one is
    /// enough to deny.
    pub failed: BTreeSet<String>,
}

/// What is named where no policy permits something.
pub const NO_POLICY: &str = "no-policy-permits";

impl Decision {
    /// The policy that decided, or what stands in its place. Of several, the first by name.
    pub fn rule(&self) -> String {
        let first = self.failed.first().or_else(|| self.by.first());
        first.map_or_else(|| NO_POLICY.to_owned(), Clone::clone)
    }

    /// Nothing was permitted.
    pub(crate) fn denied() -> Self {
        Self { allowed: false, by: BTreeSet::new(), failed: BTreeSet::new() }
    }
}

impl From<Response> for Decision {
    fn from(response: Response) -> Self {
        let named = |id: &cedar_policy::PolicyId| AsRef::<str>::as_ref(id).to_owned();
        let failed: BTreeSet<String> = response.diagnostics().errors().map(failed_policy).collect();
        Self {
            allowed: response.decision() == Verdict::Allow && failed.is_empty(),
            by: response.diagnostics().reason().map(named).collect(),
            failed,
        }
    }
}

/// A question, but for the item.
pub(crate) struct Asking {
    authorizer: Authorizer,
    set: PolicySet,
    home: EntityUid,
    principal: EntityUid,
    action: EntityUid,
    context: Context,
    reader: Entity,
    shared_with: RestrictedExpression,
    attributes: BTreeSet<String>,
    /// What the policies look at; all, if it is none.
    sight: Option<Sight>,
}

impl Asking {
    /// A question to those policies that concern the reader; none for whom no rule can speak of.
    pub(crate) fn new(
        policies: &Policies,
        home: &TenantId,
        reader: &Reader,
        action: Action,
        now_ms: i64,
    ) -> Option<Self> {
        let concerning = || policies.concerning(reader, home, action);
        let asking = Self::to(concerning(), policies.attributes(), home, reader, action, now_ms)?;
        let sight = Sight::of(concerning().map(|entry| &entry.json));
        Some(Self { sight: Some(sight), ..asking })
    }

    /// A question to these policies.
    pub(crate) fn to<'a>(
        entries: impl Iterator<Item = &'a Entry>,
        attributes: &BTreeSet<String>,
        home: &TenantId,
        reader: &Reader,
        action: Action,
        now_ms: i64,
    ) -> Option<Self> {
        let principal = uid(reader.entity_type()?, &reader.entity_id(home))?;
        let home_uid = uid("Tenant", home.as_str())?;
        let theirs = uid("Tenant", reader.tenant.as_str())?;
        // Who belongs elsewhere has no group and no attribute here: those were given by others.
        let is_guest = reader.tenant != *home;
        let groups = reader.groups.iter().filter(|_| !is_guest);
        let groups: Option<HashSet<EntityUid>> = groups.map(|group| uid("Group", group)).collect();
        let nothing = Attributes::default();
        let mut attrs = own(attributes.iter(), if is_guest { &nothing } else { &reader.attributes });
        attrs.insert("tenant".to_owned(), RestrictedExpression::new_entity_uid(theirs.clone()));
        attrs.insert("name".to_owned(), RestrictedExpression::new_string(reader.id.to_string()));
        let shared_with = is_guest.then(|| RestrictedExpression::new_entity_uid(theirs));
        let now = RestrictedExpression::new_datetime(instant(now_ms));
        Some(Self {
            authorizer: Authorizer::new(),
            set: PolicySet::from_policies(entries.map(|entry| entry.policy.clone())).ok()?,
            home: home_uid,
            reader: Entity::new(principal.clone(), attrs, groups?).ok()?,
            principal,
            action: uid("Action", action.as_str())?,
            context: Context::from_pairs([("now".to_owned(), now)]).ok()?,
            shared_with: RestrictedExpression::new_set(shared_with),
            attributes: attributes.clone(),
            sight: None,
        })
    }

    /// Decides on an item.
    pub(crate) fn item(&self, item: &ItemInfo, captured_ms: i64) -> Decision {
        self.made(item, captured_ms).map_or_else(Decision::denied, |entity| self.decide(entity))
    }

    /// An item with what the policies look at: they are validated, so what they do not name they cannot miss.
    fn made(&self, item: &ItemInfo, captured_ms: i64) -> Option<Entity> {
        let is_all = self.sight.as_ref().is_none_or(|sight| sight.stream);
        let looks_at = |what: fn(&Sight) -> bool| is_all || self.sight.as_ref().is_some_and(what);
        let is_named = |name: &&String| {
            is_all || self.sight.as_ref().is_some_and(|sight| sight.attributes.contains(*name))
        };
        let mut attrs = own(self.attributes.iter().filter(is_named), &item.attributes);
        attrs.reserve(6);
        let mut parents = HashSet::new();
        if is_all {
            let device = uid("Device", item.stream.device.as_str())?;
            attrs.insert("device".to_owned(), RestrictedExpression::new_entity_uid(device.clone()));
            attrs.insert("stream".to_owned(), RestrictedExpression::new_string(item.stream.stream.clone()));
            parents.insert(device);
        }
        if looks_at(|sight| sight.captured) {
            attrs.insert("captured".to_owned(), RestrictedExpression::new_datetime(instant(captured_ms)));
        }
        if looks_at(|sight| sight.cell) {
            let cell = item.cell.clone().unwrap_or_default();
            attrs.insert("cell".to_owned(), RestrictedExpression::new_string(cell));
        }
        self.belongs(&mut attrs);
        let id = uid("Item", &format!("{}/{}", item.stream.device, item.stream.stream))?;
        Entity::new(id, attrs, parents).ok()
    }

    /// Decides on a data set.
    pub(crate) fn data_set(&self, name: &str) -> Decision {
        let mut attrs = HashMap::new();
        self.belongs(&mut attrs);
        let entity = uid("DataSet", name).and_then(|id| Entity::new(id, attrs, HashSet::new()).ok());
        entity.map_or_else(Decision::denied, |entity| self.decide(entity))
    }

    /// Decides on the tenant itself.
    pub(crate) fn tenant(&self) -> Decision {
        self.decide(Entity::with_uid(self.home.clone()))
    }

    fn belongs(&self, attrs: &mut HashMap<String, RestrictedExpression>) {
        attrs.insert("tenant".to_owned(), RestrictedExpression::new_entity_uid(self.home.clone()));
        attrs.insert("shared_with".to_owned(), self.shared_with.clone());
    }

    fn decide(&self, entity: Entity) -> Decision {
        let context = self.context.clone();
        let asked = Request::new(self.principal.clone(), self.action.clone(), entity.uid(), context, None);
        // What could not be asked is not allowed.
        let Ok(request) = asked else { return Decision::denied() };
        let Ok(entities) = Entities::from_entities([self.reader.clone(), entity], None) else {
            return Decision::denied();
        };
        self.authorizer.is_authorized(&request, &self.set, &entities).into()
    }
}

fn failed_policy(error: &AuthorizationError) -> String {
    let AuthorizationError::PolicyEvaluationError(error) = error;
    error.policy_id().to_string()
}

/// When an item was captured, in milliseconds: never before it really was, so that it is not older than it is.
pub(crate) fn captured_ms(item: &ItemInfo) -> i64 {
    item.to_us.div_euclid(1_000).saturating_add(i64::from(item.to_us.rem_euclid(1_000) > 0))
}

fn own<'a>(
    names: impl Iterator<Item = &'a String>,
    attributes: &Attributes,
) -> HashMap<String, RestrictedExpression> {
    let texts = |name: &String| {
        RestrictedExpression::new_set(
            attributes.texts(name).map(|text| RestrictedExpression::new_string(text.to_owned())),
        )
    };
    names.map(|name| (name.clone(), texts(name))).collect()
}

/// The types of what policies speak of, parsed once.
static TYPES: LazyLock<BTreeMap<&'static str, EntityTypeName>> = LazyLock::new(|| {
    let names = ["Tenant", "Group", "Device", "User", "App", "Service", "Item", "DataSet", "Action"];
    names.into_iter().filter_map(|name| Some((name, name.parse().ok()?))).collect()
});

fn uid(kind: &str, id: &str) -> Option<EntityUid> {
    Some(EntityUid::from_type_name_and_id(TYPES.get(kind)?.clone(), EntityId::new(id)))
}

/// An instant as a rule writes it; one that cannot be written is the last or the first that can.
fn instant(ms: i64) -> String {
    let ms = ms.clamp(INSTANT_MS_MIN, INSTANT_MS_MAX);
    let (days, of_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    // From days to a date, in years that begin in March.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let of_years = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * of_years + of_years / 4 - of_years / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = of_years + era * 400 + i64::from(month <= 2);
    let (hours, minutes) = (of_day / 3_600_000, of_day / 60_000 % 60);
    let (seconds, millis) = (of_day / 1_000 % 60, of_day % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{millis:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_written_as_rules_read_them() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_795_389_166_007, "2026-11-22T23:12:46.007Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (i64::MAX, "9999-12-31T23:59:59.999Z"),
            (i64::MIN, "0001-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(instant(ms), text);
            let parsed = RestrictedExpression::new_datetime(text);
            let uid = uid("Item", "x").unwrap();
            assert!(
                Entity::new(uid, HashMap::from([("t".to_owned(), parsed)]), HashSet::new()).is_ok(),
                "{text}"
            );
        }
    }
}
