//! Bounds of one question, unit last.

/// Shortest window, in microseconds: a millisecond.
pub const WINDOW_US_MIN: i64 = 1_000;
/// Values of one bucket up to which percentiles are exact; of more a sketch is kept, whose error is 1 % of the value.
pub const EXACT_VALUES_MAX: usize = 4_096;
/// Bins of one sketch. They span 17 powers of ten; beyond, the values closest to zero lose precision.
pub const SKETCH_BINS_MAX: usize = 2_048;
/// Values, and bins of sketches, that one question holds for percentiles at once: 64 MiB.
pub const SPREAD_VALUES_MAX: usize = 8 * 1024 * 1024;
/// Buckets that one aggregate holds at once.
pub const AGGREGATE_BUCKETS_MAX: usize = 100_000;
/// Rows of one stream that wait because items of different attributes overlap in time.
pub const OVERLAP_ROWS_MAX: usize = 262_144;

const _: () = assert!(EXACT_VALUES_MAX > SKETCH_BINS_MAX, "a sketch takes less than what it replaces");
const _: () = assert!(SPREAD_VALUES_MAX > EXACT_VALUES_MAX, "one bucket fits");
