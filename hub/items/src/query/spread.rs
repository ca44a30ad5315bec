//! Values of one bucket, for percentiles: all of them up to a bound, and then a sketch (DDSketch, Masson et al. 2019).

use sketches_ddsketch::{Config, DDSketch};

use super::limits::{EXACT_VALUES_MAX, SKETCH_BINS_MAX};

/// How far a percentile of a sketch may be from the value, relative to it.
const ERROR_MAX: f64 = 0.01;
/// What is closer to zero than this counts as zero in a sketch.
const SMALLEST: f64 = 1e-9;

/// Percentiles of one bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Percentiles {
    /// The median.
    pub p50: f64,
    /// Nine of ten are not above it.
    pub p90: f64,
    /// Nineteen of twenty are not above it.
    pub p95: f64,
    /// Ninety-nine of a hundred are not above it.
    pub p99: f64,
    /// Whether they are interpolated between the values themselves; otherwise they are within 1 % of one of them.
    pub exact: bool,
}

/// The values.
#[derive(Clone)]
pub(super) enum Spread {
    Exact(Vec<f64>),
    Sketch(Box<DDSketch>),
}

impl std::fmt::Debug for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spread").field("weight", &self.weight()).finish()
    }
}

impl Spread {
    pub(super) fn new() -> Self {
        Self::Exact(Vec::new())
    }

    /// How many values or bins it holds, about.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Exact(values) => values.len(),
            Self::Sketch(_) => SKETCH_BINS_MAX,
        }
    }

    pub(super) fn add(&mut self, value: f64) {
        match self {
            Self::Exact(values) if values.len() < EXACT_VALUES_MAX => values.push(value),
            Self::Exact(_) => self.sketch().add(value),
            Self::Sketch(sketch) => sketch.add(value),
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        match (&mut *self, other) {
            (_, Self::Exact(values)) => values.iter().for_each(|value| self.add(*value)),
            // Sketches of one configuration, as these are, always merge.
            (_, Self::Sketch(other)) => drop(self.sketch().merge(other)),
        }
    }

    fn sketch(&mut self) -> &mut DDSketch {
        if let Self::Exact(values) = self {
            let mut sketch = DDSketch::new(Config::new(ERROR_MAX, SKETCH_BINS_MAX as u32, SMALLEST));
            values.iter().for_each(|value| sketch.add(*value));
            *self = Self::Sketch(Box::new(sketch));
        }
        match self {
            Self::Sketch(sketch) => sketch,
            Self::Exact(_) => unreachable!("it was made a sketch above"),
        }
    }

    pub(super) fn percentiles(&mut self) -> Option<Percentiles> {
        match self {
            Self::Exact(values) => {
                values.sort_unstable_by(f64::total_cmp);
                let at = |q: f64| interpolated(values, q);
                let (p50, p90, p95, p99) = (at(0.50)?, at(0.90)?, at(0.95)?, at(0.99)?);
                Some(Percentiles { p50, p90, p95, p99, exact: true })
            }
            Self::Sketch(sketch) => {
                let at = |q: f64| sketch.quantile(q).ok().flatten();
                let (p50, p90, p95, p99) = (at(0.50)?, at(0.90)?, at(0.95)?, at(0.99)?);
                Some(Percentiles { p50, p90, p95, p99, exact: false })
            }
        }
    }
}

/// Between the two values next to it, in proportion, as `numpy.percentile` does.
fn interpolated(sorted: &[f64], q: f64) -> Option<f64> {
    let place = q * sorted.len().checked_sub(1)? as f64;
    let (below, above) = (sorted.get(place.floor() as usize)?, sorted.get(place.ceil() as usize)?);
    Some(below + (above - below) * place.fract())
}
