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

/// `mantissa × 10^exponent` (RFC 8949 §3.4.4), rounded once; infinite when it is out of range.
pub fn decimal_fraction(mantissa: i128, exponent: i64) -> f64 {
    // Multiplying by a power of ten would round twice; the parser of the standard library rounds once.
    format!("{mantissa}e{exponent}").parse().unwrap_or(f64::NAN)
}
