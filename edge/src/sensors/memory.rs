//! Memory that programs can still have, from `/proc/meminfo`.

/// Bytes of `MemAvailable`, which the kernel estimates without swapping.
pub(super) fn available_bytes(meminfo: &str) -> Option<u64> {
    let value = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = value.trim().strip_suffix(" kB")?.trim_end().parse().ok()?;
    kibibytes.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_available_memory_is_read_in_bytes() {
        let meminfo =
            "MemTotal:        8039204 kB\nMemFree:          211364 kB\nMemAvailable:    5123456 kB\n";
        assert_eq!(available_bytes(meminfo), Some(5_123_456 * 1_024));
        assert_eq!(available_bytes("MemTotal:        8039204 kB\n"), None);
        assert_eq!(available_bytes("MemAvailable:    lots kB\n"), None);
    }
}
