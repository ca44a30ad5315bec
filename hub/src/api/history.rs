//! `/api/v1/tenants/{tenant}/telemetry`: history, for whom the access rules show it. Pages of JSON, lines, and files.

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        StatusCode,
        header::{self, HeaderMap},
    },
    web::{Data, Path, Query},
};
use muster_exports::{
    ExportError, Format, Layout, Plan, Question,
    pages::{self, PageSize},
};
use muster_items::{QueryRefusal, Selection, View};
use muster_schemas::TenantId;
use tokio::sync::oneshot;

use super::{
    Api,
    asked::{About, Asked, Verb, Wanted},
    caller::Caller,
    error::ApiError,
    life::Watched,
    pieces::Pieces,
};
use crate::{
    history::{Busy, Part, Pipe, limits::PAGE_BYTES_MAX},
    telemetry::Archive,
};

/// How many rows a file has, told before it comes.
const ROWS_HEADER: &str = "muster-rows";
/// What is damaged and not in a file.
const DAMAGED_HEADER: &str = "muster-damaged";

/// Each verb: what is asked stands at the end of the path.
pub(super) async fn ask(
    api: Data<Api>,
    caller: Caller,
    tenant: Path<TenantId>,
    query: Query<Asked>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let verb = request.path().rsplit('/').next().and_then(Verb::named);
    let verb =
        verb.ok_or_else(|| ApiError::malformed("nothing was read", "no such question", "see docs/api.md"))?;
    answer(api, &caller, tenant.into_inner(), query.into_inner().of(verb)?, request).await
}

async fn answer(
    api: Data<Api>,
    caller: &Caller,
    tenant: TenantId,
    wanted: Wanted,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let view = api.view_within(caller, &tenant, wanted.data_set.as_deref(), api.now_ms())?;
    let shown = api.shown_to(caller, tenant, view);
    match wanted.about {
        About::Export(format, layout) if format != Format::Ndjson => {
            file(&api, shown, wanted, (format, layout), request).await
        }
        About::Export(..) => lines(&api, shown, wanted, request).await,
        _ if wanted.is_lines => lines(&api, shown, wanted, request).await,
        _ => {
            let json = api.page(shown, wanted, PAGE_BYTES_MAX).await?;
            Ok(HttpResponse::Ok().content_type("application/json").body(json))
        }
    }
}

/// What somebody may be shown, opened with the keys of his own tenant.
pub(super) struct Shown {
    history: Archive,
    /// Whose question it is: it takes one of the places of this tenant, and none of those whose data it is.
    reader: TenantId,
    tenant: TenantId,
    view: View,
}

impl Shown {
    fn question<'a>(&'a self, selection: &'a Selection) -> Question<'a> {
        let Self { history, tenant, view, .. } = self;
        Question { history, tenant, selection, view }
    }
}

impl Api {
    /// What of a tenant's history `view` shows to somebody. What is another tenant's is opened with the keys that it lends
    /// to his.
    pub(super) fn shown_to(&self, caller: &Caller, tenant: TenantId, view: View) -> Shown {
        let reader = caller.principal().tenant.clone();
        Shown { history: self.archive.read_by(&reader), reader, tenant, view }
    }

    /// A page of JSON, worked out where it may block.
    pub(super) async fn page(
        &self,
        shown: Shown,
        wanted: Wanted,
        bytes_max: usize,
    ) -> Result<Vec<u8>, ApiError> {
        let reader = shown.reader.clone();
        let read = move || page_of(&shown, &wanted, bytes_max);
        Ok(self.readers.answer(&reader, read).await??)
    }
}

fn page_of(shown: &Shown, wanted: &Wanted, bytes_max: usize) -> Result<Vec<u8>, QueryRefusal> {
    let Wanted { selection, about, entries, cursor, .. } = wanted;
    let question = shown.question(selection);
    let (size, cursor) = (PageSize::new(*entries, bytes_max)?, cursor.as_deref());
    let json = match about {
        About::Last => serde_json::to_vec(&pages::last(question, size)?),
        About::Range | About::Export(..) => serde_json::to_vec(&pages::range(question, size, cursor)?),
        About::Downsample(windows) => {
            serde_json::to_vec(&pages::downsample(question, *windows, size, cursor)?)
        }
        About::Aggregate(grouping) => {
            serde_json::to_vec(&pages::aggregate(question, grouping, size, cursor)?)
        }
    };
    json.map_err(|error| QueryRefusal::Unavailable(error.to_string()))
}

