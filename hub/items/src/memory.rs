//! A history in memory, for tests of what reads histories: chunks as they were put in, filtered.

use std::ops::ControlFlow;

use muster_schemas::TenantId;

use crate::{
    Chunk, Column, History, ItemInfo, LastReading, QueryRefusal, Selection, StreamId, Values, View, Visit,
    query::Kind,
};

/// The items of one tenant.
#[derive(Debug, Clone)]
pub struct Memory {
    /// Whose they are.
    pub tenant: TenantId,
    /// Items with their times and columns, by stream and first time.
    pub items: Vec<(ItemInfo, Vec<i64>, Vec<Column>)>,
}

impl Memory {
    fn check(&self, tenant: &TenantId, selection: &Selection) -> Result<(), QueryRefusal> {
        if *tenant != self.tenant {
            return Err(QueryRefusal::TenantUnknown);
        }
        match (selection.from_us, selection.to_us) {
            (Some(from), Some(to)) if from > to => Err(QueryRefusal::Order),
            _ => Ok(()),
        }
    }
}

fn selects(selection: &Selection, stream: &StreamId) -> bool {
    selection.device.as_ref().is_none_or(|device| *device == stream.device)
        && selection.stream.as_ref().is_none_or(|name| *name == stream.stream)
}

impl History for Memory {
    fn streams(&self, tenant: &TenantId, selection: &Selection) -> Result<Vec<StreamId>, QueryRefusal> {
        self.check(tenant, selection)?;
        let of = self.items.iter().map(|(item, ..)| item.stream.clone());
        let mut streams: Vec<StreamId> = of.filter(|stream| selects(selection, stream)).collect();
        streams.sort();
        streams.dedup();
        Ok(streams)
    }

    fn last(
        &self,
        tenant: &TenantId,
        selection: &Selection,
        view: &View,
        limit: usize,
    ) -> Result<(Vec<LastReading>, bool), QueryRefusal> {
        let mut all: Vec<LastReading> = Vec::new();
        self.scan(tenant, selection, view, &mut |chunk| {
            for column in chunk.columns {
                let there = |place: &usize| column.values.value_at(*place).is_some();
                let Some(place) = (0..chunk.times_us.len()).rev().find(there) else { continue };
                let mut values = Values::nothing(Kind::of(&column.values), 1);
                values.put(0, &column.values, place);
                let column = Column { name: column.name.clone(), unit: column.unit.clone(), values };
                let time_us = chunk.times_us.get(place).copied().unwrap_or_default();
                let stream = chunk.item.stream.clone();
                all.retain(|known| known.stream != stream || known.column.name != column.name);
                all.push(LastReading { stream, time_us, column });
            }
            ControlFlow::Continue(())
        })?;
        all.sort_by(|a, b| (&a.stream, &a.column.name).cmp(&(&b.stream, &b.column.name)));
        let more = all.len() > limit;
        all.truncate(limit);
        Ok((all, more))
    }

    fn scan(
        &self,
        tenant: &TenantId,
        selection: &Selection,
        view: &View,
        visit: Visit<'_>,
    ) -> Result<(), QueryRefusal> {
        self.check(tenant, selection)?;
        for (item, times, columns) in &self.items {
            if !selects(selection, &item.stream) || !view.shows(item) {
                continue;
            }
            let from = selection.from_us.map_or(0, |from| times.partition_point(|time| *time < from));
            let to = selection.to_us.map_or(times.len(), |to| times.partition_point(|time| *time < to));
            let named =
                |column: &&Column| selection.names.is_empty() || selection.names.contains(&column.name);
            let columns: Vec<Column> = columns
                .iter()
                .filter(named)
                .map(|column| {
                    let mut values = column.values.clone();
                    values.split_off(to);
                    Column { values: values.split_off(from), ..column.clone() }
                })
                .collect();
            let Some(times_us) = times.get(from..to).filter(|times| !times.is_empty()) else { continue };
            if !columns.is_empty() && visit(&Chunk { item, times_us, columns: &columns }).is_break() {
                return Ok(());
            }
        }
        Ok(())
    }
}
