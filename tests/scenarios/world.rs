//! The stage on which each story is told: the demo's, smaller.

use muster_simulators::demo::{CHECKS, Check, Report, Stage, StageOptions};
use tempfile::TempDir;

/// A hub with two tenants and one device each, running, in a folder that goes with it.
pub struct World {
    pub stage: Stage,
    _folder: TempDir,
}

impl World {
    /// Raises the stage; says what kept it from it.
    pub fn raise() -> Self {
        Self::raise_with(&[])
    }

    /// Raises the stage with a hub that is set otherwise.
    pub fn raise_with(settings: &'static [(&'static str, &'static str)]) -> Self {
        let folder = TempDir::new().expect("a folder for the story");
        let mut told = Vec::new();
        let options = StageOptions { devices_per_tenant: 1, interval_s: 0.2, usual_ports: false, settings };
        let stage = Stage::raise(&folder.path().join("stage"), &options, &mut Report::new(&mut told));
        let stage = stage.unwrap_or_else(|error| panic!("{}\n{error}", String::from_utf8_lossy(&told)));
        Self { stage, _folder: folder }
    }

    /// Looks whether one of the demo's sentences holds here.
    pub fn holds(&mut self, sentence: &str) {
        let check: &Check =
            CHECKS.iter().find(|check| check.name == sentence).expect("the demo has this check");
        if let Err(why) = (check.run)(&mut self.stage) {
            panic!("{sentence}: {why}");
        }
    }
}
