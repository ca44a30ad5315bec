//! What a selection has, before a file of it begins: columns stand in the head of most formats.

use std::{collections::BTreeSet, ops::ControlFlow};

use muster_items::{
    QueryRefusal,
    query::{Measure, scan_in_order},
};

use crate::{ExportError, Layout, Question, limits::COLUMNS_MAX};

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Survey {
    /// Names with unit and kind, in their order; none for a long table, whose columns are always the same.
    pub measures: Vec<Measure>,
    /// How many times of streams.
    pub rows: u64,
    /// The first time, in microseconds since 1970.
    pub first_us: Option<i64>,
    /// The last time, in microseconds since 1970.
    pub last_us: Option<i64>,
    /// What could not be read; the file is of the rest.
    pub damage: Option<String>,
}

impl Survey {
    /// Reads the selection once.
    pub(crate) fn take(question: Question<'_>, layout: Layout) -> Result<Self, ExportError> {
        let Question { history, tenant, selection, view } = question;
        let mut measures = BTreeSet::new();
        let mut survey = Self::default();
        let mut streams = BTreeSet::new();
        let outcome = scan_in_order(history, tenant, selection, view, &mut |stream, rows| {
            survey.rows += rows.times_us.len() as u64;
            let (first, last) = (rows.times_us.first().copied(), rows.times_us.last().copied());
            survey.first_us = [survey.first_us, first].into_iter().flatten().min();
            survey.last_us = survey.last_us.max(last);
            if layout == Layout::Wide {
                if streams.is_empty() {
                    streams.insert(stream.clone());
                }
                for column in &rows.columns {
                    let measure = Measure::of(column);
                    if !measures.contains(&measure) {
                        measures.insert(measure);
                    }
                }
                if !streams.contains(stream) || measures.len() > COLUMNS_MAX {
                    streams.insert(stream.clone());
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        });
        match outcome {
            Err(QueryRefusal::Damaged(what)) => survey.damage = Some(what),
            outcome => outcome?,
        }
        if streams.len() > 1 {
            return Err(ExportError::OneStream);
        }
        if measures.len() > COLUMNS_MAX {
            return Err(ExportError::Columns { found: measures.len() });
        }
        survey.measures = measures.into_iter().collect();
        Ok(survey)
    }
}
