//! Maps by subscriber. Our own numbers need no hash that withstands an attacker.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use crate::subscription::SubscriberId;

/// A map by subscriber, for sessions: several look-ups are made for every message.
pub type SubscriberMap<T> = HashMap<SubscriberId, T, BuildHasherDefault<NumberHasher>>;

/// Spreads numbers that we have given out ourselves, one after the other.
#[derive(Debug, Clone, Copy, Default)]
pub struct NumberHasher(u64);

/// 2^64 divided by the golden ratio: neighbours end up far apart, in the upper bits and in the lower.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for NumberHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(SPREAD);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
