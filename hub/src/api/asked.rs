//! What can be asked of history, and with which parameters: the same over HTTPS and MQTT.

use muster_exports::{
    Format, Layout,
    pages::{Grouping, PageSize, Windows},
};
use muster_items::{QueryRefusal, Selection};
use muster_schemas::{DeviceId, TenantId};
use serde::Deserialize;

use super::error::ApiError;
use crate::history::limits::PAGE_ENTRIES;

/// Every parameter that some question has.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Asked {
    /// Whose telemetry, where no path says it: over MQTT, for what another tenant shares.
    pub(super) tenant: Option<TenantId>,
    /// Only of this device.
    device: Option<DeviceId>,
    /// Only of streams of this name.
    stream: Option<String>,
    /// Only of this data set.
    dataset: Option<String>,
    /// Only of these SenML names, with commas between them.
    names: Option<String>,
    /// From this time on, in milliseconds since 1970.
    from_ms: Option<i64>,
    /// Before this time, in milliseconds since 1970.
    to_ms: Option<i64>,
    /// Most entries of the page.
    limit: Option<usize>,
    /// Where the page before ended.
    cursor: Option<String>,
    /// The length of windows, in milliseconds.
    window_ms: Option<u64>,
    /// Whether percentiles are told.
    percentiles: Option<bool>,
    /// What is grouped by, with commas.
    by: Option<String>,
    /// `ndjson` for lines instead of a page; the kind of file of an export.
    format: Option<String>,
    /// `wide` or `long`.
    layout: Option<String>,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Last,
    Range,
    Downsample,
    Aggregate,
    Export,
}

/// A question that can be answered.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) selection: Selection,
    pub(super) about: About,
    /// Only of this data set.
    pub(super) data_set: Option<String>,
    /// Of a page.
    pub(super) entries: usize,
    pub(super) cursor: Option<String>,
    /// Whether all is wanted as lines, instead of a page.
    pub(super) is_lines: bool,
}

#[derive(Debug, Clone)]
pub(super) enum About {
    Last,
    Range,
    Downsample(Windows),
    Aggregate(Grouping),
    Export(Format, Layout),
}

impl Verb {
    const ALL: [Self; 5] = [Self::Last, Self::Range, Self::Downsample, Self::Aggregate, Self::Export];

    /// By its name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.as_str() == name)
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::Range => "range",
            Self::Downsample => "downsample",
            Self::Aggregate => "aggregate",
            Self::Export => "export",
        }
    }

    /// The parameters that it does not take.
    fn refuses(self) -> &'static [&'static str] {
        match self {
            Self::Last => {
                &["from_ms", "to_ms", "cursor", "window_ms", "percentiles", "by", "format", "layout"]
            }
            Self::Range => &["window_ms", "percentiles", "by", "layout"],
            Self::Downsample => &["by", "layout"],
            Self::Aggregate => &["layout"],
            Self::Export => &["limit", "cursor", "window_ms", "percentiles", "by"],
        }
    }
}

impl Asked {
    /// What that is, of this verb.
    pub(super) fn of(self, verb: Verb) -> Result<Wanted, ApiError> {
        self.check(verb)?;
        let data_set = self.dataset.clone();
        let Self { device, stream, names, from_ms, to_ms, limit, cursor, .. } = self;
        let us = |ms: i64| ms.saturating_mul(1_000);
        let is_one_stream = device.is_some() && stream.is_some();
        let selection = Selection {
            device,
            stream,
            names: list(names.as_deref()),
            from_us: from_ms.map(us),
            to_us: to_ms.map(us),
        };
        if let (Some(from), Some(to)) = (selection.from_us, selection.to_us)
            && from > to
        {
            return Err(QueryRefusal::Order.into());
        }
        let percentiles = self.percentiles.unwrap_or(false);
        let windows = |window_ms: u64| {
            Windows::new(window_ms, percentiles).ok_or_else(|| {
                let next = "ask for windows of 1 ms or more, such as 3600000 for an hour";
                wrong(format!("windows of {window_ms} ms cannot be made"), next)
            })
        };
        let about = match verb {
            Verb::Last => About::Last,
            Verb::Range => About::Range,
            Verb::Downsample => About::Downsample(windows(self.window_ms.ok_or_else(|| {
                wrong("`window_ms` is missing", "say how long a window is, such as 3600000 for an hour")
            })?)?),
            Verb::Aggregate => {
                let windows = self.window_ms.map(windows).transpose()?;
                About::Aggregate(Grouping::new(list(self.by.as_deref()), windows, percentiles))
            }
            Verb::Export => {
                let format = self.format.as_deref().unwrap_or("csv");
                let parsed = format
                    .parse()
                    .map_err(|error| wrong(format!("the format {format:?} {error}"), "name one of those"))?;
                About::Export(parsed, layout(self.layout.as_deref(), is_one_stream)?)
            }
        };
        let is_lines = match (verb, self.format.as_deref()) {
            (Verb::Export, _) | (_, None | Some("json")) => false,
            (_, Some("ndjson")) => true,
            (_, Some(other)) => {
                let next = "leave it out for a page, say `ndjson` for lines, or ask for an export";
                return Err(wrong(format!("an answer in the format {other:?} is not known"), next));
            }
        };
        let entries = limit.unwrap_or(if verb == Verb::Last {
            muster_exports::limits::PAGE_ENTRIES_MAX
        } else {
            PAGE_ENTRIES
        });
        PageSize::new(entries, usize::MAX)?;
        Ok(Wanted { selection, about, data_set, entries, cursor, is_lines })
    }

