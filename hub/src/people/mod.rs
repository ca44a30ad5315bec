//! Who calls the HTTPS API. A provider takes what a request shows - the certificate of its connection, its
//! `Authorization` - and says whom that proves; whether that principal may act is the registry's to say, at every request.
//! Not for MQTT, whose gate reads certificates itself.
//!
//! ```text
//!   request ─evidence─▶ provider, provider, … ─proof─▶ registry ─▶ caller
//! ```

mod certificate;

use std::sync::Arc;

use muster_schemas::Principal;

use crate::authority::Leaf;

pub use certificate::ClientCertificate;

/// What a request shows of its caller.
#[derive(Debug, Clone, Copy, Default)]
pub struct Evidence<'a> {
    /// The certificate of its connection, whose chain and key were verified in the handshake.
    pub leaf: Option<&'a Leaf>,
    /// The credentials after `Authorization: Bearer`.
    pub bearer: Option<&'a str>,
}

/// Whom the evidence proves. The registry is yet to be asked whether it may act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// The one that this certificate speaks for, if it is the one that the registry knows.
    Certificate(Leaf),
    /// This one, on somebody else's word.
    Named(Principal),
}

/// Why evidence proves nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Unproved {
    /// A short name, for programs.
    pub code: &'static str,
    /// What is wrong with it. Never the evidence itself: it may be a secret.
    pub why: String,
    /// What to do next.
    pub next: &'static str,
}

/// One way of showing who one is.
pub trait Provider: Send + Sync {
    /// Whom the evidence proves at this time; none, if there is none of this provider's sort among it.
    fn prove(&self, now_s: u64, evidence: &Evidence<'_>) -> Option<Result<Proof, Unproved>>;
}

/// The providers of this hub. The first that finds evidence of its sort decides: what is wrong in one is not made good by
/// another.
#[derive(Clone)]
pub struct Providers(Arc<[Arc<dyn Provider>]>);

impl Providers {
    /// These, in this order.
    pub fn new(providers: Vec<Arc<dyn Provider>>) -> Self {
        Self(providers.into())
    }

    /// Whom the evidence proves; none, if there is no evidence that any of them reads.
    pub fn prove(&self, now_s: u64, evidence: &Evidence<'_>) -> Option<Result<Proof, Unproved>> {
        self.0.iter().find_map(|provider| provider.prove(now_s, evidence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Says(Option<Result<&'static str, &'static str>>);

    impl Provider for Says {
        fn prove(&self, _: u64, _: &Evidence<'_>) -> Option<Result<Proof, Unproved>> {
            Some(match self.0? {
                Ok(uri) => Ok(Proof::Named(uri.parse().expect("a principal"))),
                Err(why) => Err(Unproved { code: "no", why: why.to_owned(), next: "" }),
            })
        }
    }

    #[test]
    fn the_first_provider_that_finds_evidence_decides() {
        let ann = "spiffe://muster.example/t/acme/user/ann";
        let chain = |all: Vec<Says>| {
            let all = all.into_iter().map(|one| Arc::new(one) as Arc<dyn Provider>).collect();
            Providers::new(all).prove(0, &Evidence::default())
        };
        assert_eq!(chain(vec![Says(None), Says(None)]), None);
        let proved = chain(vec![Says(None), Says(Some(Ok(ann)))]);
        assert_eq!(proved, Some(Ok(Proof::Named(ann.parse().expect("a principal")))));
        let refused = chain(vec![Says(Some(Err("forged"))), Says(Some(Ok(ann)))]);
        assert_eq!(refused.expect("decided").expect_err("refused").why, "forged");
    }
}
