//! What to do about an exit: a pure table of restarts. It knows no actor, no timer and no clock.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::exit::Exit;
use crate::limits::{RESTART_DELAY_FIRST, RESTART_DELAY_MAX, RESTART_WINDOW, RESTARTS_MAX};

/// How often and how fast a child may be restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Delay before the first restart; it doubles with each further restart in the window.
    pub delay_first: Duration,
    /// The delay grows no longer than this.
    pub delay_max: Duration,
    /// The budget: how many restarts may begin within any stretch of `window`.
    pub restarts_max: u32,
    /// A restart this long ago is forgotten, by the budget and by the delay.
    pub window: Duration,
    /// What happens to the child that has used up its budget.
    pub over_budget: OverBudget,
}

/// What happens to a child that fails once more than its budget allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverBudget {
    /// It rests, with a reason, until somebody starts it anew; its siblings go on.
    Park,
    /// Without it the owner cannot go on either: the owner ends, too.
    Escalate,
    /// It is over and nobody misses it: a session, whose device will come back by itself.
    Finish,
}

impl Plan {
    /// For a child that is never restarted: whatever its exit, it is reported and done.
    pub const NO_RESTART: Self = Self {
        delay_first: Duration::ZERO,
        delay_max: Duration::ZERO,
        restarts_max: 0,
        window: Duration::ZERO,
        over_budget: OverBudget::Finish,
    };

    /// Five restarts within a minute, after 0.1 s and up to 10 s, and then the child is parked.
    pub const PARK: Self = Self {
        delay_first: RESTART_DELAY_FIRST,
        delay_max: RESTART_DELAY_MAX,
        restarts_max: RESTARTS_MAX,
        window: RESTART_WINDOW,
        over_budget: OverBudget::Park,
    };

    /// Like [`Plan::PARK`], and then the owner is told to end.
    pub const ESCALATE: Self = Self { over_budget: OverBudget::Escalate, ..Self::PARK };

    /// Whether a child that fails as soon as it starts ever uses up its budget. When the delays alone fill the
    /// window, it is restarted for ever; assert this where a plan is written down.
    #[must_use]
    pub const fn budget_is_reachable(&self) -> bool {
        let mut nth = 0;
        let mut delays_ms: u128 = 0;
        while nth < self.restarts_max {
            delays_ms += self.delay(nth).as_millis();
            nth += 1;
        }
        self.restarts_max == 0 || delays_ms < self.window.as_millis()
    }

    /// The delay when there were `restarts` in the window already.
    const fn delay(&self, restarts: u32) -> Duration {
        let factor = if restarts < u32::BITS { 1 << restarts } else { u32::MAX };
        let delay = self.delay_first.saturating_mul(factor);
        if delay.as_nanos() < self.delay_max.as_nanos() { delay } else { self.delay_max }
    }
}

const _: () = assert!(Plan::PARK.budget_is_reachable(), "a child that always fails must come to rest");

impl Default for Plan {
    fn default() -> Self {
        Self::PARK
    }
}

/// What to do about an exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Build the child anew after this delay.
    Restart {
        /// Counted from the exit.
        after: Duration,
    },
    /// It is over, and that is well.
    Done,
    /// It is over, and its owner must end as well.
    Escalate,
    /// It failed too often: it rests until somebody starts it anew.
    Park,
}

/// The restarts of one child.
#[derive(Debug, Clone)]
pub struct Restart {
    plan: Plan,
    /// When the restarts within the window were decided, oldest first; at most `plan.restarts_max`.
    recent: VecDeque<Instant>,
}

impl Restart {
    /// A child that has not been restarted yet.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        Self { plan, recent: VecDeque::new() }
    }

    /// What to do about an exit that happened `now`. `now` must not run backwards between calls.
    pub fn decide(&mut self, now: Instant, exit: &Exit) -> Verdict {
        match exit {
            Exit::Stopped => return Verdict::Done,
            Exit::Failed(_) | Exit::Panicked(_) => {}
        }
        self.recent.retain(|&at| now.duration_since(at) < self.plan.window);
        let restarts = u32::try_from(self.recent.len()).unwrap_or(u32::MAX);
        if restarts < self.plan.restarts_max {
            self.recent.push_back(now);
            return Verdict::Restart { after: self.plan.delay(restarts) };
        }
        match self.plan.over_budget {
            OverBudget::Park => Verdict::Park,
            OverBudget::Escalate => Verdict::Escalate,
            OverBudget::Finish => Verdict::Done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, SystemClock};
    use crate::exit::Cause;

    const PLAN: Plan = Plan {
        delay_first: Duration::from_secs(1),
        delay_max: Duration::from_secs(3),
        restarts_max: 3,
        window: Duration::from_secs(60),
        over_budget: OverBudget::Park,
    };

    fn panicked() -> Exit {
        Exit::Panicked("boom".to_owned())
    }

    fn restart(seconds: u64) -> Verdict {
        Verdict::Restart { after: Duration::from_secs(seconds) }
    }

    /// Plays exits at seconds since the beginning and compares each verdict.
    fn plays(plan: Plan, table: &[(u64, Exit, Verdict)]) {
        let mut policy = Restart::new(plan);
        let start = SystemClock.now();
        for (row, (at, exit, verdict)) in table.iter().enumerate() {
            let decided = policy.decide(start + Duration::from_secs(*at), exit);
            assert_eq!(decided, *verdict, "row {row}: {exit} at {at} s");
        }
    }

    #[test]
    fn what_stopped_is_done() {
        plays(PLAN, &[(0, Exit::Stopped, Verdict::Done), (1, Exit::Stopped, Verdict::Done)]);
    }

    #[test]
    fn delays_double_up_to_their_bound_and_then_the_child_is_parked() {
        plays(
            PLAN,
            &[
                (0, panicked(), restart(1)),
                (1, Exit::Failed(Cause::text("disk")), restart(2)),
                (3, panicked(), restart(3)),
                (6, panicked(), Verdict::Park),
                (7, panicked(), Verdict::Park),
            ],
        );
    }

    #[test]
    fn a_quiet_window_forgets_earlier_restarts() {
        plays(
            PLAN,
            &[
                (0, panicked(), restart(1)),
                (10, panicked(), restart(2)),
                (20, panicked(), restart(3)),
                (60, panicked(), restart(3)), // The one at 0 is out of the window, two are in it.
                (61, panicked(), Verdict::Park),
                (200, panicked(), restart(1)),
            ],
        );
    }

    #[test]
    fn over_budget_is_what_the_plan_says() {
        let plan = Plan { restarts_max: 1, over_budget: OverBudget::Escalate, ..PLAN };
        plays(plan, &[(0, panicked(), restart(1)), (1, panicked(), Verdict::Escalate)]);
        plays(Plan::NO_RESTART, &[(0, panicked(), Verdict::Done)]);
    }

    #[test]
    fn a_long_row_of_restarts_does_not_overflow_the_delay() {
        let plan = Plan { restarts_max: 100, delay_max: Duration::MAX, ..PLAN };
        assert_eq!(plan.delay(40), Duration::from_secs(u64::from(u32::MAX)));
        assert!(!plan.budget_is_reachable());
        assert!(PLAN.budget_is_reachable());
    }
}
