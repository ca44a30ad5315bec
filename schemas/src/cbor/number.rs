//! Numbers that the hardware does not know: half precision and decimal fractions.

/// A binary16 as a double (RFC 8949 appendix D).
pub fn half_to_f64(half: u16) -> f64 {
    let exponent = i32::from((half >> 10) & 0x1f);
    let mantissa = f64::from(half & 0x3ff);
    let magnitude = match exponent {
        0 => mantissa * 2_f64.powi(-24),
        31 if mantissa == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (mantissa + 1024.0) * 2_f64.powi(exponent - 25),
    };
    if half & 0x8000 == 0 { magnitude } else { -magnitude }
}

/// Whole numbers up to here are doubles, each of them.
const EXACT_MAX: u128 = 1 << 53;
/// The powers of ten that are doubles exactly.
const POWERS_OF_TEN: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

/// `mantissa × 10^exponent` (RFC 8949 §3.4.4), rounded once; infinite when it is out of range.
pub fn decimal_fraction(mantissa: i128, exponent: i64) -> f64 {
    // What a sensor says: both parts are doubles exactly, so that the one operation rounds once.
    if mantissa.unsigned_abs() <= EXACT_MAX
        && let Some(power) =
            usize::try_from(exponent.unsigned_abs()).ok().and_then(|at| POWERS_OF_TEN.get(at))
    {
        let mantissa = mantissa as f64;
        return if exponent < 0 { mantissa / power } else { mantissa * power };
    }
    // Multiplying by a power of ten would round twice; the parser of the standard library rounds once.
    format!("{mantissa}e{exponent}").parse().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_decimal_fraction_is_what_its_digits_are(mantissa in -(1_i128 << 60)..(1_i128 << 60), exponent in -30_i64..30) {
            for mantissa in [mantissa, mantissa >> 8, mantissa >> 40] {
                let digits: f64 = format!("{mantissa}e{exponent}").parse().expect("a number");
                prop_assert_eq!(decimal_fraction(mantissa, exponent).to_bits(), digits.to_bits());
            }
        }
    }
}
