//! The questions that a tenant's policies answer.

use std::sync::Arc;

use muster_items::{ItemInfo, View};
use muster_schemas::TenantId;

use crate::{
    asking::{Asking, Decision, NO_POLICY, captured_ms},
    dataset::DataSet,
    lens::{Lens, Tally},
    policies::Policies,
    reader::Reader,
    schema::Action,
    sight::Sight,
};

/// What is named where a tenant has no policies.
pub const OPEN: &str = "tenant-without-policies";
/// What is named where an item is in none of the data sets that were asked for or granted.
pub const OUTSIDE: &str = "outside-the-data-set";

/// What a tenant has said of who may read: nothing, or policies.
///
/// Nothing: every member of the tenant reads everything, and nobody else anything but what was granted. Policies: what
/// none of them permits is denied.
#[derive(Debug, Clone)]
pub struct Rules {
    home: TenantId,
    policies: Option<Arc<Policies>>,
}

/// A decision on what is published now, and how long it is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// Whether it may be shown.
    pub allowed: bool,
    /// Before this instant it is good, in milliseconds since 1970, unless attributes or policies change; none if it depends
    /// on the time in a way that is not understood.
    pub until_ms: Option<i64>,
    /// The policy that decided, or what stands in its place.
    pub rule: String,
}

impl Rules {
    /// The rules of a tenant.
    pub fn new(home: TenantId, policies: Option<Arc<Policies>>) -> Self {
        Self { home, policies }
    }

    /// Whose they are.
    pub fn home(&self) -> &TenantId {
        &self.home
    }

    /// The policies, if there are any.
    pub fn policies(&self) -> Option<&Arc<Policies>> {
        self.policies.as_ref()
    }

    /// Whether there are no policies, so that members read everything.
    pub fn are_open(&self) -> bool {
        self.policies.is_none()
    }

    /// What a reader may be shown at this instant, counted in `tally`. Not to be kept.
    ///
    /// Of `within`, if it is given: data sets of which one has to have the item. Who belongs to another tenant is shown
    /// nothing without that.
    pub fn view(
        &self,
        reader: &Reader,
        now_ms: i64,
        within: Option<Vec<DataSet>>,
        tally: Arc<Tally>,
    ) -> View {
        let is_guest = reader.tenant != self.home;
        if within.is_none() && !is_guest && self.are_open() && reader.entity_type().is_some() {
            return View::all();
        }
        let within = within.or_else(|| is_guest.then(Vec::new));
        let lens = self.lens(reader, now_ms);
        let sensitive = !is_guest && self.may(reader, Action::Reveal, now_ms).allowed;
        let filter = move |item: &ItemInfo| {
            let is_within = within.as_ref().is_none_or(|sets| sets.iter().any(|set| set.has(item)));
            let shown = is_within
                && lens.as_ref().is_none_or(|lens| lens.as_ref().is_some_and(|lens| lens.shows(item)));
            tally.count(item, shown, || match &lens {
                Some(Some(lens)) if is_within => lens.denied_by(item),
                Some(None) if is_within => NO_POLICY.to_owned(),
                _ => OUTSIDE.to_owned(),
            });
            shown
        };
        View::filtered(Arc::new(filter), sensitive)
    }

    /// A view that remembers nothing, to be measured.
    #[doc(hidden)]
    pub fn uncached(&self, reader: &Reader, now_ms: i64) -> impl Fn(&ItemInfo) -> bool {
        let policies = self.policies.as_ref();
        let asking = policies.and_then(|all| Asking::new(all, &self.home, reader, Action::View, now_ms));
        move |item| asking.as_ref().is_some_and(|asking| asking.item(item, captured_ms(item)).allowed)
    }

    /// None if there is nothing to ask; none within if nobody may be asked about.
    fn lens(&self, reader: &Reader, now_ms: i64) -> Option<Option<Lens>> {
        let policies = self.policies.as_ref()?;
        let sight = self.sight(policies, reader);
        let asking = Asking::new(policies, &self.home, reader, Action::View, now_ms);
        Some(asking.map(|asking| Lens::new(asking, sight, now_ms)))
    }

    fn sight(&self, policies: &Policies, reader: &Reader) -> Sight {
        Sight::of(policies.concerning(reader, &self.home, Action::View).map(|entry| &entry.json))
    }

    /// Whether a reader may be shown an item, decided for this item alone.
    pub fn may_view(&self, reader: &Reader, item: &ItemInfo, now_ms: i64) -> Decision {
        self.ask(reader, Action::View, now_ms, |asking| asking.item(item, captured_ms(item)))
    }

    /// Whether a reader may be shown what is published now as `item`, which is taken for captured now, and for how long that
    /// is good. Where it was captured is not known before it is stored: whoever's rules look at that is shown nothing live.
    pub fn live(&self, reader: &Reader, item: &ItemInfo, now_ms: i64) -> Live {
        let Some(policies) = &self.policies else {
            let allowed = reader.tenant == self.home;
            return Live { allowed, until_ms: Some(i64::MAX), rule: OPEN.to_owned() };
        };
        let sight = self.sight(policies, reader);
        if sight.cell {
            return Live { allowed: false, until_ms: Some(i64::MAX), rule: "place-not-known-yet".to_owned() };
        }
        let now = self.ask(reader, Action::View, now_ms, |asking| asking.item(item, now_ms));
        Live { allowed: now.allowed, until_ms: sight.holds_until(now_ms), rule: now.rule() }
    }

    /// Whether a reader may read a data set at all.
    pub fn may_open(&self, reader: &Reader, data_set: &str, now_ms: i64) -> Decision {
        self.ask(reader, Action::Open, now_ms, |asking| asking.data_set(data_set))
    }

    /// Whether a reader may do something that concerns the tenant as a whole.
    pub fn may(&self, reader: &Reader, action: Action, now_ms: i64) -> Decision {
        self.ask(reader, action, now_ms, Asking::tenant)
    }

    /// The instants after `now_ms` at which what is said of an item that was captured then may change, ascending.
    pub(crate) fn moments(&self, reader: &Reader, captured_ms: i64, now_ms: i64) -> Vec<i64> {
        let Some(policies) = &self.policies else { return Vec::new() };
        self.sight(policies, reader).moments(captured_ms, now_ms)
    }

    fn ask(
        &self,
        reader: &Reader,
        action: Action,
        now_ms: i64,
        ask: impl FnOnce(&Asking) -> Decision,
    ) -> Decision {
        let Some(policies) = &self.policies else {
            return Decision { allowed: reader.tenant == self.home, ..Decision::denied() };
        };
        let asking = Asking::new(policies, &self.home, reader, action, now_ms);
        asking.map_or_else(Decision::denied, |asking| ask(&asking))
    }
}
