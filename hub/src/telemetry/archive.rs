//! What is asked of telemetry: reads on the caller's thread, and holds up nobody who stores.

use std::{fmt, ops::ControlFlow, sync::Arc};

use muster_broker::store::Store;
use muster_items::{
    Attributes, Chunk, History, ItemInfo, LastReading, OpenItem, QueryRefusal, Scalar, Selection, StreamId,
    View, Visit,
};
use muster_schemas::TenantId;

use super::{
    reading::{Reading, Value},
    store::TenantReadings,
};

/// Most rows of one chunk.
const CHUNK_ROWS_MAX: usize = 1_000;

/// The telemetry of all tenants, to be read. Cheap to clone; it blocks, so ask it on a thread that may.
#[derive(Clone)]
pub struct Archive {
    store: Store,
}

impl Archive {
    /// What is in `store`.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    fn tenant(&self, tenant: &TenantId) -> Result<TenantReadings, QueryRefusal> {
        let keys = self.store.tenant(tenant).map_err(unavailable)?.ok_or(QueryRefusal::TenantUnknown)?;
        TenantReadings::open(&self.store, keys).map_err(unavailable)
    }
}

impl History for Archive {
    fn streams(&self, tenant: &TenantId, selection: &Selection) -> Result<Vec<StreamId>, QueryRefusal> {
        let streams = self.tenant(tenant)?.streams().map_err(unavailable)?;
        let wanted = |stream: &super::StreamId| {
            selection.device.as_ref().is_none_or(|device| *device == stream.device)
                && selection.stream.as_ref().is_none_or(|name| *name == stream.stream)
        };
        let streams = streams.into_iter().filter(wanted);
        let mut streams: Vec<_> =
            streams.map(|stream| StreamId { device: stream.device, stream: stream.stream }).collect();
        streams.sort();
        Ok(streams)
    }

    fn last(
        &self,
        tenant: &TenantId,
        selection: &Selection,
        view: &View,
        limit: usize,
    ) -> Result<(Vec<LastReading>, bool), QueryRefusal> {
        let readings = self.tenant(tenant)?;
        let mut last = Vec::new();
        for stream in self.streams(tenant, selection)? {
            for reading in readings.last_of(&old(&stream)).map_err(unavailable)? {
                let time_us = reading.time_us();
                if !is_wanted(selection, &reading) || !view.shows(&info(&stream, time_us, time_us)) {
                    continue;
                }
                if last.len() == limit {
                    return Ok((last, true));
                }
                let mut item = OpenItem::default();
                add(&mut item, &reading);
                last.extend(item.into_rows().columns.into_iter().map(|column| LastReading {
                    stream: stream.clone(),
                    time_us,
                    column,
                }));
            }
        }
        Ok((last, false))
    }

    fn scan(
        &self,
        tenant: &TenantId,
        selection: &Selection,
        view: &View,
        visit: Visit<'_>,
    ) -> Result<(), QueryRefusal> {
        if let (Some(from), Some(to)) = (selection.from_us, selection.to_us)
            && from > to
        {
            return Err(QueryRefusal::Order);
        }
        let readings = self.tenant(tenant)?;
        for stream in self.streams(tenant, selection)? {
            let mut item = OpenItem::default();
            for reading in readings.rows(&old(&stream), selection.from_us, selection.to_us) {
                let reading = reading.map_err(unavailable)?;
                if !is_wanted(selection, &reading) {
                    continue;
                }
                let is_next = item.bounds_us().is_some_and(|(_, last)| last < reading.time_us());
                if is_next
                    && item.rows() >= CHUNK_ROWS_MAX
                    && show(&stream, std::mem::take(&mut item), view, visit).is_break()
                {
                    return Ok(());
                }
                add(&mut item, &reading);
            }
            if show(&stream, item, view, visit).is_break() {
                return Ok(());
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Archive")
    }
}

fn is_wanted(selection: &Selection, reading: &Reading) -> bool {
    selection.names.is_empty() || selection.names.contains(&reading.name)
}

fn add(item: &mut OpenItem, reading: &Reading) {
    let value = match &reading.value {
        Value::Number(number) => Scalar::Number(*number),
        Value::Text(text) => Scalar::Text(text),
        Value::Bool(value) => Scalar::Bool(*value),
    };
    item.add(reading.time_us(), reading.name.as_str().into(), reading.unit.as_deref(), value);
}

fn show(stream: &StreamId, item: OpenItem, view: &View, visit: Visit<'_>) -> ControlFlow<()> {
    let Some((from_us, to_us)) = item.bounds_us() else { return ControlFlow::Continue(()) };
    let info = info(stream, from_us, to_us);
    if !view.shows(&info) {
        return ControlFlow::Continue(());
    }
    let rows = item.into_rows();
    visit(&Chunk { item: &info, times_us: &rows.times_us, columns: &rows.columns })
}

fn info(stream: &StreamId, from_us: i64, to_us: i64) -> ItemInfo {
    let attributes = Arc::new(Attributes::default());
    ItemInfo { stream: stream.clone(), from_us, to_us, attributes, cell: None, signer: None, hash: None }
}

fn old(stream: &StreamId) -> super::StreamId {
    super::StreamId { device: stream.device.clone(), stream: stream.stream.clone() }
}

fn unavailable(error: impl fmt::Display) -> QueryRefusal {
    QueryRefusal::Unavailable(error.to_string())
}
