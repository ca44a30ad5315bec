//! Where an actor can be reached, for those who outlive it: a supervised actor that is restarted has another address.

use std::sync::Arc;

use actix::{Actor, Addr};
use arc_swap::ArcSwapOption;
use tokio::time::timeout;

use crate::limits::{START_POLL_TIME, START_TIME_MAX};

/// The address of the moment. Cheap to clone; all clones show the same.
pub struct Place<A: Actor>(Arc<ArcSwapOption<Addr<A>>>);

impl<A: Actor> Place<A> {
    /// A place where nobody is yet.
    pub fn new() -> Self {
        Self(Arc::default())
    }

    /// Puts an actor there.
    pub fn take(&self, address: Addr<A>) {
        self.0.store(Some(Arc::new(address)));
    }

    /// The actor that is there, unless none has started.
    pub fn address(&self) -> Option<Addr<A>> {
        self.0.load().as_deref().cloned()
    }

    /// The actor that is there, once one has started; none if that takes longer than [`START_TIME_MAX`].
    pub async fn started(&self) -> Option<Addr<A>> {
        let started = async {
            loop {
                if let Some(address) = self.address() {
                    return address;
                }
                tokio::time::sleep(START_POLL_TIME).await;
            }
        };
        timeout(START_TIME_MAX, started).await.ok()
    }
}

impl<A: Actor> Default for Place<A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<A: Actor> Clone for Place<A> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}
