//! Room on the disk that holds the agent's state.

use std::path::Path;

use super::cpu::percent;

/// Percentage of the file system's blocks that this user can still write.
pub(super) fn free_percent(folder: &Path) -> Option<f64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    share(disk.f_bavail, disk.f_blocks)
}

fn share(free: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| percent(free.min(all), all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_free_share_is_a_percentage() {
        assert_eq!(share(1, 4), Some(25.0));
        assert_eq!(share(5, 4), Some(100.0));
        assert_eq!(share(0, 0), None, "a file system without blocks has no share");
        assert!(free_percent(Path::new("/")).is_some_and(|free| (0.0..=100.0).contains(&free)));
    }
}
