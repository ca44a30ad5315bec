//! This machine's own state, read from its kernel's files. What is not there is left out.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use muster_schemas::senml::Pack;

use super::{cpu::CpuTime, disk, memory, network, thermal::celsius};
use crate::limits::{SOURCE_BYTES_MAX, THERMAL_ZONES_COUNT_MAX};

/// Where the readings come from, and what is needed of the last one.
#[derive(Debug)]
pub struct Machine {
    proc: PathBuf,
    /// Files of the thermal zones, found once.
    zones: Vec<PathBuf>,
    disk: PathBuf,
    cpu: Option<CpuTime>,
}

impl Machine {
    /// This machine; `disk` is a folder on the file system to watch.
    #[must_use]
    pub fn new(disk: &Path) -> Self {
        Self::at(Path::new("/proc"), Path::new("/sys"), disk)
    }

    fn at(proc: &Path, sys: &Path, disk: &Path) -> Self {
        let class = sys.join("class/thermal");
        let zones = (0..THERMAL_ZONES_COUNT_MAX).map(|zone| class.join(format!("thermal_zone{zone}/temp")));
        Self {
            proc: proc.to_owned(),
            zones: zones.filter(|zone| zone.exists()).collect(),
            disk: disk.to_owned(),
            cpu: None,
        }
    }

    /// Reads everything into a pack.
    pub fn read(&mut self, pack: &mut Pack) {
        if let Some(load) = self.load() {
            pack.number("cpu-load", Some("%"), load);
        }
        if let Some(bytes) = text(&self.proc.join("meminfo")).and_then(|text| memory::available_bytes(&text))
        {
            pack.number("memory-available", Some("B"), bytes as f64);
        }
        // The hottest zone is the one that matters.
        let hottest = self.zones.iter().filter_map(|zone| celsius(&text(zone)?)).max_by(f64::total_cmp);
        if let Some(hottest) = hottest {
            pack.number("temperature", Some("Cel"), hottest);
        }
        if let Some(free) = disk::free_percent(&self.disk) {
            pack.number("disk-free", Some("%"), free);
        }
        if let Some(traffic) = text(&self.proc.join("net/dev")).and_then(|text| network::parse(&text)) {
            pack.number("network-received", Some("B"), traffic.received as f64);
            pack.number("network-sent", Some("B"), traffic.sent as f64);
        }
    }

    /// Since the last reading; since boot in the first, and when no tick has passed in between.
    fn load(&mut self) -> Option<f64> {
        let now = CpuTime::parse(&text(&self.proc.join("stat"))?)?;
        let Some(last) = self.cpu else {
            self.cpu = Some(now);
            return now.load_since_boot();
        };
        let load = now.load_since(last);
        if load.is_some() {
            self.cpu = Some(now);
        }
        load.or_else(|| now.load_since_boot())
    }
}

/// A file of the kernel's, cut at a bound: its size is not known before.
fn text(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(SOURCE_BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use muster_schemas::senml::Value;

    use super::*;

    fn names(pack: &Pack) -> Vec<(String, f64)> {
        let records = pack.resolve(1_790_000_000.0).unwrap();
        let number = |value| match value {
            Some(Value::Number(number)) => number,
            other => panic!("{other:?} is no number"),
        };
        records.into_iter().map(|record| (record.name, number(record.value))).collect()
    }

    #[test]
    fn what_the_kernel_says_is_in_the_pack() {
        let folder = tempfile::tempdir().unwrap();
        let (proc, sys) = (folder.path().join("proc"), folder.path().join("sys"));
        fs::create_dir_all(proc.join("net")).unwrap();
        fs::create_dir_all(sys.join("class/thermal/thermal_zone1")).unwrap();
        fs::write(proc.join("stat"), "cpu  10 0 0 30 0 0 0 0 0 0\n").unwrap();
        fs::write(proc.join("meminfo"), "MemAvailable:    2 kB\n").unwrap();
        fs::write(proc.join("net/dev"), "a|b\nc|d\n eth0: 5 0 0 0 0 0 0 0 7 0 0 0 0 0 0 0\n").unwrap();
        fs::write(sys.join("class/thermal/thermal_zone1/temp"), "41500\n").unwrap();
        let mut machine = Machine::at(&proc, &sys, folder.path());
        let mut pack = Pack::new("dev:", 1_790_000_000.0);
        machine.read(&mut pack);
        let mut found = names(&pack);
        let disk = found.remove(3);
        assert_eq!(disk.0, "dev:disk-free");
        let expected = [
            ("dev:cpu-load", 25.0),
            ("dev:memory-available", 2_048.0),
            ("dev:temperature", 41.5),
            ("dev:network-received", 5.0),
            ("dev:network-sent", 7.0),
        ];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value)));
        fs::write(proc.join("stat"), "cpu  40 0 0 40 0 0 0 0 0 0\n").unwrap();
        let mut pack = Pack::new("dev:", 1_790_000_001.0);
        machine.read(&mut pack);
        assert_eq!(names(&pack)[0], ("dev:cpu-load".to_owned(), 75.0));
    }

    #[test]
    fn what_is_not_there_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let mut machine = Machine::at(folder.path(), folder.path(), &folder.path().join("nowhere"));
        let mut pack = Pack::new("dev:", 1.0);
        machine.read(&mut pack);
        assert!(pack.is_empty());
    }
}
