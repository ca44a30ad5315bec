//! A request to stop, seen by one listener. A poll of it that finds nothing costs one atomic load, because a
//! supervised actor makes it with every message.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// Whether stopping was asked for, and who is to hear of it.
#[derive(Debug, Default)]
pub(crate) struct StopRequest {
    requested: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

/// The side that listens.
#[derive(Debug, Default)]
pub(crate) struct StopListener {
    /// The waker that is registered, so that it is replaced only when the task changes.
    registered: Option<Waker>,
}

impl StopRequest {
    /// Asks once and for ever.
    pub(crate) fn ask(&self) {
        self.requested.store(true, Ordering::Release);
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn is_made(&self) -> bool {
        self.requested.load(Ordering::Acquire)
    }
}

impl StopListener {
    /// Ready once stopping was asked for, and from then on. There is one listener to a request.
    pub(crate) fn poll(&mut self, request: &StopRequest, cx: &Context<'_>) -> Poll<()> {
        if !self.registered.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            // Register first and look then: a request in between is seen by one of the two.
            let mut slot = request.waker.lock().unwrap_or_else(PoisonError::into_inner);
            *slot = Some(cx.waker().clone());
            self.registered = Some(cx.waker().clone());
        }
        if request.is_made() { Poll::Ready(()) } else { Poll::Pending }
    }
}
