//! What is lent to whichever session has a turn: the sessions of an arbiter have theirs one after another, so a few lists
//! and buffers serve all of them, and a session that is idle holds none.

use std::cell::RefCell;

use muster_mqtt::Effects;

use crate::{limits::EFFECTS_SPARE_MAX, session::Permits};

thread_local! {
    #[expect(clippy::vec_box, reason = "a loan is handed over as it is, and not copied")]
    static SPARE: RefCell<Vec<Box<Loan>>> = const { RefCell::new(Vec::new()) };
}

#[derive(Default)]
struct Loan {
    effects: Effects,
    permits: Option<Permits>,
}

/// What one session has borrowed: nothing until it asks.
#[derive(Default)]
pub(crate) struct Lent(Option<Box<Loan>>);

impl Lent {
    /// What follows from this turn's inputs so far.
    pub(crate) fn effects(&mut self) -> &mut Effects {
        &mut self.loan().effects
    }

    /// The permits of this turn's batches, as one.
    pub(crate) fn permits(&mut self) -> &mut Option<Permits> {
        &mut self.loan().permits
    }

    /// Ends the loan, unless there is something in it still.
    pub(crate) fn give_back(&mut self) {
        let is_empty = |Loan { effects, permits }: &Loan| {
            effects.outgoing.is_empty() && effects.requests.is_empty() && permits.is_none()
        };
        if let Some(loan) = self.0.take_if(|loan| is_empty(loan)) {
            SPARE.with_borrow_mut(|spare| {
                if spare.len() < EFFECTS_SPARE_MAX {
                    spare.push(loan);
                }
            });
        }
    }

    fn loan(&mut self) -> &mut Loan {
        self.0.get_or_insert_with(|| SPARE.with_borrow_mut(Vec::pop).unwrap_or_default())
    }
}
