//! Where the programs of this project are.

use std::{env, path::PathBuf};

/// The path of one of the project's programs: beside the running one, or where cargo puts it for a test.
///
/// # Errors
/// It has not been built; the text says how to.
pub fn find(name: &str) -> Result<PathBuf, String> {
    let current =
        env::current_exe().map_err(|error| format!("failed to find the running program: {error}"))?;
    let found =
        current.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| format!("{name} has not been built; run: cargo build -p muster-hub -p muster-edge"))
}
