//! QoS 2 messages of the client between our PUBREC and our PUBCOMP.

use std::collections::BTreeMap;

use crate::packet::PacketId;

/// What is known of such a packet id.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// It comes from an earlier connection, and the client has not repeated its PUBLISH on this one: then the client may
    /// be waiting for PUBCOMP, and does not count it against our Receive Maximum (MQTT 5 §4.9).
    earlier: bool,
    /// PUBREL came, and the broker is asked to forget the id.
    forgetting: bool,
}

/// The ids. Bounded by the Receive Maximum, and on resume by the number of ids. None before there is one: few clients
/// publish at QoS 2.
#[derive(Debug, Default)]
pub(super) struct Received(Option<Box<Ids>>);

#[derive(Debug, Default)]
struct Ids {
    known: BTreeMap<PacketId, Known>,
    /// Ids marked `earlier`.
    earlier: usize,
}

/// What PUBREL finds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    Received,
    Forgetting,
}

impl Received {
    /// What the resumed session had received.
    pub(super) fn earlier(ids: &[PacketId]) -> Self {
        let known = Known { earlier: true, forgetting: false };
        let known: BTreeMap<_, _> = ids.iter().map(|id| (*id, known)).collect();
        Self((!known.is_empty()).then(|| Box::new(Ids { earlier: known.len(), known })))
    }

    pub(super) fn insert(&mut self, id: PacketId) {
        self.remove(id);
        self.0.get_or_insert_default().known.insert(id, Known::default());
    }

    /// What is known of this id.
    pub(super) fn find(&self, id: PacketId) -> Found {
        match self.0.as_ref().and_then(|ids| ids.known.get(&id)) {
            None => Found::Nothing,
            Some(Known { forgetting: true, .. }) => Found::Forgetting,
            Some(_) => Found::Received,
        }
    }

    /// The client has repeated the PUBLISH of this id.
    pub(super) fn repeated(&mut self, id: PacketId) {
        let Some(ids) = &mut self.0 else { return };
        if let Some(known) = ids.known.get_mut(&id) {
            ids.earlier -= usize::from(std::mem::take(&mut known.earlier));
        }
    }

    /// PUBREL came, and the broker is asked to forget the id.
    pub(super) fn forget(&mut self, id: PacketId) {
        if let Some(known) = self.0.as_mut().and_then(|ids| ids.known.get_mut(&id)) {
            known.forgetting = true;
        }
    }

    /// Forgets an id. Whether it was known.
    pub(super) fn remove(&mut self, id: PacketId) -> bool {
        let Some(ids) = &mut self.0 else { return false };
        let Some(known) = ids.known.remove(&id) else {
            return false;
        };
        ids.earlier -= usize::from(known.earlier);
        true
    }

    /// Those that the client counts against our Receive Maximum.
    pub(super) fn counted(&self) -> usize {
        self.0.as_ref().map_or(0, |ids| ids.known.len() - ids.earlier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_an_earlier_connection_count_once_their_publish_is_repeated() {
        let [one, two] = [1, 2].map(|number| PacketId::new(number).expect("not 0"));
        let mut received = Received::earlier(&[one, two]);
        assert_eq!(received.counted(), 0);
        received.repeated(one);
        received.repeated(one);
        assert_eq!(received.counted(), 1);
        assert!(received.remove(two));
        assert!(!received.remove(two));
        assert_eq!((received.counted(), received.find(two)), (1, Found::Nothing));
        received.forget(one);
        assert_eq!(received.find(one), Found::Forgetting);
        assert!(received.remove(one));
        assert_eq!(received.counted(), 0);
    }
}
