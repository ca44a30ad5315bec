//! The units of SenML: the registry of RFC 8428 §12.1 with the secondary units of RFC 8798, whatever it recommends.

/// In byte order, to be searched.
const REGISTERED: &[&str] = &[
    "%", "%EL", "%RH", "/", "/100", "/1000", "1/min", "1/s", "A", "Ah", "B", "B/s", "Bq", "Bspl", "C", "Cel",
    "EL", "F", "GB", "Gy", "H", "Hz", "J", "J/m", "K", "KiB", "MB/s", "MHz", "Mbit/s", "N", "Ohm", "Pa", "S",
    "S/m", "Sv", "T", "V", "VA", "VAs", "W", "W/m2", "Wb", "Wh", "Wh/km", "beat/min", "beats", "bit",
    "bit/s", "cd", "cd/m2", "cm", "count", "dB", "dBW", "dBm", "deg", "g", "h", "hPa", "kVA", "kVAh", "kW",
    "kWh", "kat", "kg", "kg/m3", "km", "km/h", "kvar", "kvarh", "l", "l/s", "lat", "lm", "lon", "lx", "m",
    "m/h", "m/s", "m/s2", "m2", "m3", "m3/s", "mA", "mV", "min", "mm", "mm/h", "mol", "ms", "pH", "ppm",
    "rad", "s", "sr", "ug/m3", "var", "varh", "vars",
];

/// Whether a unit is registered for SenML.
pub fn is_registered(unit: &str) -> bool {
    REGISTERED.binary_search(&unit).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_knows_a_unit_from_a_word() {
        assert!(REGISTERED.is_sorted());
        for unit in ["Cel", "%RH", "/", "m/s2", "kWh", "B", "vars", "%"] {
            assert!(is_registered(unit), "{unit}");
        }
        for unit in ["", "cel", "°C", "degF", "celsius", "kwh", "zz"] {
            assert!(!is_registered(unit), "{unit}");
        }
    }
}
