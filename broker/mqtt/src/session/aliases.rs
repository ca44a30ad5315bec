//! Topic aliases for messages to the client (MQTT 5 §3.3.2.3.4).
//!
//! A table with one place per alias, and a topic has its place by its hash. An empty place is taken at first sight, since
//! that costs three bytes once for each alias; a taken one only by a topic that comes twice while the holder does not come
//! at all. So a client that sees few topics soon gets each by its alias, one that sees a new topic every time keeps what
//! it has, and neither needs more than one hash and one comparison for a message.

use std::num::NonZeroU16;

use muster_schemas::{Message, TopicName};

use crate::limits::{TOPIC_ALIAS_TOPIC_BYTES_MIN, TOPIC_ALIASES_SENT_MAX};

/// The aliases of one connection. Memory grows with use, up to one topic per place.
#[derive(Debug)]
pub(super) struct Aliases {
    /// By alias less one.
    places: Vec<Place>,
    /// Places at most: the lower of the client's Topic Alias Maximum and our bound.
    max: usize,
}

#[derive(Debug, Clone, Default)]
struct Place {
    /// The topic that the client knows by this alias.
    holder: Option<TopicName>,
    /// Hash of the topic that last wanted the place, since the holder came last.
    wanted_by: Option<u32>,
}

/// How a message names its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// In full.
    Topic,
    /// By an alias that the client knows, without the topic.
    Alias(NonZeroU16),
    /// In full, and from now on by this alias.
    Define(NonZeroU16),
}

impl Aliases {
    /// For a client with this Topic Alias Maximum; none at 0.
    pub(super) fn new(client_max: u16) -> Option<Self> {
        let max = client_max.min(TOPIC_ALIASES_SENT_MAX);
        (max > 0).then(|| Self { places: Vec::new(), max: max.into() })
    }

    /// How to name the topic of a message that is about to be sent. The client has defined nothing before
    /// [`Self::define`] says so.
    pub(super) fn naming(&mut self, message: &Message) -> Naming {
        let topic = message.topic.as_str();
        if topic.len() < TOPIC_ALIAS_TOPIC_BYTES_MIN {
            return Naming::Topic;
        }
        let hash = hash(topic.as_bytes());
        let index = usize::try_from(hash).unwrap_or(0) % self.max;
        if self.places.is_empty() {
            self.places.resize(self.max, Place::default());
        }
        let alias = u16::try_from(index + 1).ok().and_then(NonZeroU16::new);
        let (Some(place), Some(alias)) = (self.places.get_mut(index), alias) else {
            return Naming::Topic;
        };
        match &place.holder {
            None => Naming::Define(alias),
            Some(holder) if *holder == message.topic => {
                place.wanted_by = None;
                Naming::Alias(alias)
            }
            Some(_) if place.wanted_by == Some(hash) => Naming::Define(alias),
            Some(_) => {
                place.wanted_by = Some(hash);
                Naming::Topic
            }
        }
    }

    /// A message that defines this alias has been sent.
    pub(super) fn define(&mut self, alias: NonZeroU16, message: &Message) {
        if let Some(place) = self.places.get_mut(usize::from(alias.get() - 1)) {
            // A copy: an alias outlives its message, and must not keep a read buffer alive.
            *place = Place { holder: message.topic.as_str().parse().ok(), wanted_by: None };
        }
    }
}

/// FNV-1a. The same on every machine; who makes collisions on purpose only loses the use of aliases.
fn hash(bytes: &[u8]) -> u32 {
    let hash =
        bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    // The low bits alone depend on little; fold the high ones in.
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use muster_schemas::Qos;

    use super::*;

    fn message(topic: &str) -> Message {
        Message {
            topic: topic.parse().expect("valid"),
            qos: Qos::AtMostOnce,
            retain: false,
            payload: Bytes::new(),
            properties: None,
        }
    }

    fn send(aliases: &mut Aliases, topic: &str) -> Naming {
        let message = message(topic);
        let naming = aliases.naming(&message);
        if let Naming::Define(alias) = naming {
            aliases.define(alias, &message);
        }
        naming
    }

    const FIRST: NonZeroU16 = NonZeroU16::MIN;

    #[test]
    fn a_client_without_aliases_has_no_table() {
        assert!(Aliases::new(0).is_none());
    }

    #[test]
    fn a_topic_is_known_from_its_second_message_on() {
        let mut aliases = Aliases::new(1).expect("one");
        assert_eq!(send(&mut aliases, "plant/1/temperature"), Naming::Define(FIRST));
        assert_eq!(send(&mut aliases, "plant/1/temperature"), Naming::Alias(FIRST));
        assert_eq!(send(&mut aliases, "short"), Naming::Topic, "an alias would save nothing");
    }

    #[test]
    fn a_definition_that_was_not_sent_does_not_count() {
        let mut aliases = Aliases::new(1).expect("one");
        assert_eq!(aliases.naming(&message("plant/1/temperature")), Naming::Define(FIRST));
        assert_eq!(aliases.naming(&message("plant/1/temperature")), Naming::Define(FIRST));
    }

    #[test]
    fn a_place_goes_to_a_topic_that_comes_twice_while_its_holder_does_not_come() {
        let mut aliases = Aliases::new(1).expect("one");
        send(&mut aliases, "plant/1/temperature");
        for _ in 0..3 {
            assert_eq!(send(&mut aliases, "plant/2/temperature"), Naming::Topic);
            assert_eq!(send(&mut aliases, "plant/1/temperature"), Naming::Alias(FIRST));
        }
        assert_eq!(send(&mut aliases, "plant/2/temperature"), Naming::Topic);
        assert_eq!(send(&mut aliases, "plant/3/temperature"), Naming::Topic);
        assert_eq!(send(&mut aliases, "plant/3/temperature"), Naming::Define(FIRST));
        assert_eq!(send(&mut aliases, "plant/3/temperature"), Naming::Alias(FIRST));
    }

    #[test]
    fn aliases_stay_within_what_client_and_server_allow() {
        for (client_max, expected) in [(3, 3), (u16::MAX, usize::from(TOPIC_ALIASES_SENT_MAX))] {
            let mut aliases = Aliases::new(client_max).expect("some");
            for number in 0..1_000 {
                send(&mut aliases, &format!("plant/{number}/temperature"));
            }
            assert_eq!(aliases.places.len(), expected);
            assert!(
                aliases.places.iter().all(|place| place.holder.is_some()),
                "topics spread over all places"
            );
        }
    }
}