    fn check(&self, verb: Verb) -> Result<(), ApiError> {
        let given = [
            ("tenant", self.tenant.is_some()),
            ("from_ms", self.from_ms.is_some()),
            ("to_ms", self.to_ms.is_some()),
            ("limit", self.limit.is_some()),
            ("cursor", self.cursor.is_some()),
            ("window_ms", self.window_ms.is_some()),
            ("percentiles", self.percentiles.is_some()),
            ("by", self.by.is_some()),
            ("format", self.format.is_some()),
            ("layout", self.layout.is_some()),
        ];
        let refused = verb.refuses();
        let is_refused = |name: &str| name == "tenant" || refused.contains(&name);
        match given.into_iter().find(|(name, is_given)| *is_given && is_refused(name)) {
            Some((name, _)) => {
                let why = format!("`{name}` is no parameter of `{}`", verb.as_str());
                Err(wrong(why, "leave it out; docs/api.md has those there are"))
            }
            None => Ok(()),
        }
    }
}

fn layout(named: Option<&str>, is_one_stream: bool) -> Result<Layout, ApiError> {
    match named {
        None if is_one_stream => Ok(Layout::Wide),
        None | Some("long") => Ok(Layout::Long),
        Some("wide") => Ok(Layout::Wide),
        Some(other) => {
            let next =
                "say `wide` for a column for each name of one stream, or `long` for a row for each reading";
            Err(wrong(format!("the layout {other:?} is not known"), next))
        }
    }
}

fn list(text: Option<&str>) -> Vec<String> {
    text.unwrap_or_default().split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn wrong(why: impl Into<String>, next: &str) -> ApiError {
    ApiError::malformed("the question was not understood", why, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(query: &str) -> Asked {
        actix_web::web::Query::<Asked>::from_query(query).expect("a query").into_inner()
    }

    #[test]
    fn what_a_question_does_not_take_is_an_error_and_not_ignored() {
        for (verb, query) in [
            (Verb::Last, "window_ms=5"),
            (Verb::Last, "from_ms=5"),
            (Verb::Last, "tenant=acme"),
            (Verb::Range, "by=device"),
            (Verb::Downsample, "window_ms=5&layout=wide"),
            (Verb::Downsample, ""),
            (Verb::Downsample, "window_ms=0"),
            (Verb::Export, "cursor=a"),
            (Verb::Export, "format=xml"),
            (Verb::Export, "layout=round"),
            (Verb::Range, "format=csv"),
            (Verb::Range, "limit=0"),
            (Verb::Range, "from_ms=2&to_ms=1"),
        ] {
            assert!(asked(query).of(verb).is_err(), "{verb:?} {query}");
        }
        assert!(actix_web::web::Query::<Asked>::from_query("colour=red").is_err());
    }

    #[test]
    fn a_file_of_one_stream_is_wide_and_of_more_is_long() {
        let layout = |query: &str| match asked(query).of(Verb::Export).expect("a question").about {
            About::Export(_, layout) => layout,
            other => panic!("{other:?}"),
        };
        assert_eq!(layout("device=d&stream=s"), Layout::Wide);
        assert_eq!(layout("device=d"), Layout::Long);
        assert_eq!(layout("device=d&stream=s&layout=long"), Layout::Long);
    }

    #[test]
    fn names_are_separated_by_commas() {
        let wanted = asked("names=a,b,,c&from_ms=-1").of(Verb::Range).expect("a question");
        assert_eq!(wanted.selection.names, ["a", "b", "c"]);
        assert_eq!(wanted.selection.from_us, Some(-1_000));
    }
}
