//! What is asked of telemetry: reads on the caller's thread, and holds up nobody who stores. What is open is copied first
//! and the disk read after it, so that what is stored in between is seen twice and woven into one, and never missed.

use std::{collections::BTreeMap, fmt, ops::ControlFlow, sync::Arc};

use muster_broker::store::{Purpose, Sealer, Store, StoreError, TenantStore, Unsealable};
use muster_items::{
    Column, History, LastReading, Origin, Part, QueryRefusal, Rows, Selection, StreamId, View, Visit, day,
    sensitive::Rules, weave,
};
use muster_schemas::TenantId;

use super::{
    limits::{DAMAGE_NAMED_MAX, LAST_BLOCKS_MAX, WOVEN_ROWS_MAX},
    live::{Live, Tenant},
    store::{BLOCK, LAST, LAST_SENSITIVE, ReadingsError, SENSITIVE, Stored, TenantRows},
};

/// The rules of a tenant for what is sensitive; it does not wait.
pub type RulesOf = Arc<dyn Fn(&TenantId) -> Arc<Rules> + Send + Sync>;

/// The telemetry of all tenants, to be read. Cheap to clone; it blocks, so ask it on a thread that may.
#[derive(Clone)]
pub struct Archive {
    store: Store,
    rules: RulesOf,
    live: Live,
    /// Whose keys open what is another tenant's; if nobody is named, each tenant's own.
    reader: Option<TenantId>,
}

/// What one question reads of a tenant.
struct Reader<'a> {
    rows: TenantRows,
    live: Option<Tenant>,
    selection: &'a Selection,
    view: &'a View,
    /// What could not be read, and how much of it there was.
    damage: (Vec<String>, usize),
}

impl Archive {
    /// What is in `store`, with the built-in rules for what is sensitive.
    pub fn new(store: Store) -> Self {
        Self::with_rules(store, Arc::new(|_| Arc::default()))
    }

    /// What is in `store`.
    pub fn with_rules(store: Store, rules: RulesOf) -> Self {
        Self { store, rules, live: Live::default(), reader: None }
    }

    /// The same, as somebody of `reader` reads it: what is another tenant's is opened with what that one lends to this one,
    /// and with nothing else.
    #[must_use]
    pub fn read_by(&self, reader: &TenantId) -> Self {
        Self { reader: Some(reader.clone()), ..self.clone() }
    }

    /// Where the actor puts what is open.
    pub(super) fn live(&self) -> &Live {
        &self.live
    }

    /// What a tenant says now of what is sensitive.
    pub(super) fn rules(&self, tenant: &TenantId) -> Arc<Rules> {
        (self.rules)(tenant)
    }

    /// The rows of a tenant.
    pub(super) fn rows(&self, tenant: &TenantId) -> Result<TenantRows, QueryRefusal> {
        let keys = self.store.tenant(tenant).map_err(unavailable)?.ok_or(QueryRefusal::TenantUnknown)?;
        if keys.is_withdrawn() {
            return Err(QueryRefusal::KeyWithdrawn);
        }
        let sealer = match &self.reader {
            Some(reader) if reader != tenant => self.lent(&keys, reader)?,
            _ => keys.sealer(Purpose::Telemetry),
        };
        TenantRows::open(&self.store, keys, sealer, self.rules(tenant)).map_err(unavailable)
    }

    /// Opens what `lender` lends to somebody.
    fn lent(&self, lender: &TenantStore, borrower: &TenantId) -> Result<Sealer, QueryRefusal> {
        let borrower = self.store.tenant(borrower).map_err(unavailable)?.ok_or(QueryRefusal::NotLent)?;
        if borrower.is_withdrawn() {
            return Err(QueryRefusal::BorrowerKeyWithdrawn);
        }
        borrower.granted_sealer(lender, Purpose::Telemetry).map_err(|error| match error {
            StoreError::NotLent { .. } => QueryRefusal::NotLent,
            other => unavailable(other),
        })
    }

    fn reader<'a>(
        &self,
        tenant: &TenantId,
        selection: &'a Selection,
        view: &'a View,
    ) -> Result<Reader<'a>, QueryRefusal> {
        let (rows, live) = (self.rows(tenant)?, self.live.tenant(tenant));
        Ok(Reader { rows, live, selection, view, damage: (Vec::new(), 0) })
    }
}

impl History for Archive {
    fn streams(&self, tenant: &TenantId, selection: &Selection) -> Result<Vec<StreamId>, QueryRefusal> {
        self.reader(tenant, selection, &View::all())?.streams()
    }

