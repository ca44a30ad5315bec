//! The units of SenML: what a number means, told in words that all devices share (RFC 8428 §12.1, RFC 8798 §3).

/// By their bytes, so that they can be searched.
const REGISTERED: &[&str] = &[
    "%", "%EL", "%RH", "/", "/100", "/1000", "1/min", "1/s", "A", "Ah", "B", "B/s", "Bq", "Bspl", "C", "Cel",
    "EL", "F", "GB", "Gy", "H", "Hz", "J", "J/m", "K", "KiB", "MB/s", "MHz", "Mbit/s", "N", "NTU", "Ohm",
    "Pa", "S", "S/m", "Sv", "T", "V", "VA", "VAs", "W", "W/m2", "Wb", "Wh", "Wh/km", "beat/min", "beats",
    "bit", "bit/s", "cd", "cd/m2", "cm", "count", "dB", "dBW", "dBm", "deg", "g", "h", "hPa", "kVA", "kVAh",
    "kW", "kWh", "kat", "kg", "kg/m3", "km", "km/h", "kvar", "kvarh", "l", "l/s", "lat", "lm", "lon", "lx",
    "m", "m/h", "m/s", "m/s2", "m2", "m3", "m3/s", "mA", "mV", "min", "mm", "mm/h", "mol", "ms", "pH", "ppm",
    "rad", "s", "sr", "ug/m3", "var", "varh", "vars",
];

/// Whether a unit is one of them.
pub fn is_registered(unit: &str) -> bool {
    REGISTERED.binary_search(&unit).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_told_apart_to_the_letter() {
        assert!(REGISTERED.is_sorted());
        assert!(["Cel", "%RH", "/", "m/s2", "kWh"].into_iter().all(is_registered));
        assert!(!["cel", "C\u{b0}", "celsius", "", "m/s3"].into_iter().any(is_registered));
    }
}
