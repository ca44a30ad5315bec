//! What is worked out of a scan: readings in order, windows, aggregates across devices. Pure, incremental, bounded.
//!
//! ```text
//!  History::scan ──▶ InOrder ──▶ rows ──▶ range, exports
//!        │              └──────▶ Downsample ──▶ one bucket for each window and name
//!        └──▶ Aggregate (needs the items' attributes) ──▶ one bucket for each group, window and name
//! ```

mod aggregate;
mod downsample;
mod in_order;
mod limits;
mod spread;
mod summary;
mod value;

pub use aggregate::{Aggregate, By, GroupBucket};
pub use downsample::{Bucket, Downsample, ShowBucket};
pub use in_order::{InOrder, Rows, scan_in_order};
pub use limits::{
    AGGREGATE_BUCKETS_MAX, EXACT_VALUES_MAX, OVERLAP_ROWS_MAX, SPREAD_VALUES_MAX, WINDOW_US_MIN,
};
pub use spread::Percentiles;
pub use summary::{Figures, Measure, Numbers, Others, Summary};
pub use value::{Kind, Value};

/// A question that would need more memory than one question may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooWide {
    /// Too many groups, windows and names at once.
    #[error("hold more than {max} groups, windows and names at once")]
    Buckets {
        /// How many may be.
        max: usize,
    },
    /// Too many values for percentiles at once.
    #[error("hold more than {max} values for percentiles at once")]
    Values {
        /// How many may be.
        max: usize,
    },
    /// Too many readings at the same times in items of different attributes.
    #[error("put more than {max} readings of one stream, which overlap in time, in order")]
    Overlap {
        /// How many may be.
        max: usize,
    },
}

/// The start of the window of `window_us` microseconds that a time lies in. Windows are aligned to 1970-01-01T00:00Z, so
/// that hours and days are those of UTC.
pub fn window_start(time_us: i64, window_us: i64) -> i64 {
    time_us.saturating_sub(time_us.rem_euclid(window_us.max(1)))
}

#[cfg(test)]
mod tests;