    fn last(
        &self,
        tenant: &TenantId,
        selection: &Selection,
        view: &View,
        limit: usize,
    ) -> Result<(Vec<LastReading>, bool), QueryRefusal> {
        let mut reader = self.reader(tenant, selection, view)?;
        let mut last = Vec::new();
        for stream in reader.streams()? {
            let newest = reader.newest(&stream).map_err(refused)?;
            for (place, column) in newest.columns.iter().flat_map(|column| {
                (0..newest.times_us.len())
                    .filter(|place| column.values.is_there(*place))
                    .map(move |at| (at, column))
            }) {
                if last.len() == limit {
                    return Ok((last, true));
                }
                let Column { name, unit, values } = column;
                let column = Column { name: name.clone(), unit: unit.clone(), values: values.only(place) };
                let time_us = newest.times_us.get(place).copied().unwrap_or_default();
                last.push(LastReading { stream: stream.clone(), time_us, column });
            }
        }
        reader.finish().map(|()| (last, false))
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
        let mut reader = self.reader(tenant, selection, view)?;
        for stream in reader.streams()? {
            if reader.scan(&stream, visit).map_err(refused)?.is_break() {
                return Ok(());
            }
        }
        reader.finish()
    }
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Archive")
    }
}

impl Reader<'_> {
    fn streams(&self) -> Result<Vec<StreamId>, QueryRefusal> {
        let Selection { device, stream, .. } = self.selection;
        if let (Some(device), Some(stream)) = (device, stream) {
            let one = StreamId { device: device.clone(), stream: stream.clone() };
            let is_open = self.live.as_ref().is_some_and(|live| live.lock().knows(&one));
            let is_there = is_open || self.rows.has(&one).map_err(refused)?;
            return Ok(Vec::from_iter(is_there.then_some(one)));
        }
        if let Some(live) = &self.live {
            return Ok(live.lock().matching(device.as_ref(), stream.as_deref()).collect());
        }
        let wanted = |id: &StreamId| {
            device.as_ref().is_none_or(|device| *device == id.device)
                && stream.as_ref().is_none_or(|name| *name == id.stream)
        };
        let streams = self.rows.streams().map_err(refused)?;
        let mut streams: Vec<_> = streams.into_iter().map(|(stream, _)| stream).filter(wanted).collect();
        streams.sort();
        Ok(streams)
    }

    /// Tells of what could not be read.
    fn finish(self) -> Result<(), QueryRefusal> {
        let (named, count) = self.damage;
        if count == 0 {
            return Ok(());
        }
        let more =
            if count > named.len() { format!("; and {} more", count - named.len()) } else { String::new() };
        Err(QueryRefusal::Damaged(format!("{}{more}", named.join("; "))))
    }

    fn damaged(&mut self, what: impl FnOnce() -> String) {
        let (named, count) = &mut self.damage;
        *count += 1;
        if named.len() < DAMAGE_NAMED_MAX {
            named.push(what());
        }
    }

    /// Passes over what is damaged; an engine that cannot be read is another matter, and so is a key that was taken away.
    fn lost(&mut self, stream: &StreamId, stored: &Stored, why: ReadingsError) -> Result<(), ReadingsError> {
        match why {
            ReadingsError::Store(_) => Err(why),
            why if why.is_keyless() => Err(why),
            why => {
                let Stored { from_us, to_us, .. } = stored;
                self.damaged(|| format!("{} is lost from {from_us} to {to_us} us: {why}", said(stream)));
                Ok(())
            }
        }
    }

    fn is_wanted(&self, name: &str) -> bool {
        self.selection.names.is_empty() || self.selection.names.iter().any(|wanted| wanted == name)
    }

    /// What of the rows is asked for and may be shown.
    fn cut(&self, stream: &StreamId, mut rows: Rows) -> Rows {
        let columns = rows.columns.len();
        let rules = &self.rows.rules;
        rows.columns.retain(|column| {
            self.is_wanted(&column.name)
                && (self.view.sensitive || rules.class_of_column(&stream.stream, column).is_none())
        });
        let mut rows = rows.between(self.selection.from_us, self.selection.to_us);
        if rows.columns.len() < columns {
            rows.prune();
        }
        rows
    }

    /// What is open of a stream, or was when it began to go to the disk.
    fn open_parts(&self, stream: &StreamId) -> Vec<Part> {
        let mut all: Vec<(Origin, u64, Rows)> = Vec::new();
        if let Some(live) = &self.live {
            let filling = live.lock();
            for ended in filling.flushing.iter().filter(|ended| ended.stream == *stream) {
                let days = ended.days.iter().cloned();
                all.extend(days.map(|rows| (ended.origin.clone(), ended.last_sequence, rows)));
            }
            if let Some(open) = filling.open(stream) {
                let items = open.items().map(|item| (open.origin().clone(), u64::MAX, item.sorted()));
                all.extend(items);
            }
        }
        let mut parts = Vec::new();
        for (origin, number, rows) in all {
            let (Some(from_us), Some(to_us)) = (rows.times_us.first(), rows.times_us.last()) else {
                continue;
            };
            let item = origin.item(stream, *from_us, *to_us);
            if self.view.shows(&item) {
                parts.push(Part { item, number, rows: self.cut(stream, rows) });
            }
        }
        parts.retain(|part| !part.rows.is_empty());
        parts.sort_by_key(|part| part.item.from_us);
        parts
    }

    /// The part of a block that may be seen; none if it may not or is damaged.
    fn part(&mut self, stream: &StreamId, stored: &Stored) -> Result<Option<Part>, ReadingsError> {
        let block = match self.rows.block(stored) {
            Ok(block) => block,
            Err(why) => return self.lost(stream, stored, why).map(|()| None),
        };
        if !self.view.shows(block.item()) {
            return Ok(None);
        }
        match block.read(|heading| self.is_wanted(&heading.name)) {
            Ok(rows) => {
                let item = block.item().clone();
                let mut rows = self.cut(stream, rows);
                if rows.columns.len() < block.headings().len() {
                    rows.prune();
                }
                Ok(Some(Part { item, number: stored.number, rows }))
            }
            Err(why) => self.lost(stream, stored, why.into()).map(|()| None),
        }
    }

    fn scan(&mut self, stream: &StreamId, visit: Visit<'_>) -> Result<ControlFlow<()>, ReadingsError> {
        // What is open is in clear: it is shown to whom what is sealed opens, and to nobody else.
        self.rows.sealer.stands()?;
        let (from_us, to_us) = (self.selection.from_us, self.selection.to_us);
        let mut open = self.open_parts(stream).into_iter().peekable();
        let mut blocks = self.rows.blocks(BLOCK, stream, from_us, to_us).peekable();
        // Nobody who may not see them has these opened.
        let sensitive = self.view.sensitive.then(|| self.rows.blocks(SENSITIVE, stream, from_us, to_us));
        let mut sensitive = sensitive.into_iter().flatten().peekable();
        let mut days: BTreeMap<i64, [u32; 2]> = BTreeMap::new();
        let mut gathered: Vec<Part> = Vec::new();
        let (mut end_us, mut rows) = (i64::MIN, 0);
        loop {
            let begins = |next: Option<&Result<Stored, ReadingsError>>| {
                next.map(|stored| stored.as_ref().map_or(i64::MIN, |stored| stored.from_us))
            };
            let first =
                [begins(blocks.peek()), begins(sensitive.peek()), open.peek().map(|part| part.item.from_us)];
            let first = first.into_iter().enumerate().filter_map(|(which, at)| Some((at?, which))).min();
            let Some((_, which)) = first else { break };
            let stored = match which {
                0 => blocks.next(),
                1 => sensitive.next(),
                _ => None,
            };
            let part = match stored.transpose()? {
                None => open.next(),
                Some(stored) => {
                    if let Some(count) = days.entry(day(stored.from_us)).or_default().get_mut(which) {
                        *count += 1;
                    }
                    self.part(stream, &stored)?
                }
            };
            let Some(part) = part else { continue };
            if part.rows.is_empty() {
                continue;
            }
            if (part.item.from_us > end_us || rows > WOVEN_ROWS_MAX)
                && weave(std::mem::take(&mut gathered), visit).is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
            if gathered.is_empty() {
                rows = 0;
            }
            rows += part.rows.times_us.len();
            end_us = end_us.max(part.item.to_us);
            gathered.push(part);
        }
        let flow = weave(gathered, visit);
        if flow.is_continue() {
            self.miss(stream, &days)?;
        }
        Ok(flow)
    }

    /// Compares how many blocks there were with how many there have to be, for the days that were read whole.
    fn miss(&mut self, stream: &StreamId, seen: &BTreeMap<i64, [u32; 2]>) -> Result<(), ReadingsError> {
        let Selection { from_us, to_us, .. } = self.selection;
        // Blocks before the first time were passed over, and those after the last one too.
        let first = from_us.map_or(i64::MIN, |from| day(from).saturating_add(1));
        let last = to_us.map_or(i64::MAX, |to| day(to).saturating_sub(1));
        if first > last {
            return Ok(());
        }
        let counts: Vec<_> = self.rows.counts(stream, (first, last)).collect();
        for count in counts {
            let (day, count) = match count {
                Ok(count) => count,
                Err(error) if error.is_keyless() || matches!(error, ReadingsError::Store(_)) => {
                    return Err(error);
                }
                Err(error) => {
                    self.damaged(|| {
                        format!("how many items of {} there are on a day is lost: {error}", said(stream))
                    });
                    continue;
                }
            };
            let found = seen.get(&day).copied().unwrap_or_default();
            let kinds = if self.view.sensitive { 2 } else { 1 };
            for (count, found) in count.into_iter().zip(found).take(kinds) {
                if found < count {
                    let missing = count - found;
                    self.damaged(|| {
                        format!("{missing} of {count} items of {} are missing on day {day}", said(stream))
                    });
                }
            }
        }
        Ok(())
    }

    /// The newest value of each name that may be seen.
    fn newest(&mut self, stream: &StreamId) -> Result<Rows, ReadingsError> {
        self.rows.sealer.stands()?;
        let mut all: Vec<(u64, Rows)> =
            self.open_parts(stream).into_iter().map(|part| (part.number, part.rows.newest())).collect();
        let known = self.known_last(stream)?;
        if self.view.is_all() && self.selection.from_us.is_none() && self.selection.to_us.is_none() {
            all.extend(known.into_iter().map(|rows| (0, rows)));
        } else {
            all.extend(self.look_back(stream, &known)?);
        }
        all.sort_by_key(|(number, _)| *number);
        Ok(Rows::merged(all.iter().map(|(_, rows)| (&rows.times_us[..], &rows.columns[..]))).newest())
    }

    /// The newest values as they are kept.
    fn known_last(&self, stream: &StreamId) -> Result<Vec<Rows>, ReadingsError> {
        let kinds = if self.view.sensitive { &[LAST, LAST_SENSITIVE][..] } else { &[LAST] };
        let mut known = Vec::new();
        for kind in kinds {
            if let Some(mut rows) = self.rows.last(*kind, stream)? {
                let rules = &self.rows.rules;
                rows.columns.retain(|column| {
                    self.is_wanted(&column.name)
                        && (self.view.sensitive || rules.class_of_column(&stream.stream, column).is_none())
                });
                rows.prune();
                known.push(rows);
            }
        }
        Ok(known)
    }

    /// Looks through the blocks from behind for the newest values that may be seen of the names in `known`.
    fn look_back(&mut self, stream: &StreamId, known: &[Rows]) -> Result<Vec<(u64, Rows)>, ReadingsError> {
        let mut found: Vec<(u64, Rows)> = Vec::new();
        let kinds = if self.view.sensitive { &[BLOCK, SENSITIVE][..] } else { &[BLOCK] };
        for (kind, known) in kinds.iter().zip(known.iter().map(Some).chain(std::iter::repeat(None))) {
            let wanted = known.map_or(usize::MAX, |known| known.columns.len());
            let (from_us, to_us) = (self.selection.from_us, self.selection.to_us);
            let mut newest = Rows::default();
            for stored in self.rows.blocks(*kind, stream, from_us, to_us).rev().take(LAST_BLOCKS_MAX) {
                let stored = stored?;
                let oldest_us = newest.times_us.first().copied().unwrap_or(i64::MIN);
                if newest.columns.len() >= wanted && day(stored.to_us) < day(oldest_us) {
                    break;
                }
                if let Some(part) = self.part(stream, &stored)? {
                    let rows = part.rows.newest();
                    let parts = [&rows, &newest].map(|rows| (&rows.times_us[..], &rows.columns[..]));
                    newest = Rows::merged(parts).newest();
                }
            }
            found.push((0, newest));
        }
        Ok(found)
    }
}

/// A stream as it is called in an answer.
fn said(StreamId { device, stream }: &StreamId) -> String {
    format!("stream {stream} of device {device}")
}

/// What an answer says of what went wrong.
fn refused(error: ReadingsError) -> QueryRefusal {
    match error {
        ReadingsError::Sealed(Unsealable::Withdrawn) => QueryRefusal::KeyWithdrawn,
        ReadingsError::Sealed(Unsealable::BorrowerWithdrawn) => QueryRefusal::BorrowerKeyWithdrawn,
        ReadingsError::Sealed(Unsealable::Revoked) => QueryRefusal::NotLent,
        error => unavailable(error),
    }
}

pub(super) fn unavailable(error: impl fmt::Display) -> QueryRefusal {
    QueryRefusal::Unavailable(error.to_string())
}
