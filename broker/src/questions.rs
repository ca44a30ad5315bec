//! Questions that a client asks its hub on topics of its own session (`muster_schemas::questions`). The bus does not know
//! what is asked: it carries a question to an [`Answers`], and the answer to the session that asked, and to nobody else.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use muster_schemas::{Principal, TopicName, questions::TOPICS};

/// Answers the clients of all tenants.
pub trait Answers: Send + Sync {
    /// The answer to one question. Dropped when whoever asked is gone. It must not block.
    fn answer(&self, question: Question) -> Answering;
}

/// An answer on its way.
pub type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Who asks: as it was admitted, and its session has not been ended since.
    pub principal: Principal,
    /// What follows [`TOPICS`] in the topic.
    pub about: String,
    /// What it says.
    pub payload: Bytes,
}

/// What it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// How it went, as HTTP would say: 200, or the status of a refusal.
    pub status: u16,
    /// What is told.
    pub payload: Bytes,
}

/// Where questions are answered, once somebody does.
#[derive(Clone, Default)]
pub(crate) struct Desk(Arc<OnceLock<Arc<dyn Answers>>>);

impl Desk {
    /// Has questions answered by this one. Whoever came first stays.
    pub(crate) fn open(&self, answers: Arc<dyn Answers>) {
        let _ = self.0.set(answers);
    }

    /// Whoever answers, if somebody does.
    pub(crate) fn answers(&self) -> Option<&dyn Answers> {
        self.0.get().map(Arc::as_ref)
    }

    /// Whether what is published there is a question.
    pub(crate) fn is_question(&self, topic: &TopicName) -> bool {
        topic.as_str().starts_with(TOPICS) && self.0.get().is_some()
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Desk").field(&self.0.get().is_some()).finish()
    }
}
