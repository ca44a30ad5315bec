//! A request to stop, seen by one listener. A poll of it that finds nothing costs one atomic load, because a
//! supervised actor makes it with every message.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// The side that asks.
#[derive(Debug, Default)]
pub(crate) struct StopRequest(Arc<Shared>);

/// The side that listens.
#[derive(Debug)]
pub(crate) struct StopListener {
    shared: Arc<Shared>,
    /// The waker that is registered, so that it is replaced only when the task changes.
    registered: Option<Waker>,
}

#[derive(Debug, Default)]
struct Shared {
    requested: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl StopRequest {
    pub(crate) fn listener(&self) -> StopListener {
        StopListener { shared: Arc::clone(&self.0), registered: None }
    }

    /// Asks once and for ever.
    pub(crate) fn ask(&self) {
        self.0.requested.store(true, Ordering::Release);
        let waker = self.0.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl StopListener {
    pub(crate) fn requested(&self) -> bool {
        self.shared.requested.load(Ordering::Acquire)
    }

    /// Ready once stopping was asked for, and from then on.
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        if !self.registered.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            // Register first and look then: a request in between is seen by one of the two.
            let mut slot = self.shared.waker.lock().unwrap_or_else(PoisonError::into_inner);
            *slot = Some(cx.waker().clone());
            self.registered = Some(cx.waker().clone());
        }
        if self.requested() { Poll::Ready(()) } else { Poll::Pending }
    }
}
