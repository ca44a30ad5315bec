//! What the hub publishes of its trust, and what its own doors go by: revocation lists and TLS configurations, made anew
//! whenever a certificate is revoked, a key is read anew, or the lists grow old. Not for deciding what is revoked, and not
//! what decides about a peer of ours: that is the registry, after every handshake.
//!
//! ```text
//!   registry rows ──▶ Publisher ──(a thread that may be slow)──▶ lists, TLS ──▶ doors: from the next handshake on
//!                     at most once a second                                └──▶ HTTPS: /crl/<authority>.crl
//! ```
//!
//! Connections that are open keep what they were made with, and are closed by whoever revoked their certificate.

mod list;
mod publisher;

use std::sync::Arc;

use arc_swap::ArcSwap;

pub use list::List;
pub use publisher::{Publisher, PublisherError, PublisherParts};

/// What is published at a moment.
#[derive(Debug, Default)]
pub struct Published {
    /// One list for each authority below the root.
    pub lists: Vec<List>,
    /// Grows with each publication, over restarts too.
    pub number: u64,
}

/// What is published: all clones show the same.
#[derive(Debug, Clone, Default)]
pub struct Publication(Arc<ArcSwap<Published>>);

impl Publication {
    /// What is published now.
    pub fn now(&self) -> Arc<Published> {
        self.0.load_full()
    }

    fn replace(&self, published: Published) {
        self.0.store(Arc::new(published));
    }
}

#[cfg(test)]
mod tests;
