//! What a reader may be shown at one instant: decided once for all items that look alike to the policies, and remembered for
//! as long as the question lasts.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use muster_items::{Attributes, ItemInfo, StreamId};

use crate::{
    asking::{Asking, captured_ms},
    limits::VIEW_DECISIONS_MAX,
    sight::Sight,
};

/// What is called when a question was answered.
type Ended = Box<dyn Fn(&Tally) + Send + Sync>;

/// How many items were shown and how many were not. Read it when the question is answered.
#[derive(Default)]
pub struct Tally {
    shown: AtomicU64,
    hidden: AtomicU64,
    first_hidden: Mutex<Option<Hidden>>,
    ended: Option<Ended>,
}

/// An item that was not shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hidden {
    /// Its stream.
    pub stream: StreamId,
    /// The policy that forbade it, or what else kept it back.
    pub rule: String,
}

impl Tally {
    /// A tally that is told once the question is answered, and the view gone.
    pub fn told(ended: impl Fn(&Self) + Send + Sync + 'static) -> Self {
        let mut tally = Self::default();
        tally.ended = Some(Box::new(ended));
        tally
    }

    /// How often an item was shown.
    pub fn shown(&self) -> u64 {
        self.shown.load(Ordering::Relaxed)
    }

    /// How often an item was not shown.
    pub fn hidden(&self) -> u64 {
        self.hidden.load(Ordering::Relaxed)
    }

    /// The first item that was not shown.
    pub fn first_hidden(&self) -> Option<Hidden> {
        self.first_hidden.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts one item. Of the first that is not shown, `rule` says what kept it back.
    pub fn count(&self, item: &ItemInfo, shown: bool, rule: impl FnOnce() -> String) {
        if shown {
            self.shown.fetch_add(1, Ordering::Relaxed);
        } else if self.hidden.fetch_add(1, Ordering::Relaxed) == 0 {
            let hidden = Hidden { stream: item.stream.clone(), rule: rule() };
            *self.first_hidden.lock().unwrap_or_else(PoisonError::into_inner) = Some(hidden);
        }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        if let Some(ended) = self.ended.take() {
            ended(self);
        }
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shown, hidden) = (self.shown(), self.hidden());
        f.debug_struct("Tally").field("shown", &shown).field("hidden", &hidden).finish_non_exhaustive()
    }
}

/// A question with what was decided so far.
pub(crate) struct Lens {
    asking: Asking,
    sight: Sight,
    /// Where `captured` makes a difference, ascending.
    boundaries: Vec<i64>,
    /// Nobody waits long for it: a decision is made within.
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// The one before: items come stream by stream.
    last: Option<(Look, bool)>,
    decisions: HashMap<Look, bool>,
}

/// An item as the policies see it; what they do not look at is left out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Look {
    stream: Option<StreamId>,
    cell: Option<String>,
    attributes: Option<Arc<Attributes>>,
    /// Between which boundaries it was captured, or when.
    when: i64,
}

impl Lens {
    pub(crate) fn new(asking: Asking, sight: Sight, now_ms: i64) -> Self {
        let boundaries = sight.boundaries(now_ms);
        Self { asking, sight, boundaries, seen: Mutex::default() }
    }

    /// Whether an item may be shown.
    pub(crate) fn shows(&self, item: &ItemInfo) -> bool {
        let captured_ms = captured_ms(item);
        let when = self.when(captured_ms);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((look, allowed)) = &seen.last
            && self.is_like(look, item, when)
        {
            return *allowed;
        }
        let look = self.look(item, when);
        if let Some(allowed) = seen.decisions.get(&look).copied() {
            seen.last = Some((look, allowed));
            return allowed;
        }
        let allowed = self.asking.item(item, captured_ms).allowed;
        if seen.decisions.len() >= VIEW_DECISIONS_MAX {
            seen.decisions.clear();
        }
        seen.decisions.insert(look.clone(), allowed);
        seen.last = Some((look, allowed));
        allowed
    }

    /// What keeps an item back.
    pub(crate) fn denied_by(&self, item: &ItemInfo) -> String {
        self.asking.item(item, captured_ms(item)).rule()
    }

    /// Even numbers lie between boundaries, odd ones on them.
    fn when(&self, captured_ms: i64) -> i64 {
        if self.sight.every_instant {
            return captured_ms;
        }
        let place = match self.boundaries.binary_search(&captured_ms) {
            Ok(on) => 2 * on + 1,
            Err(before) => 2 * before,
        };
        i64::try_from(place).unwrap_or(i64::MAX)
    }

    fn is_like(&self, look: &Look, item: &ItemInfo, when: i64) -> bool {
        look.when == when
            && look.stream.as_ref().is_none_or(|stream| *stream == item.stream)
            && (!self.sight.cell || look.cell == item.cell)
            && look.attributes.as_ref().is_none_or(|attributes| {
                Arc::ptr_eq(attributes, &item.attributes) || *attributes == item.attributes
            })
    }

    fn look(&self, item: &ItemInfo, when: i64) -> Look {
        Look {
            stream: self.sight.stream.then(|| item.stream.clone()),
            cell: item.cell.clone().filter(|_| self.sight.cell),
            attributes: (!self.sight.attributes.is_empty()).then(|| item.attributes.clone()),
            when,
        }
    }
}
