//! The values of one column as they lie in a block: which places hold one, and then the values alone. A decoder gets the
//! bytes of this one column and nothing else.

use std::collections::BTreeMap;

use super::{
    Damaged, whole,
    wire::{Rest, put_bytes, put_number},
};
use crate::{Values, limits::COLUMN_BYTES_MAX};

/// Every place holds a value.
const EVERYWHERE: u8 = 0;
/// A bit for each place.
const BITS: u8 = 1;
/// The places that hold one, as whole numbers.
const PLACES: u8 = 2;

/// Numbers as they are.
const PLAIN: u8 = 0;
/// Decimals: the power of ten by which they were multiplied, and whole numbers.
const DECIMALS: u8 = 1;
/// `pco`, of doubles.
const DOUBLES: u8 = 2;
/// `pco`, of numbers that single precision holds.
const SINGLES: u8 = 3;

/// Texts one after another.
const EACH: u8 = 0;
/// Each text that occurs once, and whole numbers that say which.
const DICTIONARY: u8 = 1;

/// Different texts in a dictionary; with more of them texts are written one after another.
const DICTIONARY_MAX: usize = 4_096;
/// Fewer numbers than these are not worth the heads of `pco`.
const PCO_LEAST: usize = 16;
/// Powers of ten that are tried.
const DECIMAL_PLACES_MAX: u8 = 9;
/// Whole numbers that a double holds, each of them.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// Appends the values, and says how many there are.
pub(super) fn put(out: &mut Vec<u8>, values: &Values) -> usize {
    let places = values.len();
    let there: Vec<i64> =
        (0..places).filter(|place| values.is_there(*place)).map(|place| place as i64).collect();
    if there.len() == places {
        out.push(EVERYWHERE);
    } else {
        let mut listed = Vec::new();
        whole::put(&mut listed, &there);
        let bits = places.div_ceil(8);
        if listed.len() < bits {
            out.push(PLACES);
            put_bytes(out, &listed);
        } else {
            out.push(BITS);
            out.extend((0..bits).map(|byte| {
                let is_there = |bit: usize| values.is_there(byte * 8 + bit);
                (0..8).fold(0_u8, |byte, bit| byte | u8::from(is_there(bit)) << bit)
            }));
        }
    }
    match values {
        Values::Numbers(numbers) => {
            let numbers: Vec<f64> = numbers.iter().copied().filter(|number| !number.is_nan()).collect();
            put_doubles(out, &numbers);
        }
        Values::Bools(bools) => {
            let bools: Vec<i64> = bools.iter().flatten().map(|value| i64::from(*value)).collect();
            let bits = bools.len().div_ceil(8);
            let mut listed = Vec::new();
            whole::put(&mut listed, &bools);
            if listed.len() <= bits {
                out.push(PLACES);
                out.extend_from_slice(&listed);
            } else {
                out.push(BITS);
                out.extend(
                    bools.chunks(8).map(|byte| {
                        byte.iter().rev().fold(0_u8, |bits, bit| bits << 1 | u8::from(*bit == 1))
                    }),
                );
            }
        }
        Values::Texts(texts) => put_texts(out, texts.iter().flatten().map(String::as_bytes)),
        Values::Bytes(all) => put_texts(out, all.iter().flatten().map(Vec::as_slice)),
    }
    there.len()
}

