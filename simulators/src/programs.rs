//! Where the programs of this project are.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The path of one of the project's programs: in one of the folders of `MUSTER_PROGRAMS` (as in `PATH`), beside the
/// running one, or where cargo puts it for a test.
///
/// # Errors
/// It has not been built; the text says how to.
pub fn find(name: &str) -> Result<PathBuf, String> {
    let current =
        env::current_exe().map_err(|error| format!("failed to find the running program: {error}"))?;
    let named = env::var_os("MUSTER_PROGRAMS").unwrap_or_default();
    let near = current.ancestors().skip(1).take(2).map(Path::to_owned);
    // Without a folder the name would be looked for in `PATH`.
    let named = env::split_paths(&named).filter(|folder| !folder.as_os_str().is_empty());
    let found = named.chain(near).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| format!("{name} has not been built; run: cargo build -p muster-hub -p muster-edge"))
}
