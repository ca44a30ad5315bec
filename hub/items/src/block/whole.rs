//! Whole numbers as they lie in a block: times, scaled decimals, places and lengths. A straight line takes two numbers,
//! few numbers are written as differences, and many go through `pco`.

use pco::{ChunkConfig, DeltaSpec, ModeSpec, standalone};

use super::{
    Damaged,
    wire::{Rest, put_signed},
};

/// Differences, each of variable length.
const DIFFERENCES: u8 = 0;
/// A first number, and a step from each to the next.
const LINE: u8 = 1;
/// `pco`, of 64 bits.
const PCO: u8 = 2;

/// Fewer than these are not worth the heads of `pco`.
const PCO_LEAST: usize = 24;

/// Appends the numbers, of which there is at least one.
pub(super) fn put(out: &mut Vec<u8>, numbers: &[i64]) {
    let Some((first, rest)) = numbers.split_first() else { return };
    let step = rest.first().map_or(0, |second| second.wrapping_sub(*first));
    if numbers.iter().zip(rest).all(|(one, next)| next.wrapping_sub(*one) == step) {
        out.push(LINE);
        put_signed(out, *first);
        put_signed(out, step);
        return;
    }
    if numbers.len() >= PCO_LEAST
        && let Ok(packed) = standalone::simple_compress(numbers, &config(order(numbers)))
    {
        out.push(PCO);
        out.extend_from_slice(&packed);
        return;
    }
    out.push(DIFFERENCES);
    put_signed(out, *first);
    numbers.iter().zip(rest).for_each(|(one, next)| put_signed(out, next.wrapping_sub(*one)));
}

/// All of `bytes` as `count` numbers.
pub(super) fn read(bytes: &[u8], count: usize) -> Result<Vec<i64>, Damaged> {
    let mut rest = Rest(bytes);
    if count == 0 {
        rest.end()?;
        return Ok(Vec::new());
    }
    match rest.byte()? {
        DIFFERENCES => {
            // A number takes a byte at least, so a count out of nowhere reserves nothing.
            let mut numbers = Vec::with_capacity(count.min(bytes.len()));
            let mut number = rest.signed()?;
            numbers.push(number);
            for _ in 1..count {
                number = number.wrapping_add(rest.signed()?);
                numbers.push(number);
            }
            rest.end()?;
            Ok(numbers)
        }
        LINE => {
            let (first, step) = (rest.signed()?, rest.signed()?);
            rest.end()?;
            let next = |number: &i64| Some(number.wrapping_add(step));
            Ok(std::iter::successors(Some(first), next).take(count).collect())
        }
        PCO => unpack(rest.0, count),
        _ => Err(Damaged),
    }
}

/// Numbers that `pco` has packed.
pub(super) fn unpack<T: pco::data_types::Number + Default>(
    bytes: &[u8],
    count: usize,
) -> Result<Vec<T>, Damaged> {
    let mut numbers = vec![T::default(); count];
    let progress = standalone::simple_decompress_into(bytes, &mut numbers).map_err(|_| Damaged)?;
    if progress.n_processed == count && progress.finished { Ok(numbers) } else { Err(Damaged) }
}

/// How numbers are packed that are best told by their differences of this order.
pub(super) fn config(order: usize) -> ChunkConfig {
    let delta = if order == 0 { DeltaSpec::NoOp } else { DeltaSpec::TryConsecutive(order) };
    // What there is to find in readings was found before: decimals are whole numbers here. Searching for it again would
    // take most of the time.
    ChunkConfig::default()
        .with_compression_level(LEVEL)
        .with_mode_spec(ModeSpec::Classic)
        .with_delta_spec(delta)
}

/// Above this one, packing takes longer and what comes out is hardly shorter.
const LEVEL: usize = 8;

/// Whether numbers, their differences or the differences of those take the fewest bits beside what they have in common.
pub(super) fn order(numbers: &[i64]) -> usize {
    let steps = differences(numbers);
    // What differences begin with is told in full.
    let bits = [bits(numbers), 64 + bits(&steps), 128 + bits(&differences(&steps))];
    let best = bits.iter().enumerate().min_by_key(|(_, bits)| **bits);
    best.map_or(0, |(order, _)| order)
}

fn differences(numbers: &[i64]) -> Vec<i64> {
    numbers.iter().zip(numbers.iter().skip(1)).map(|(one, next)| next.wrapping_sub(*one)).collect()
}

/// Numbers that are looked at to find the middle.
const SAMPLES: usize = 31;

/// The bits of how far numbers are from their middle. A few that are far off, as where a counter begins anew, move neither.
fn bits(numbers: &[i64]) -> u64 {
    let mut samples: Vec<i64> = numbers.iter().step_by(numbers.len() / SAMPLES + 1).copied().collect();
    samples.sort_unstable();
    let middle = samples.get(samples.len() / 2).copied().unwrap_or_default();
    let far =
        |number: &i64| u64::from(i64::BITS - number.wrapping_sub(middle).unsigned_abs().leading_zeros());
    numbers.iter().map(far).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packed(numbers: &[i64]) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, numbers);
        out
    }

    #[test]
    fn a_line_takes_a_few_bytes_however_long_it_is() {
        let times: Vec<i64> = (0..2_000).map(|n| 1_760_000_000_000_000 + n * 1_000_000).collect();
        let bytes = packed(&times);
        assert!(bytes.len() < 16, "{}", bytes.len());
        assert_eq!(read(&bytes, times.len()), Ok(times));
    }

    #[test]
    fn the_order_of_differences_follows_the_numbers() {
        let mut seed = 88_172_645_463_325_252_u64;
        let mut noise = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed >> 40).cast_signed()
        };
        let noise: Vec<i64> = (0..100).map(|_| noise()).collect();
        assert_eq!(order(&noise), 0);
        let walk: Vec<i64> = noise
            .iter()
            .scan(0, |at, n| {
                *at += 500 + n % 16;
                Some(*at)
            })
            .collect();
        assert_eq!(order(&walk), 1);
        let curve: Vec<i64> = (0..100).map(|n| n * n * 1_000_000 + n % 2).collect();
        assert_eq!(order(&curve), 2);
    }

    proptest! {
        #[test]
        fn whole_numbers_come_back(numbers in prop::collection::vec(any::<i64>(), 1..200)) {
            prop_assert_eq!(read(&packed(&numbers), numbers.len()), Ok(numbers));
        }

        #[test]
        fn whole_numbers_near_one_another_come_back(numbers in prop::collection::vec(-50_i64..50, 1..400)) {
            prop_assert_eq!(read(&packed(&numbers), numbers.len()), Ok(numbers));
        }

        #[test]
        fn any_bytes_are_numbers_or_damaged(bytes: Vec<u8>, count in 0_usize..5_000) {
            if let Ok(numbers) = read(&bytes, count) {
                prop_assert_eq!(numbers.len(), count);
            }
        }
    }
}
