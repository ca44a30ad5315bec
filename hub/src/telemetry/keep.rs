//! How long telemetry is kept: the tenant's rules, and what is written when something is old. A day of one stream at a time.

use std::collections::BTreeMap;

use muster_broker::store::Write;
use muster_items::{
    Origin, Rows, StreamId, day, day_begins_us,
    retention::{Coarse, Keep, Retention, coarse},
};
use muster_schemas::api::{self, KeepStreams};

use super::{
    limits::{KEEP_DELETES_MAX, KEEP_RULES_MAX, STREAM_BYTES_MAX},
    reading::MalformedRow,
    store::{BLOCK, LAST, LAST_SENSITIVE, ReadingsError, SENSITIVE, TenantRows},
};

const RULES: u8 = b'o';
/// The first day of a stream that is not in the coarse yet.
const COARSE_TO: u8 = b'd';

/// Why rules are not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRetention {
    /// Too many.
    #[error("keep more than {KEEP_RULES_MAX} rules")]
    TooMany,
    /// A rule that is none.
    #[error(
        "take the rule for {0:?}: it needs a name of a stream, days of 1 to 36,500, seconds of 1 to 86,400, and coarse days \
         only with `every_s` and not below `full_days`"
    )]
    Rule(String),
}

/// Rules as they came, checked.
pub(super) fn checked(body: &api::Retention) -> Result<Retention, InvalidRetention> {
    if body.rules.len() > KEEP_RULES_MAX {
        return Err(InvalidRetention::TooMany);
    }
    let keep = |rule: &KeepStreams| {
        let KeepStreams { streams, full_days, every_s, coarse_days } = rule;
        let days = |days: &Option<u32>| days.is_none_or(|days| (1..=36_500).contains(&days));
        let fits = !streams.is_empty()
            && streams.len() <= STREAM_BYTES_MAX
            && days(full_days)
            && days(coarse_days)
            && every_s.is_none_or(|every_s| (1..=86_400).contains(&every_s) && full_days.is_some())
            && coarse_days.is_none_or(|days| every_s.is_some() && full_days.is_some_and(|full| full <= days));
        let coarse = every_s.map(|every_s| Coarse { every_s, days: *coarse_days });
        fits.then(|| Keep { streams: streams.clone(), full_days: *full_days, coarse })
            .ok_or_else(|| InvalidRetention::Rule(streams.clone()))
    };
    body.rules.iter().map(keep).collect::<Result<_, _>>().map(Retention)
}

/// The rules of a tenant; none were set if there is no row.
pub(super) fn rules(rows: &TenantRows) -> Result<api::Retention, ReadingsError> {
    match rows.row(&rows.key(RULES, &[]))? {
        None => Ok(api::Retention::default()),
        Some(bytes) => Ok(serde_json::from_slice(&bytes).map_err(|_| MalformedRow)?),
    }
}

/// What to write for the rules.
pub(super) fn rules_write(rows: &TenantRows, body: &api::Retention) -> Write {
    let bytes = serde_json::to_vec(body).unwrap_or_default();
    rows.put(rows.key(RULES, &[]), &bytes)
}

/// The next writes that keep a stream within its rule on that day; none when it is.
pub(super) fn tidy(
    rows: &TenantRows,
    stream: &StreamId,
    keep: &Keep,
    today: i64,
) -> Result<Vec<Write>, ReadingsError> {
    if let Some(first) = keep.first_day(today) {
        let writes = forget(rows, stream, first)?;
        if !writes.is_empty() {
            return Ok(writes);
        }
    }
    match keep.first_full_day(today) {
        Some((first, of)) => thin_out(rows, stream, first, of),
        None => Ok(Vec::new()),
    }
}

