//! A data set: a named part of what a tenant has. Who may read it at all is a rule (`open`); each of its items is asked for
//! besides (`view`).

use std::collections::BTreeSet;

use muster_items::{Attributes, ItemInfo};
use muster_schemas::DeviceId;

use crate::{
    limits::DATA_SET_NAMES_MAX,
    names::{InvalidAttributes, check_attributes, check_name},
};

/// Which items are in a data set. What is empty or none does not limit it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DataSet {
    /// Its name.
    pub name: String,
    /// Of these devices.
    pub devices: BTreeSet<DeviceId>,
    /// Of streams of these names.
    pub streams: BTreeSet<String>,
    /// With one of these texts for each of these attributes.
    pub attributes: Attributes,
    /// Captured at this time or later, in milliseconds since 1970.
    pub from_ms: Option<i64>,
    /// Captured before this time, in milliseconds since 1970.
    pub to_ms: Option<i64>,
}

impl DataSet {
    /// Whether it may be kept.
    ///
    /// # Errors
    /// Its name or its attributes cannot be such, or it names too much.
    pub fn check(&self) -> Result<(), InvalidAttributes> {
        check_name(&self.name)?;
        check_attributes(&self.attributes)?;
        let named = self.devices.len() + self.streams.len();
        if named > DATA_SET_NAMES_MAX { Err(InvalidAttributes::Many) } else { Ok(()) }
    }

    /// Whether an item is in it.
    pub fn has(&self, item: &ItemInfo) -> bool {
        let any_in_common = |(name, texts): (&String, &BTreeSet<String>)| {
            item.attributes.0.get(name).is_some_and(|theirs| !theirs.is_disjoint(texts))
        };
        (self.devices.is_empty() || self.devices.contains(&item.stream.device))
            && (self.streams.is_empty() || self.streams.contains(&item.stream.stream))
            && self.attributes.0.iter().all(any_in_common)
            // An item lies within if all of it does.
            && self.from_ms.is_none_or(|from| item.from_us >= from.saturating_mul(1_000))
            && self.to_ms.is_none_or(|to| item.to_us < to.saturating_mul(1_000))
    }
}
