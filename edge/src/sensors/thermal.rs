//! Temperature of the machine, from `/sys/class/thermal/thermal_zone*/temp`.

/// Celsius from a zone's millidegrees. Zones without a sensor say nonsense; that is no reading.
pub(super) fn celsius(temp: &str) -> Option<f64> {
    let millidegrees: i32 = temp.trim().parse().ok()?;
    (-60_000..=200_000).contains(&millidegrees).then(|| f64::from(millidegrees) / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_read_in_celsius() {
        assert_eq!(celsius("48312\n"), Some(48.312));
        assert_eq!(celsius("-5500\n"), Some(-5.5));
        assert_eq!(celsius("-274000\n"), None);
        assert_eq!(celsius("n/a\n"), None);
    }
}
