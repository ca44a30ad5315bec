//! The machine that was measured on, so that numbers are not read without it.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
    thread::available_parallelism,
    time::Duration,
};

use super::{
    limits::{APPENDED_BYTES, APPENDING_TIME, DISK_WRITE_BYTES, DISK_WRITES},
    sample::Sample,
};
use crate::process::now;

/// What the machine is, each as a line of text.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Processors that this process may use.
    pub cores: usize,
    /// Their model.
    pub model: String,
    /// Memory, in MiB.
    pub memory_mib: u64,
    /// The kernel's release.
    pub kernel: String,
    /// The file system that the hub's folder is on.
    pub file_system: String,
    /// The load average of the last minute when the run began, which tells how shared the machine was.
    pub load: String,
}

impl Machine {
    /// Looks at it; what cannot be told is "unknown".
    pub fn look(folder: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let known = |text: Option<&str>| text.map_or("unknown", str::trim).to_owned();
        let (cpuinfo, meminfo, loadavg) =
            (read("/proc/cpuinfo"), read("/proc/meminfo"), read("/proc/loadavg"));
        let memory_kib =
            value_of(&meminfo, "MemTotal").and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
        Self {
            cores: available_parallelism().map_or(1, Into::into),
            model: known(value_of(&cpuinfo, "model name")),
            memory_mib: memory_kib.unwrap_or_default() / 1_024,
            kernel: known(Some(&read("/proc/sys/kernel/osrelease"))),
            file_system: known(file_system_of(&read("/proc/self/mounts"), folder)),
            load: known(loadavg.split(' ').next()),
        }
    }
}

/// The value of a line `name : value`.
fn value_of<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let named = text.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| key.trim() == name);
    Some(named?.1.trim())
}

/// The type of the file system with the longest mount point above `folder`.
fn file_system_of<'a>(mounts: &'a str, folder: &Path) -> Option<&'a str> {
    let read = |line: &'a str| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    };
    let above = mounts.lines().filter_map(read).filter(|(point, _)| folder.starts_with(point));
    Some(above.max_by_key(|(point, _)| point.len())?.1)
}

/// How long the disk takes to make a small append durable.
///
/// # Errors
/// The file cannot be written.
pub fn durable_writes(folder: &Path) -> io::Result<Sample> {
    let path = folder.join("disk");
    let mut file = File::create(&path)?;
    let mut times = Vec::with_capacity(DISK_WRITES);
    for _ in 0..DISK_WRITES {
        let started = now();
        file.write_all(&[7; DISK_WRITE_BYTES])?;
        file.sync_data()?;
        times.push(now() - started);
    }
    fs::remove_file(path)?;
    Ok(Sample::new(times))
}

/// Records appended to a file in so much time.
#[derive(Debug, Clone, Copy)]
pub struct Appended {
    /// How many.
    pub count: usize,
    /// How long that took.
    pub time: Duration,
}

/// What the simplest durable log does: one write and one `fdatasync` for each batch of records.
///
/// # Errors
/// The file cannot be written.
pub fn appended_log(folder: &Path, batch: usize) -> io::Result<Appended> {
    let path = folder.join("log");
    let mut file = File::create(&path)?;
    let records = vec![7; batch * APPENDED_BYTES];
    let (started, mut count) = (now(), 0);
    while now() - started < APPENDING_TIME {
        file.write_all(&records)?;
        file.sync_data()?;
        count += batch;
    }
    let time = now() - started;
    fs::remove_file(path)?;
    Ok(Appended { count, time })
}

/// Bytes of all files below `folder`. A file that goes while we look counts nothing.
///
/// # Errors
/// A folder cannot be read.
pub fn bytes_below(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)?.flatten() {
        bytes += match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path())?,
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_on_the_file_system_mounted_closest_above_it() {
        let mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/vdb /tmp/disk xfs rw 0 0\n";
        let on = |folder: &str| file_system_of(mounts, Path::new(folder));
        assert_eq!(
            (on("/var/lib"), on("/tmp/a"), on("/tmp/disk/a"), on("/tmpfoo")),
            (Some("ext4"), Some("tmpfs"), Some("xfs"), Some("ext4"))
        );
    }

    #[test]
    fn values_are_found_by_name() {
        assert_eq!(value_of("vendor_id\t: x\nmodel name\t: A: B\n", "model name"), Some("A: B"));
    }
}
