//! The question that every reader of telemetry asks, and who may be shown what.

use std::{fmt, ops::ControlFlow, sync::Arc};

use muster_schemas::{DeviceId, TenantId};

use crate::{Chunk, Column, ItemInfo, StreamId, query::TooWide};

/// Which readings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// Only of this device.
    pub device: Option<DeviceId>,
    /// Only of streams of this name.
    pub stream: Option<String>,
    /// Only of these SenML names; of all if there are none.
    pub names: Vec<String>,
    /// From this time on, in microseconds since 1970.
    pub from_us: Option<i64>,
    /// Before this time, in microseconds since 1970.
    pub to_us: Option<i64>,
}

/// Whether an item may be shown.
pub type ItemFilter = Arc<dyn Fn(&ItemInfo) -> bool + Send + Sync>;

/// Which items somebody may be shown. Made by the access rules for one question at one instant, and not kept.
#[derive(Clone)]
pub struct View {
    filter: Option<ItemFilter>,
    /// Whether fields that are classed as sensitive are shown; otherwise they are left out.
    pub sensitive: bool,
}

impl View {
    /// Everything that the tenant has.
    pub fn all() -> Self {
        Self { filter: None, sensitive: true }
    }

    /// Only the items that `filter` lets through.
    pub fn filtered(filter: ItemFilter, sensitive: bool) -> Self {
        Self { filter: Some(filter), sensitive }
    }

    /// Whether an item may be shown, and counted.
    pub fn shows(&self, item: &ItemInfo) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter(item))
    }

    /// Whether every item may be shown.
    pub fn is_all(&self) -> bool {
        self.filter.is_none()
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("all", &self.is_all()).field("sensitive", &self.sensitive).finish()
    }
}

/// The newest reading of one name.
#[derive(Debug, Clone, PartialEq)]
pub struct LastReading {
    /// Of which stream.
    pub stream: StreamId,
    /// When, in microseconds since 1970.
    pub time_us: i64,
    /// Name, unit and the one value.
    pub column: Column,
}

/// What a scan calls with every chunk; it may stop the scan.
pub type Visit<'a> = &'a mut dyn FnMut(&Chunk<'_>) -> ControlFlow<()>;

/// Reads the telemetry of tenants. Blocks; to be called on a thread that may.
pub trait History: Send + Sync {
    /// The streams that a selection touches, in order.
    ///
    /// # Errors
    /// There is no such tenant, or the store cannot be read.
    fn streams(&self, tenant: &TenantId, selection: &Selection) -> Result<Vec<StreamId>, QueryRefusal>;

    /// The newest reading of each name, by stream and name; at most `limit`, and whether there are more.
    ///
    /// # Errors
    /// There is no such tenant, or the store cannot be read.
    fn last(
        &self,
        tenant: &TenantId,
        selection: &Selection,
        view: &View,
        limit: usize,
    ) -> Result<(Vec<LastReading>, bool), QueryRefusal>;

    /// Calls `visit` with the selected readings, stream by stream, oldest first; a reading is shown once, whatever was
    /// delivered twice. Within a stream the chunks do not overlap in time unless their items differ in attributes.
    ///
    /// # Errors
    /// There is no such tenant, or the store cannot be read; what could be read was shown before.
    fn scan(
        &self,
        tenant: &TenantId,
        selection: &Selection,
        view: &View,
        visit: Visit<'_>,
    ) -> Result<(), QueryRefusal>;
}

/// Why a question is not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryRefusal {
    /// There is no such tenant.
    #[error("find the tenant")]
    TenantUnknown,
    /// The range ends before it begins.
    #[error("read a range that ends before it begins")]
    Order,
    /// No reading or too many at once.
    #[error("read {asked} readings at once: ask for 1 to {max}")]
    Limit {
        /// How many were asked for.
        asked: usize,
        /// How many may be.
        max: usize,
    },
    /// The cursor is not one that a page of this question ended with.
    #[error("go on from that cursor: pass the one that the page before gave")]
    Cursor,
    /// The tenant has withdrawn its key.
    #[error("open the tenant's data: its key was withdrawn")]
    KeyWithdrawn,
    /// Whoever asks is of another tenant, and that one has withdrawn its own key.
    #[error("open another tenant's data with a key that it lends: the own key of whoever asks was withdrawn")]
    BorrowerKeyWithdrawn,
    /// Whoever asks is of another tenant, which is lent no key, or no longer.
    #[error("open the tenant's data: it lends no key to whoever asks")]
    NotLent,
    /// A part of the history is damaged; the rest was shown.
    #[error("read a part of the history: {0}")]
    Damaged(String),
    /// The question would need more memory than one may have.
    #[error(transparent)]
    TooWide(#[from] TooWide),
    /// The store could not be read.
    #[error("read the telemetry store: {0}")]
    Unavailable(String),
}