/// All of `bytes` as the values of `places` places, of which `count` hold one; `kind` as [`Values::kind`] tells it.
pub(super) fn read(bytes: &[u8], kind: u8, places: usize, count: usize) -> Result<Values, Damaged> {
    let mut rest = Rest(bytes);
    let there = match rest.byte()? {
        EVERYWHERE if count == places => None,
        BITS => {
            let bits = rest.take(places.div_ceil(8))?;
            let is_there =
                |place: usize| bits.get(place / 8).is_some_and(|byte| byte >> (place % 8) & 1 == 1);
            Some((0..places).filter(|place| is_there(*place)).collect())
        }
        PLACES => {
            let listed = whole::read(rest.bytes()?, count)?;
            let listed: Vec<usize> =
                listed.into_iter().filter_map(|place| usize::try_from(place).ok()).collect();
            Some(listed)
        }
        _ => return Err(Damaged),
    };
    if let Some(there) = &there
        && (there.len() != count
            || !there.is_sorted_by(|one, next| one < next)
            || there.last().is_some_and(|last| *last >= places))
    {
        return Err(Damaged);
    }
    Ok(match kind {
        0 => {
            let numbers = read_doubles(rest, count)?;
            Values::Numbers(spread(numbers, there, places, f64::NAN))
        }
        1 => {
            let text = |bytes: &[u8]| str::from_utf8(bytes).map(str::to_owned).map_err(|_| Damaged);
            Values::Texts(spread(read_texts(rest, count, text)?, there, places, None))
        }
        2 => Values::Bools(spread(read_bools(rest, count)?, there, places, None)),
        3 => Values::Bytes(spread(read_texts(rest, count, |bytes| Ok(bytes.to_vec()))?, there, places, None)),
        _ => return Err(Damaged),
    })
}

/// Puts values to their places.
fn spread<T: Clone>(values: Vec<T>, there: Option<Vec<usize>>, places: usize, nothing: T) -> Vec<T> {
    let Some(there) = there else { return values };
    let mut all = vec![nothing; places];
    for (place, value) in there.into_iter().zip(values) {
        if let Some(to) = all.get_mut(place) {
            *to = value;
        }
    }
    all
}

fn put_doubles(out: &mut Vec<u8>, numbers: &[f64]) {
    if let Some((power, wholes)) = decimals(numbers) {
        out.extend_from_slice(&[DECIMALS, power]);
        whole::put(out, &wholes);
        return;
    }
    if numbers.len() >= PCO_LEAST {
        let singles: Vec<f32> = numbers.iter().map(|number| *number as f32).collect();
        let packed =
            if singles.iter().zip(numbers).all(|(one, number)| f64::from(*one).to_bits() == number.to_bits())
            {
                out.push(SINGLES);
                pco::standalone::simple_compress(&singles, &whole::config(order(numbers)))
            } else {
                out.push(DOUBLES);
                pco::standalone::simple_compress(numbers, &whole::config(order(numbers)))
            };
        if let Ok(packed) = packed {
            out.extend_from_slice(&packed);
            return;
        }
        out.pop();
    }
    out.push(PLAIN);
    numbers.iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
}

/// As [`whole::order`], of doubles: as whole numbers in the same order.
fn order(numbers: &[f64]) -> usize {
    let ordered = |number: &f64| {
        let bits = number.to_bits().cast_signed();
        bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
    };
    whole::order(&numbers.iter().map(ordered).collect::<Vec<_>>())
}

fn read_doubles(mut rest: Rest<'_>, count: usize) -> Result<Vec<f64>, Damaged> {
    let numbers: Vec<f64> = match rest.byte()? {
        PLAIN => {
            let (numbers, _) = rest.take(count.checked_mul(8).ok_or(Damaged)?)?.as_chunks();
            rest.end()?;
            numbers.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect()
        }
        DECIMALS => {
            let power = rest.byte().and_then(power_of_ten)?;
            let wholes = whole::read(rest.0, count)?;
            wholes.into_iter().map(|whole| whole as f64 / power).collect()
        }
        DOUBLES => whole::unpack(rest.0, count)?,
        SINGLES => whole::unpack::<f32>(rest.0, count)?.into_iter().map(f64::from).collect(),
        _ => return Err(Damaged),
    };
    // A number that is none would be a reading that is none.
    if numbers.iter().all(|number| number.is_finite()) { Ok(numbers) } else { Err(Damaged) }
}

fn power_of_ten(power: u8) -> Result<f64, Damaged> {
    const POWERS: [f64; DECIMAL_PLACES_MAX as usize + 1] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
    POWERS.get(usize::from(power)).copied().ok_or(Damaged)
}

