//! How an actor ended, as a value that a supervisor matches on.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use actix::ActorContext;

use crate::limits::PANIC_TEXT_BYTES_MAX;

/// How an actor ended.
#[derive(Debug, Clone)]
pub enum Exit {
    /// It stopped by itself or was asked to; its work is done.
    Stopped,
    /// It gave up and said why.
    Failed(Cause),
    /// It, or the factory that builds it, panicked with this text.
    Panicked(String),
}

impl Exit {
    /// The exit for what `catch_unwind` caught. The text is cut at [`PANIC_TEXT_BYTES_MAX`].
    pub(crate) fn from_panic(payload: &(dyn Any + Send)) -> Self {
        let text = if let Some(text) = payload.downcast_ref::<&'static str>() {
            text
        } else if let Some(text) = payload.downcast_ref::<String>() {
            text.as_str()
        } else {
            "(a panic without a text)"
        };
        let end = text.floor_char_boundary(PANIC_TEXT_BYTES_MAX);
        Self::Panicked(text.get(..end).unwrap_or_default().to_owned())
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => f.write_str("stopped"),
            Self::Failed(cause) => write!(f, "failed: {cause}"),
            Self::Panicked(text) => write!(f, "panicked: {text}"),
        }
    }
}

/// Why an actor failed: any error, shared so that a report can be cloned. It prints its whole chain of sources.
///
/// It is not itself an `Error`, so that `?` and `into()` turn every error into one.
#[derive(Clone)]
pub struct Cause(Arc<dyn Error + Send + Sync + 'static>);

impl Cause {
    /// A cause that is only a sentence, for what has no error of its own.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self(Arc::from(Box::<dyn Error + Send + Sync>::from(text.into())))
    }

    /// The error, to be matched on by `downcast_ref`.
    #[must_use]
    pub fn error(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.0
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Cause {
    fn from(error: E) -> Self {
        Self(Arc::new(error))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cause({self})")
    }
}

/// Where an actor leaves the cause of its failure for its supervisor. Each life of a child gets a new one from the
/// argument of its factory. Clones are the same slot.
#[derive(Debug, Clone, Default)]
pub struct ExitSlot(Arc<Mutex<Option<Cause>>>);

impl ExitSlot {
    /// Ends the actor of `ctx` with a cause; the first cause is kept. No message is handled after this one.
    ///
    /// It stops and does not `terminate`: actix 0.13 polls for ever when a context with a cancelled future is
    /// terminated. So an actor whose `stopping` returns `Running::Continue` must let itself stop in the end.
    pub fn fail(&self, ctx: &mut impl ActorContext, cause: impl Into<Cause>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| cause.into());
        ctx.stop();
    }

    /// Whether anybody else holds it.
    pub(crate) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// The exit of an actor that ended without a panic.
    pub(crate) fn exit(&self) -> Exit {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(cause) => Exit::Failed(cause),
            None => Exit::Stopped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("append a record to the log")]
    struct AppendFailed(#[source] std::io::Error);

    #[test]
    fn a_cause_prints_its_whole_chain() {
        let cause = Cause::from(AppendFailed(std::io::Error::other("no space left on the disk")));
        assert_eq!(
            Exit::Failed(cause.clone()).to_string(),
            "failed: append a record to the log: no space left on the disk"
        );
        assert!(cause.error().downcast_ref::<AppendFailed>().is_some());
        assert_eq!(Cause::text("the peer left").to_string(), "the peer left");
    }

    #[test]
    fn the_text_of_a_panic_is_kept_up_to_its_bound() {
        let long: Box<dyn Any + Send> = Box::new("é".repeat(PANIC_TEXT_BYTES_MAX));
        let Exit::Panicked(text) = Exit::from_panic(&*long) else { panic!("not a panic") };
        assert_eq!(text.len(), PANIC_TEXT_BYTES_MAX);
        let odd: Box<dyn Any + Send> = Box::new(7_u8);
        assert_eq!(Exit::from_panic(&*odd).to_string(), "panicked: (a panic without a text)");
    }
}
