//! The units of SenML: what a number means, told in words that all devices share.
//!
//! They are those of RFC 8428 §12.1, of RFC 8798 §2 with the secondary units of its §3, and what the registry
//! (<https://www.iana.org/assignments/senml>) had taken in besides by March 2021. Of its text of 2025-03-27 the beginning
//! was compared, and not all of it. A tenant's schema may name others.

/// By their bytes, so that they can be searched.
const REGISTERED: &[&str] = &[
    "%", "%EL", "%RH", "/", "/100", "/1000", "1/min", "1/s", "A", "Ah", "B", "B/s", "Bq", "Bspl", "C", "Cel",
    "EL", "F", "GB", "Gy", "H", "Hz", "J", "J/m", "K", "KiB", "MB/s", "MHz", "Mbit/s", "N", "NTU", "Ohm",
    "Pa", "S", "S/m", "Sv", "T", "V", "VA", "VAh", "VAs", "W", "W/m2", "Wb", "Wh", "Wh/km", "beat/min",
    "beats", "bit", "bit/s", "cd", "cd/m2", "cm", "count", "dB", "dBW", "dBm", "deg", "g", "g/l", "h", "hPa",
    "kVA", "kVAh", "kW", "kWh", "kat", "kg", "kg/m3", "km", "km/h", "kvar", "kvarh", "l", "l/s", "lat", "lm",
    "lon", "lx", "m", "m/h", "m/s", "m/s2", "m2", "m3", "m3/s", "mA", "mV", "mg/l", "min", "mm", "mm/h",
    "mol", "ms", "pH", "ppb", "ppm", "ppt", "rad", "s", "sr", "ug/l", "ug/m3", "var", "varh", "vars",
];

/// Whether a unit is one of them.
pub fn is_registered(unit: &str) -> bool {
    REGISTERED.binary_search(&unit).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8428 §12.1.
    const PRIMARY: &[&str] = &[
        "m", "kg", "g", "s", "A", "K", "cd", "mol", "Hz", "rad", "sr", "N", "Pa", "J", "W", "C", "V", "F",
        "Ohm", "S", "Wb", "T", "H", "Cel", "lm", "lx", "Bq", "Gy", "Sv", "kat", "m2", "m3", "l", "m/s",
        "m/s2", "m3/s", "l/s", "W/m2", "cd/m2", "bit", "bit/s", "lat", "lon", "pH", "dB", "dBW", "Bspl",
        "count", "/", "%", "%RH", "%EL", "EL", "1/s", "1/min", "beat/min", "beats", "S/m",
    ];
    /// RFC 8798 §2, and `NTU`, which came to the registry later.
    const MORE: &[&str] = &["B", "VA", "VAs", "var", "vars", "J/m", "kg/m3", "deg", "NTU"];
    /// RFC 8798 §3: multiples of those above.
    const SECONDARY: &[&str] = &[
        "ms", "min", "h", "MHz", "kW", "kVA", "kvar", "Ah", "Wh", "kWh", "varh", "kvarh", "kVAh", "Wh/km",
        "KiB", "GB", "Mbit/s", "B/s", "MB/s", "mV", "mA", "dBm", "ug/m3", "mm/h", "m/h", "ppm", "/100",
        "/1000", "hPa", "mm", "cm", "km", "km/h",
    ];
    /// Secondary units that came to the registry in 2021.
    const LATER: &[&str] = &["ppb", "ppt", "VAh", "mg/l", "ug/l", "g/l"];

    #[test]
    fn they_are_those_of_the_registry_and_no_others() {
        let mut all = [PRIMARY, MORE, SECONDARY, LATER].concat();
        all.sort_unstable();
        assert_eq!(all, REGISTERED);
    }

    #[test]
    fn units_are_told_apart_to_the_letter() {
        assert!(REGISTERED.is_sorted());
        assert!(["Cel", "%RH", "/", "m/s2", "kWh"].into_iter().all(is_registered));
        assert!(!["cel", "C\u{b0}", "celsius", "", "m/s3", "rpm"].into_iter().any(is_registered));
    }
}