/// The smallest power of ten that makes whole numbers of all of them, and these; none if that loses a bit of one.
fn decimals(numbers: &[f64]) -> Option<(u8, Vec<i64>)> {
    let mut power = 0;
    let mut scale = 1.0;
    let mut wholes = Vec::with_capacity(numbers.len());
    let mut at = 0;
    while let Some(number) = numbers.get(at) {
        match scaled(*number, scale) {
            Some(whole) => {
                wholes.push(whole);
                at += 1;
            }
            None => {
                power += 1;
                scale = power_of_ten(power).ok()?;
                // What was scaled before is scaled anew: most columns show their precision in their first numbers.
                wholes.clear();
                at = 0;
            }
        }
    }
    Some((power, wholes))
}

/// The whole number that gives this one back when it is divided by the scale.
fn scaled(number: f64, scale: f64) -> Option<i64> {
    let whole = (number * scale).round_ties_even();
    let fits = whole.abs() <= EXACT_MAX && ((whole as i64) as f64 / scale).to_bits() == number.to_bits();
    fits.then_some(whole as i64)
}

fn read_bools(mut rest: Rest<'_>, count: usize) -> Result<Vec<Option<bool>>, Damaged> {
    match rest.byte()? {
        PLACES => whole::read(rest.0, count)?
            .into_iter()
            .map(|whole| match whole {
                0 => Ok(Some(false)),
                1 => Ok(Some(true)),
                _ => Err(Damaged),
            })
            .collect(),
        BITS => {
            let bits = rest.take(count.div_ceil(8))?;
            rest.end()?;
            let bit = |place: usize| bits.get(place / 8).map(|byte| byte >> (place % 8) & 1 == 1);
            Ok((0..count).map(bit).collect())
        }
        _ => Err(Damaged),
    }
}

fn put_texts<'a>(out: &mut Vec<u8>, texts: impl Iterator<Item = &'a [u8]> + Clone) {
    let mut places: BTreeMap<&[u8], i64> = BTreeMap::new();
    let mut which = Vec::new();
    let mut in_order: Vec<&[u8]> = Vec::new();
    for text in texts.clone() {
        let place = *places.entry(text).or_insert_with(|| {
            in_order.push(text);
            in_order.len() as i64 - 1
        });
        which.push(place);
        if in_order.len() > DICTIONARY_MAX {
            break;
        }
    }
    if in_order.len() <= DICTIONARY_MAX && in_order.len() * 2 <= which.len() {
        out.push(DICTIONARY);
        put_number(out, in_order.len() as u64);
        in_order.iter().for_each(|text| put_bytes(out, text));
        whole::put(out, &which);
    } else {
        out.push(EACH);
        texts.for_each(|text| put_bytes(out, text));
    }
}

