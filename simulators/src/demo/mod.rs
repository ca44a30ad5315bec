//! The main job on one machine, told as it happens and checked: first boot to tenant app.

mod checks;
mod report;
mod stage;

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use tokio::signal::unix::{SignalKind, signal};

pub use checks::{CHECKS, Check, Verdict};
pub use report::Report;
pub use stage::{CANARY, Stage, StageError, StageOptions, Tenant};

/// Runs the demo. With `once` it checks itself, leaves nothing running, and gives whether all was well; without, it
/// stays up until Ctrl-C.
///
/// # Errors
/// The stage could not be raised, such as when a program has not been built.
pub fn run(once: bool, out: &mut dyn Write) -> Result<bool, StageError> {
    let folder = tempfile::Builder::new().prefix("muster-demo-").tempdir()?;
    let options = StageOptions { devices_per_tenant: 2, interval_s: 1.0, usual_ports: !once, settings: &[] };
    let mut report = Report::new(out);
    let mut stage = Stage::raise(folder.path(), &options, &mut report)?;
    if once {
        for check in CHECKS {
            report.check(check.name, (check.run)(&mut stage));
        }
        stage.lower();
        return Ok(report.close());
    }
    report.what_next(&stage);
    stage.follow(&mut report, interruption()?.as_ref());
    stage.lower();
    report.tell("stopped; nothing is left running, and the folder is gone");
    Ok(true)
}

/// Becomes true when the person has had enough (Ctrl-C), or the system has (SIGTERM).
fn interruption() -> io::Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let told = interrupted.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _entered = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        });
        told.store(true, Ordering::Relaxed);
    });
    Ok(interrupted)
}
