//! A line to a neighbour that may be restarted: whoever holds one end always speaks to the neighbour as it lives now.

use std::{cell::RefCell, fmt, rc::Rc};

use actix::{Message, Recipient};

/// Clones are the same line. It stays on the thread of its actors.
pub struct Line<M: Message + Send + 'static>(Rc<RefCell<Option<Recipient<M>>>>)
where
    M::Result: Send;

impl<M: Message + Send + 'static> Line<M>
where
    M::Result: Send,
{
    /// Nobody is there yet.
    #[must_use]
    pub fn new() -> Self {
        Self(Rc::default())
    }

    /// From now on `neighbour` hears what is said. Called by the assembly at each start of that neighbour.
    pub fn connect(&self, neighbour: Recipient<M>) {
        *self.0.borrow_mut() = Some(neighbour);
    }

    /// Says something. While nobody is there it is lost: a neighbour that starts asks for what it must know.
    ///
    /// It does not wait. What is said over a line is bounded where it is made: a reading is dropped by the spool, and
    /// there is one report per session.
    pub fn say(&self, message: M) {
        if let Some(neighbour) = &*self.0.borrow() {
            neighbour.do_send(message);
        }
    }
}

impl<M: Message + Send + 'static> Clone for Line<M>
where
    M::Result: Send,
{
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<M: Message + Send + 'static> Default for Line<M>
where
    M::Result: Send,
{
    fn default() -> Self {
        Self::new()
    }
}

impl<M: Message + Send + 'static> fmt::Debug for Line<M>
where
    M::Result: Send,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Line(connected: {})", self.0.borrow().is_some())
    }
}