fn read_texts<T: Clone>(
    mut rest: Rest<'_>,
    count: usize,
    text: impl Fn(&[u8]) -> Result<T, Damaged>,
) -> Result<Vec<Option<T>>, Damaged> {
    match rest.byte()? {
        EACH => {
            let mut texts = Vec::with_capacity(count.min(rest.0.len()));
            for _ in 0..count {
                texts.push(Some(text(rest.bytes()?)?));
            }
            rest.end()?;
            Ok(texts)
        }
        DICTIONARY => {
            let mut entries = Vec::new();
            let mut lengths = Vec::new();
            for _ in 0..rest.count(DICTIONARY_MAX)? {
                let bytes = rest.bytes()?;
                lengths.push(bytes.len());
                entries.push(text(bytes)?);
            }
            let which = whole::read(rest.0, count)?;
            // A long text that occurs often would be far longer outside the block than in it.
            let mut bytes = 0_usize;
            let mut texts = Vec::with_capacity(which.len());
            for place in which {
                let place = usize::try_from(place).map_err(|_| Damaged)?;
                bytes = bytes.saturating_add(lengths.get(place).copied().unwrap_or_default());
                if bytes > COLUMN_BYTES_MAX {
                    return Err(Damaged);
                }
                texts.push(Some(entries.get(place).cloned().ok_or(Damaged)?));
            }
            Ok(texts)
        }
        _ => Err(Damaged),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round(values: &Values) -> (Vec<u8>, Values) {
        let mut out = Vec::new();
        let count = put(&mut out, values);
        let read = read(&out, values.kind(), values.len(), count).expect("reads");
        (out, read)
    }

    /// NaN is not equal to itself, so numbers are compared by their bits.
    fn bits(values: &Values) -> Vec<u64> {
        match values {
            Values::Numbers(numbers) => numbers.iter().map(|number| number.to_bits()).collect(),
            other => panic!("not numbers: {other:?}"),
        }
    }

    #[test]
    fn decimals_are_whole_numbers_and_what_is_none_is_not() {
        assert_eq!(decimals(&[21.5, 0.07, -3.0]), Some((2, vec![2_150, 7, -300])));
        assert_eq!(decimals(&[1.0, 2.0]), Some((0, vec![1, 2])));
        assert_eq!(decimals(&[std::f64::consts::PI]), None);
        assert_eq!(decimals(&[-0.0]), None, "the sign of nothing would be lost");
        assert_eq!(decimals(&[1e300]), None);
    }

    #[test]
    fn a_decimal_takes_about_the_bits_that_change() {
        let warm: Vec<f64> = (0..2_048).map(|n| f64::from(2_100 + (n * 7919) % 8) / 100.0).collect();
        let (bytes, read) = round(&Values::Numbers(warm.clone()));
        assert!(bytes.len() < 2_048 * 5 / 8 + 64, "{}", bytes.len());
        assert_eq!(read, Values::Numbers(warm));
    }

    #[test]
    fn a_text_that_occurs_often_is_kept_once() {
        let states: Vec<Option<String>> = (0..1_000)
            .map(|n| Some(if n % 3 == 0 { "running" } else { "waiting for material" }.to_owned()))
            .collect();
        let (bytes, read) = round(&Values::Texts(states.clone()));
        assert!(bytes.len() < 400, "{}", bytes.len());
        assert_eq!(read, Values::Texts(states));
    }

    #[test]
    fn a_dictionary_cannot_be_blown_up() {
        let mut out = vec![EVERYWHERE, DICTIONARY];
        put_number(&mut out, 1);
        put_bytes(&mut out, &vec![b'x'; 1024 * 1024]);
        whole::put(&mut out, &vec![0; 60_000]);
        assert_eq!(read(&out, 1, 60_000, 60_000), Err(Damaged));
    }

    proptest! {
        #[test]
        fn numbers_come_back_bit_by_bit(numbers in prop::collection::vec(prop_oneof![
            any::<f64>().prop_map(|number| if number.is_finite() { number } else { f64::NAN }),
            any::<f32>().prop_map(|number| if number.is_finite() { f64::from(number) } else { f64::NAN }),
            (-1_000_000_i32..1_000_000).prop_map(|number| f64::from(number) / 1_000.0),
            Just(f64::NAN), Just(-0.0),
        ], 1..200)) {
            let values = Values::Numbers(numbers);
            let (_, read) = round(&values);
            let is_nan = |bits: &u64| f64::from_bits(*bits).is_nan();
            for (one, other) in bits(&values).iter().zip(bits(&read).iter()) {
                prop_assert!(one == other || is_nan(one) && is_nan(other));
            }
        }

        #[test]
        fn texts_bytes_and_bools_come_back(
            texts in prop::collection::vec(prop::option::of("[a-c]{0,2}"), 1..60),
            bools in prop::collection::vec(prop::option::of(any::<bool>()), 1..200),
            bytes in prop::collection::vec(prop::option::of(any::<Vec<u8>>()), 1..20),
        ) {
            for values in [Values::Texts(texts), Values::Bools(bools), Values::Bytes(bytes)] {
                prop_assert_eq!(&round(&values).1, &values);
            }
        }

        #[test]
        fn any_bytes_are_a_column_or_damaged(
            bytes: Vec<u8>, kind in 0_u8..5, places in 0_usize..2_000, count in 0_usize..2_000,
        ) {
            if let Ok(values) = read(&bytes, kind, places, count.min(places)) {
                prop_assert_eq!(values.len(), places);
            }
        }
    }
}
