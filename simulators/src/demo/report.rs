//! What the demo says: what happens as it happens, one line per check, and what a person can do next.

use std::io::Write;

use super::{Stage, Verdict};
use crate::process::now;

/// Writes the demo's lines.
pub struct Report<'a> {
    out: &'a mut dyn Write,
    passed: usize,
    failed: usize,
    started: std::time::Instant,
}

impl<'a> Report<'a> {
    /// A report that has said nothing yet.
    pub fn new(out: &'a mut dyn Write) -> Self {
        Self { out, passed: 0, failed: 0, started: now() }
    }

    /// Something happened.
    pub fn tell(&mut self, what: &str) {
        let at = self.started.elapsed().as_secs_f64();
        self.line(&format!("{at:6.1}s  {what}"));
    }

    /// A check came out.
    pub fn check(&mut self, name: &str, verdict: Verdict) {
        match verdict {
            Ok(seen) => {
                self.passed += 1;
                self.line(&format!("   ok   {name}: {seen}"));
            }
            Err(why) => {
                self.failed += 1;
                self.line(&format!("  FAIL  {name}: {why}"));
            }
        }
    }

    /// The last line. Gives whether every check passed.
    pub fn close(mut self) -> bool {
        let (passed, failed) = (self.passed, self.failed);
        self.line(&format!("demo: {passed} checks passed, {failed} failed"));
        failed == 0 && passed > 0
    }

    /// What a person can do while the demo is up: four lines to copy.
    pub fn what_next(&mut self, stage: &Stage) {
        let Some(tenant) = stage.tenants.first() else { return };
        let app = tenant.app.folder.display();
        let operator = stage.hub.operator();
        let (api, operator, name) = (stage.hub.api(), operator.display(), &tenant.name);
        let muster =
            crate::programs::find("muster").map_or_else(|_| "muster".to_owned(), |p| p.display().to_string());
        let device = tenant.devices.first().map_or("", |device| device.id.as_str());
        self.line("\nIt is yours until Ctrl-C. Copy a line:\n");
        self.line("  # subscribe as acme's app, with a client you know");
        self.line(&format!("  {}\n", tenant.app.line));
        self.line("  # ask for what was stored");
        self.line(&format!("  {muster} --identity {app} --hub {api} telemetry last --device {device}\n"));
        self.line("  # list the devices, as the operator");
        self.line(&format!("  {muster} --identity {operator} --hub {api} device list --tenant {name}\n"));
        self.line("  # what the hub counts");
        self.line(&format!(
            "  curl -s --cacert {operator}/ca.pem --cert {operator}/cert.pem --key {operator}/key.pem {api}/metrics\n"
        ));
    }

    fn line(&mut self, line: &str) {
        // Nobody is left to tell if standard output is closed.
        let _ = writeln!(self.out, "{line}");
        let _ = self.out.flush();
    }
}
