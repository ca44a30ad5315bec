//! Telemetry to measure with, the same in every run: a synthetic plant, and a look at this machine's own numbers.

use std::{fs, time::Duration};

use muster_schemas::{DeviceId, senml::Pack};

use crate::process::now;

/// When the first reading was measured: a midnight, Unix seconds.
pub const BEGIN_S: f64 = 1_760_054_400.0;
/// Between two packs of a device, in seconds.
pub const INTERVAL_S: f64 = 10.0;
/// Looks at the machine itself, and how long each takes.
const LOOKS: (usize, Duration) = (1_024, Duration::from_millis(25));

/// The name of a device of the plant.
pub fn device(number: usize) -> DeviceId {
    format!("press-{number:05}").parse().unwrap_or_else(|_| unreachable!("letters and digits are an id"))
}

/// What a device of the plant says: decimals as sensors write them, counters, states, and a vibration in full precision.
pub fn plant(device: usize, at: usize) -> Vec<u8> {
    let noise = |of: u64| {
        let mut seed = (device as u64) << 40 ^ (at as u64) << 8 ^ of;
        for _ in 0..3 {
            seed = (seed ^ seed >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        (seed >> 11) as f64 / (1_u64 << 53) as f64
    };
    let jitter = if device % 2 == 1 { (noise(0) * 50.0).round() / 1_000.0 } else { 0.0 };
    let (second, phase) = (at as f64 * INTERVAL_S, device as f64);
    let wave = |period_s: f64| (second / period_s + phase).sin();
    let decimals = |number: f64, scale: f64| (number * scale).round() / scale;
    let id = self::device(device);
    let mut pack = Pack::new(&format!("urn:dev:{id}:"), BEGIN_S + second + jitter);
    pack.number("temperature", Some("Cel"), decimals(40.0 + 9.0 * wave(3_000.0) + noise(1) * 0.2, 10.0))
        .number("humidity", Some("%RH"), decimals(45.0 + 5.0 * wave(9_000.0), 10.0))
        .number("voltage", Some("V"), decimals(230.0 + noise(2) * 2.0 + wave(600.0), 100.0))
        .number("current", Some("A"), decimals(2.0 + noise(3) * 0.1, 100.0))
        .number("energy", Some("Wh"), (second * 1.3 + noise(4) * 10.0).round())
        .number("state", None, (second / 900.0 + phase).floor() % 4.0)
        .number("rssi", Some("dBm"), (-60.0 - noise(5) * 6.0).round())
        .number("uptime", Some("s"), second)
        .number("pressure", Some("hPa"), decimals(1_013.0 + 3.0 * wave(20_000.0), 10.0))
        .number("vibration", Some("m/s2"), noise(6) * 0.02);
    pack.encode_cbor()
}

/// Looks at the machine itself, as fast as its numbers change.
pub fn look_at_machine() -> Vec<Vec<u8>> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let word = |text: &str, name: &str, at: usize| {
        let line = text.lines().find(|line| line.trim_start().starts_with(name))?;
        line.split_whitespace().nth(at)?.parse::<f64>().ok()
    };
    let mut looks = Vec::with_capacity(LOOKS.0);
    let (begun, mut last_ms) = (now(), 0_u64);
    for look in 0..LOOKS.0 {
        let (load, memory, cpu, disk) =
            (read("/proc/loadavg"), read("/proc/meminfo"), read("/proc/stat"), read("/proc/vmstat"));
        // Who was kept from the processor looks late at several of them: each still has a time of its own.
        last_ms = last_ms.saturating_add(1).max((now() - begun).as_millis() as u64);
        let at_ms = last_ms as f64;
        let mut pack = Pack::new("urn:dev:machine:", BEGIN_S + at_ms / 1_000.0);
        let mut say = |name: &str, unit: &str, number: Option<f64>| {
            if let Some(number) = number {
                pack.number(name, Some(unit), number);
            }
        };
        say("load", "count", load.split_whitespace().next().and_then(|text| text.parse().ok()));
        say("memory", "KiB", word(&memory, "MemAvailable", 1));
        say("cached", "KiB", word(&memory, "Cached", 1));
        say("dirty", "KiB", word(&memory, "Dirty", 1));
        say("user", "count", word(&cpu, "cpu ", 1));
        say("system", "count", word(&cpu, "cpu ", 3));
        say("idle", "count", word(&cpu, "cpu ", 4));
        say("switches", "count", word(&cpu, "ctxt", 1));
        say("read", "KiB", word(&disk, "pgpgin", 1));
        say("written", "KiB", word(&disk, "pgpgout", 1));
        looks.push(pack.encode_cbor());
        let next = LOOKS.1 * (look as u32 + 1);
        while now() - begun < next {
            std::thread::park_timeout(next.saturating_sub(now() - begun));
        }
    }
    looks
}