/// A line of JSON for each reading, window or group. What goes wrong before the first is a refusal; damage is told in a
/// last line, after all that could be read.
async fn lines(
    api: &Api,
    shown: Shown,
    wanted: Wanted,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let reader = shown.reader.clone();
    let mut pieces = api.readers.write(&reader, move |mut pipe| {
        let Wanted { selection, about, .. } = &wanted;
        let question = shown.question(selection);
        let outcome = match about {
            About::Downsample(windows) => pages::downsample_lines(question, *windows, &mut pipe),
            About::Aggregate(grouping) => pages::aggregate_lines(question, grouping, &mut pipe),
            About::Last | About::Range | About::Export(..) => {
                let plan = Plan::new(question, Format::Ndjson, Layout::Long);
                plan.and_then(|plan| plan.write(question, &mut pipe))
            }
        };
        let outcome = match outcome {
            Err(ExportError::History(refusal @ QueryRefusal::Damaged(_))) => {
                last_line(&mut pipe, &ApiError::from(refusal))
            }
            outcome => outcome,
        };
        pipe.end(outcome);
    })?;
    let first = pieces.recv().await.transpose()?;
    let body = Pieces::new(first, pieces, None, Watched::new(request));
    Ok(HttpResponse::Ok().content_type(Format::Ndjson.media_type()).body(body))
}

fn last_line(pipe: &mut Pipe, error: &ApiError) -> Result<(), ExportError> {
    let mut line = serde_json::to_vec(&error.body()).unwrap_or_default();
    line.push(b'\n');
    Ok(std::io::Write::write_all(pipe, &line)?)
}

/// A file. It is looked at before the answer begins, so that what cannot be written is a refusal and no half file.
async fn file(
    api: &Api,
    shown: Shown,
    wanted: Wanted,
    (format, layout): (Format, Layout),
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let name = file_name(&wanted, format);
    let headers = request.headers().clone();
    let reader = shown.reader.clone();
    let (tell, told) = oneshot::channel();
    let mut pieces = api.readers.write(&reader, move |mut pipe| {
        let question = shown.question(&wanted.selection);
        let plan = match Plan::new(question, format, layout) {
            Ok(plan) => plan,
            Err(error) => return pipe.end(Err(error)),
        };
        let part = Wish::of(&headers, &plan, question);
        if let Wish::Part(part) = part {
            pipe.only(part);
        }
        let is_refused = part == Wish::Nowhere;
        if tell.send((plan.clone(), plan.tag(question), part)).is_err() || is_refused {
            return pipe.end(Ok(()));
        }
        let outcome = plan.write(question, &mut pipe);
        pipe.end(outcome);
    })?;
    let Ok((plan, tag, part)) = told.await else {
        // It told nothing because it failed, and said how.
        let refused = pieces.recv().await.and_then(Result::err);
        return Err(refused.map_or_else(|| ApiError::unavailable("the telemetry store"), ApiError::from));
    };
    let mut response = HttpResponse::build(part.status());
    response.content_type(format.media_type());
    response.insert_header((header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")));
    response.insert_header((ROWS_HEADER, plan.survey().rows.to_string()));
    if let Some(damage) = &plan.survey().damage {
        let plain: String = damage.chars().map(|c| if (' '..='~').contains(&c) { c } else { '?' }).collect();
        response.insert_header((DAMAGED_HEADER, plain));
    }
    let mut length = plan.length();
    if let Some(whole) = length {
        response.insert_header((header::ACCEPT_RANGES, "bytes"));
        response.insert_header((header::ETAG, format!("\"{tag}\"")));
        match part {
            Wish::Part(Part { skipped, length: part }) => {
                let last = skipped.saturating_add(part).saturating_sub(1);
                let range = format!("bytes {skipped}-{last}/{whole}");
                response.insert_header((header::CONTENT_RANGE, range));
                length = Some(part);
            }
            Wish::Nowhere => {
                response.insert_header((header::CONTENT_RANGE, format!("bytes */{whole}")));
                return Ok(response.finish());
            }
            Wish::Whole => {}
        }
    }
    Ok(response.body(Pieces::new(None, pieces, length, Watched::new(request))))
}

/// Which part of a file is wanted (RFC 9110 §14).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Whole,
    Part(Part),
    /// A part that lies behind its end.
    Nowhere,
}

impl Wish {
    /// Only files whose length is known before have parts. Several at once, and what is not understood, are the whole
    /// (§14.2); so is a part of a file that was another (§13.1.5).
    fn of(headers: &HeaderMap, plan: &Plan, question: Question<'_>) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let (Some(whole), Some(range)) = (plan.length(), text(header::RANGE)) else { return Self::Whole };
        if text(header::IF_RANGE).is_some_and(|tag| tag != format!("\"{}\"", plan.tag(question))) {
            return Self::Whole;
        }
        Self::parse(range, whole).unwrap_or(Self::Whole)
    }

    fn parse(range: &str, whole: u64) -> Option<Self> {
        let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
        let (skipped, end) = match (first, last) {
            ("", last) => (whole.saturating_sub(last.parse().ok()?), whole),
            (first, "") => (first.parse().ok()?, whole),
            (first, last) => {
                let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
                if last < first {
                    return None;
                }
                (first, last.saturating_add(1).min(whole))
            }
        };
        match end.checked_sub(skipped) {
            Some(length @ 1..) => Some(Self::Part(Part { skipped, length })),
            _ => Some(Self::Nowhere),
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::Whole => StatusCode::OK,
            Self::Part(_) => StatusCode::PARTIAL_CONTENT,
            Self::Nowhere => StatusCode::RANGE_NOT_SATISFIABLE,
        }
    }
}

fn file_name(wanted: &Wanted, format: Format) -> String {
    let device = wanted.selection.device.as_ref().map(ToString::to_string);
    let named: Vec<String> = device.into_iter().chain(wanted.selection.stream.clone()).collect();
    let name = if named.is_empty() { "telemetry".to_owned() } else { named.join("-") };
    let plain = name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' });
    format!("{}.{format}", plain.collect::<String>())
}

impl From<QueryRefusal> for ApiError {
    fn from(refusal: QueryRefusal) -> Self {
        let (status, code, next) = match &refusal {
            QueryRefusal::TenantUnknown => {
                (StatusCode::NOT_FOUND, "tenant_unknown", "check the tenant's name")
            }
            QueryRefusal::Order => (StatusCode::BAD_REQUEST, "range", "let `from_ms` be before `to_ms`"),
            QueryRefusal::Limit { .. } => {
                (StatusCode::BAD_REQUEST, "limit", "ask for fewer and go on with the cursor")
            }
            QueryRefusal::Cursor => {
                (StatusCode::BAD_REQUEST, "cursor", "pass `next_cursor` as it came, with the same question")
            }
            QueryRefusal::TooWide(_) => (
                StatusCode::BAD_REQUEST,
                "too_wide",
                "ask for a shorter time, longer windows, fewer groups, or without percentiles",
            ),
            QueryRefusal::KeyWithdrawn => (
                StatusCode::LOCKED,
                "key_withdrawn",
                "let the tenant give its key back; until then nobody reads its data",
            ),
            QueryRefusal::BorrowerKeyWithdrawn => (
                StatusCode::LOCKED,
                "key_withdrawn",
                "give your own tenant's key back; until then it opens nothing that others share either",
            ),
            QueryRefusal::NotLent => {
                (StatusCode::FORBIDDEN, "not_lent", "ask the tenant to share the data set again")
            }
            QueryRefusal::Damaged(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "damaged", "restore that part from a backup")
            }
            QueryRefusal::Unavailable(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "try again in a moment")
            }
        };
        Self::new(status, code, "the telemetry store refused", format!("failed to {refusal}"), next)
    }
}