/// Removes what is before a day.
fn forget(rows: &TenantRows, stream: &StreamId, first: i64) -> Result<Vec<Write>, ReadingsError> {
    let mut writes = Vec::new();
    for kind in [BLOCK, SENSITIVE] {
        let old = rows.blocks(kind, stream, None, Some(day_begins_us(first))).take(KEEP_DELETES_MAX);
        for stored in old {
            writes.push(rows.delete(stored?.key()));
        }
    }
    if writes.is_empty() {
        return Ok(writes);
    }
    if writes.len() < KEEP_DELETES_MAX {
        // All of them: with the last one go their counts, and last values that would be all that is left.
        for count in rows.counts(stream, (i64::MIN, first.saturating_sub(1))) {
            writes.push(rows.delete(&rows.count_key(stream, count?.0)));
        }
        let mut left = rows.blocks(BLOCK, stream, Some(day_begins_us(first)), None);
        let mut sensitive = rows.blocks(SENSITIVE, stream, Some(day_begins_us(first)), None);
        if left.next().is_none() && sensitive.next().is_none() {
            writes.extend([LAST, LAST_SENSITIVE].map(|kind| rows.delete(&rows.stream_key(kind, stream))));
        }
    } else {
        // A part of the days is gone, and they must not be missed.
        for count in rows.counts(stream, (i64::MIN, first.saturating_sub(1))) {
            writes.push(rows.count_write(stream, count?.0, [0; 2]));
        }
    }
    Ok(writes)
}

/// Puts the first day that is before `first` and not thinned out yet into the coarse.
fn thin_out(
    rows: &TenantRows,
    stream: &StreamId,
    first: i64,
    of: Coarse,
) -> Result<Vec<Write>, ReadingsError> {
    let done = match rows.row(&rows.stream_key(COARSE_TO, stream))? {
        None => i64::MIN,
        Some(bytes) => i64::from_be_bytes(bytes.try_into().map_err(|_| MalformedRow)?),
    };
    if done >= first {
        return Ok(Vec::new());
    }
    let begin = (done > i64::MIN).then(|| day_begins_us(done));
    let mut next: Option<i64> = None;
    for kind in [BLOCK, SENSITIVE] {
        if let Some(stored) = rows.blocks(kind, stream, begin, Some(day_begins_us(first))).next() {
            let at = day(stored?.from_us);
            next = Some(next.map_or(at, |next| next.min(at)));
        }
    }
    let mut writes = Vec::new();
    if let Some(at) = next {
        let mut count = [0_u32; 2];
        for (kind, count) in [BLOCK, SENSITIVE].into_iter().zip(&mut count) {
            for (origin, number, thinned) in thinned(rows, (kind, stream), at, of, &mut writes, count)? {
                writes.push(rows.block_write(kind, (stream, &origin), number, &thinned)?);
                *count += 1;
            }
        }
        writes.push(rows.count_write(stream, at, count));
    }
    let done = next.map_or(first, |at| at + 1);
    writes.push(rows.put(rows.stream_key(COARSE_TO, stream), &done.to_be_bytes()));
    Ok(writes)
}

/// The rows of a day in the coarse, by origin. A block that does not open stays as it is.
fn thinned(
    rows: &TenantRows,
    (kind, stream): (u8, &StreamId),
    at: i64,
    of: Coarse,
    writes: &mut Vec<Write>,
    kept: &mut u32,
) -> Result<Vec<(Origin, u64, Rows)>, ReadingsError> {
    let mut parts: BTreeMap<u64, Vec<(Origin, Rows)>> = BTreeMap::new();
    for stored in rows.blocks(kind, stream, Some(day_begins_us(at)), Some(day_begins_us(at + 1))) {
        let stored = stored?;
        let whole = rows.block(&stored).ok().and_then(|block| Some((block.read(|_| true).ok()?, block)));
        let Some((part, block)) = whole else {
            *kept += 1;
            continue;
        };
        let item = block.item();
        let origin =
            Origin { attributes: item.attributes.clone(), cell: item.cell.clone(), signer: item.signer };
        writes.push(rows.delete(stored.key()));
        parts.entry(stored.number).or_default().push((origin, part));
    }
    let mut all: Vec<(Origin, u64, Vec<Rows>)> = Vec::new();
    for (number, parts) in parts {
        for (origin, part) in parts {
            match all.iter_mut().find(|(known, ..)| *known == origin) {
                Some((_, last, parts)) => {
                    *last = number;
                    parts.push(part);
                }
                None => all.push((origin, number, vec![part])),
            }
        }
    }
    let thin = |parts: Vec<Rows>| {
        let parts = parts.iter().map(|rows| (&rows.times_us[..], &rows.columns[..]));
        coarse(&Rows::merged(parts), of.every_s)
    };
    Ok(all.into_iter().map(|(origin, number, parts)| (origin, number, thin(parts))).collect())
}