impl From<ExportError> for ApiError {
    fn from(error: ExportError) -> Self {
        let (status, code, next) = match error {
            ExportError::History(refusal) => return refusal.into(),
            ExportError::Columns { .. } => {
                (StatusCode::BAD_REQUEST, "columns", "name those that you want, or ask for `layout=long`")
            }
            ExportError::OneStream => {
                (StatusCode::BAD_REQUEST, "one_stream", "name both, or ask for `layout=long`")
            }
            ExportError::NoNumbers => {
                (StatusCode::BAD_REQUEST, "no_numbers", "ask for another time, or for another format")
            }
            ExportError::FootTooLong => {
                (StatusCode::BAD_REQUEST, "too_long", "ask for a part of it, or for `format=arrow`")
            }
            ExportError::Changed => (StatusCode::CONFLICT, "changed", "ask again"),
            ExportError::Io(_) | ExportError::Encode(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "export", "try again; the hub's log may say more")
            }
        };
        Self::new(status, code, "the export was not made", format!("failed to {error}"), next)
    }
}

impl From<Busy> for ApiError {
    fn from(busy: Busy) -> Self {
        let next = "try again when another of your questions or exports has ended";
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            "the question was not answered",
            busy.to_string(),
            next,
        )
    }
}

const _: fn(Arc<Api>) = |api| {
    // Questions come from sessions on other threads.
    fn is_shared<T: Send + Sync>(_: &T) {}
    is_shared(&api);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_bytes_is_a_part_the_whole_or_nowhere() {
        let part = |skipped, length| Some(Wish::Part(Part { skipped, length }));
        for (range, expected) in [
            ("bytes=0-0", part(0, 1)),
            ("bytes=10-19", part(10, 10)),
            ("bytes=90-", part(90, 10)),
            ("bytes=90-200", part(90, 10)),
            ("bytes=-5", part(95, 5)),
            ("bytes=-500", part(0, 100)),
            ("bytes=100-", Some(Wish::Nowhere)),
            ("bytes=-0", Some(Wish::Nowhere)),
            ("bytes=5-4", None),
            ("bytes=0-1,5-6", None),
            ("rows=0-1", None),
            ("bytes=18446744073709551615-", Some(Wish::Nowhere)),
            ("bytes=0-18446744073709551615", part(0, 100)),
        ] {
            assert_eq!(Wish::parse(range, 100), expected, "{range}");
        }
    }
}
