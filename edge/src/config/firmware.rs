//! `[firmware]`: whether this agent installs firmware, and how.

use std::{path::PathBuf, time::Duration};

use muster_slots::{limits::IMAGE_BYTES_MAX, slot::Slot};
use muster_suit::{class_id, vendor_id};
use toml::{Table, Value};

use super::{ConfigError, Keys};
use crate::{
    firmware::{FirmwareSettings, SlotPlaces},
    limits::{COMMAND_ARGUMENTS_MAX, DOWNLOAD_TIME, DOWNLOAD_TIME_MAX, TRIAL_TIME, TRIAL_TIME_MAX},
};

impl Keys<'_> {
    pub(super) fn firmware(&mut self, model: &str) -> Result<Option<FirmwareSettings>, ConfigError> {
        let mut table = match self.take("firmware") {
            None => return Ok(None),
            Some(Value::Table(table)) => table,
            Some(other) => return Err(self.wrong("firmware", "a table", other.type_str())),
        };
        let vendor = self.firmware_text(&mut table, "vendor")?;
        let vendor = vendor.ok_or_else(|| {
            self.firmware_missing("firmware.vendor", "the maker's domain, such as \"acme.example\"")
        })?;
        let root = self.firmware_text(&mut table, "root")?;
        let root = root
            .ok_or_else(|| self.firmware_missing("firmware.root", "the file with the tenant's first root"))?;
        let class = self.firmware_text(&mut table, "class")?.unwrap_or_else(|| model.to_owned());
        let places = self.firmware_places(&mut table)?;
        let slot = match self.firmware_text(&mut table, "slot")?.as_deref() {
            None => None,
            Some("a") => Some(Slot::A),
            Some("b") => Some(Slot::B),
            Some(other) => return Err(self.wrong("firmware.slot", "\"a\" or \"b\"", other)),
        };
        let slot_bytes = match table.remove("slot_bytes") {
            None => IMAGE_BYTES_MAX,
            Some(value) => {
                let bytes = value.as_integer().and_then(|bytes| u64::try_from(bytes).ok());
                let wanted = format!("1 to {IMAGE_BYTES_MAX} bytes");
                bytes
                    .filter(|bytes| (1..=IMAGE_BYTES_MAX).contains(bytes))
                    .ok_or_else(|| self.wrong("firmware.slot_bytes", &wanted, &told(&value)))?
            }
        };
        let needs_connection = match table.remove("needs_connection") {
            None => true,
            Some(Value::Boolean(needs)) => needs,
            Some(other) => {
                return Err(self.wrong("firmware.needs_connection", "true or false", other.type_str()));
            }
        };
        let vendor = vendor_id(&vendor);
        let settings = FirmwareSettings {
            vendor,
            class: class_id(vendor, &class),
            root: root.into(),
            places,
            slot,
            version_file: self.firmware_text(&mut table, "version_file")?.map(PathBuf::from),
            slot_bytes,
            needs_connection,
            check: self.firmware_command(&mut table, "check")?,
            trial: self.firmware_time(&mut table, "trial_s", TRIAL_TIME, TRIAL_TIME_MAX)?,
            download: self.firmware_time(&mut table, "download_s", DOWNLOAD_TIME, DOWNLOAD_TIME_MAX)?,
            reboot: self.firmware_command(&mut table, "reboot")?,
        };
        match table.keys().next() {
            None => Ok(Some(settings)),
            Some(key) => {
                let (path, key) = (self.path.to_owned(), format!("firmware.{key}"));
                Err(ConfigError::Unknown { path, key, suggestion: None })
            }
        }
    }

    fn firmware_missing(&self, key: &'static str, wanted: &'static str) -> ConfigError {
        ConfigError::Missing { path: self.path.to_owned(), key, wanted }
    }

    fn firmware_text(&self, table: &mut Table, name: &str) -> Result<Option<String>, ConfigError> {
        match table.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) if !text.is_empty() => Ok(Some(text)),
            Some(other) => {
                let key = format!("firmware.{name}");
                Err(self.wrong(&key, "a text that is not empty", other.type_str()))
            }
        }
    }

    fn firmware_places(&self, table: &mut Table) -> Result<SlotPlaces, ConfigError> {
        let folder = self.firmware_text(table, "slots")?.map(PathBuf::from);
        let records = self.firmware_text(table, "records")?.map(PathBuf::from);
        let devices = match table.remove("devices") {
            None => None,
            Some(value) => {
                let paths = value.as_array().map(Vec::as_slice);
                let path = |value: &Value| value.as_str().filter(|path| !path.is_empty()).map(PathBuf::from);
                let pair = match paths {
                    Some([a, b]) => path(a).zip(path(b)).filter(|(a, b)| a != b),
                    _ => None,
                };
                let wanted = "two different paths, of slot a and of slot b";
                Some(pair.ok_or_else(|| self.wrong("firmware.devices", wanted, value.type_str()))?)
            }
        };
        match (folder, devices, records) {
            (Some(folder), None, None) => Ok(SlotPlaces::Folder(folder)),
            (None, Some((a, b)), Some(records)) => Ok(SlotPlaces::Devices { a, b, records }),
            (Some(_), _, _) => {
                Err(self.wrong("firmware.slots", "left out beside devices and records", "there"))
            }
            (None, Some(_), None) => {
                Err(self.firmware_missing("firmware.records", "a folder for the records of the devices"))
            }
            (None, None, _) => {
                Err(self.firmware_missing("firmware.slots", "the folder with slots, or devices and records"))
            }
        }
    }

    /// A program and its arguments; no shell is between.
    fn firmware_command(&self, table: &mut Table, name: &str) -> Result<Vec<String>, ConfigError> {
        let Some(value) = table.remove(name) else { return Ok(Vec::new()) };
        let words = value.as_array().filter(|words| (1..=COMMAND_ARGUMENTS_MAX).contains(&words.len()));
        let words =
            words.and_then(|words| words.iter().map(|word| word.as_str().map(str::to_owned)).collect());
        let wanted = format!("a list of a program and its arguments, at most {COMMAND_ARGUMENTS_MAX}");
        words.ok_or_else(|| self.wrong(&format!("firmware.{name}"), &wanted, value.type_str()))
    }

    fn firmware_time(
        &self,
        table: &mut Table,
        name: &str,
        usual: Duration,
        max: Duration,
    ) -> Result<Duration, ConfigError> {
        let Some(value) = table.remove(name) else { return Ok(usual) };
        let seconds = value.as_float().or_else(|| value.as_integer().map(|seconds| seconds as f64));
        let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let wanted = format!("more than 0 and at most {} seconds", max.as_secs());
        time.filter(|time| !time.is_zero() && *time <= max)
            .ok_or_else(|| self.wrong(&format!("firmware.{name}"), &wanted, &told(&value)))
    }
}

/// A number as it stands there; of anything else what it is.
fn told(value: &Value) -> String {
    match value {
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        other => other.type_str().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    const DEVICE: &str =
        "hub = \"h:1\"\nroot = \"r\"\ntpm = \"device:x\"\nmodel = \"pump-mk2\"\nstate_dir = \"s\"\n";

    fn parse(lines: &str) -> Result<Config, String> {
        Config::parse(Path::new("edge.toml"), &format!("{DEVICE}{lines}")).map_err(|error| error.to_string())
    }

    const GOOD: &str = "[firmware]\nvendor = \"acme.example\"\nroot = \"f\"\nslots = \"/s\"\n";

    #[test]
    fn without_its_table_nothing_is_installed() {
        assert_eq!(parse("").expect("good").firmware, None);
    }

    #[test]
    fn a_device_is_of_its_vendor_and_its_model() {
        let settings = parse(GOOD).expect("good").firmware.expect("there");
        assert_eq!(settings.class.to_string(), "7aa61680-d43f-5ce7-b3be-6db644fbd9a6");
        assert_eq!(settings.places, SlotPlaces::Folder("/s".into()));
        assert!(settings.needs_connection && settings.check.is_empty() && settings.reboot.is_empty());
        let devices = GOOD.replace("slots = \"/s\"", "devices = [\"/a\", \"/b\"]\nrecords = \"/r\"");
        let settings = parse(&devices).expect("good").firmware.expect("there");
        let (a, b, records) = ("/a".into(), "/b".into(), "/r".into());
        assert_eq!(settings.places, SlotPlaces::Devices { a, b, records });
    }

    #[test]
    fn each_wrong_value_of_firmware_names_its_key() {
        for (lines, expected) in [
            ("[firmware]\nroot = \"f\"", "firmware.vendor is missing"),
            ("[firmware]\nvendor = \"a\"", "firmware.root is missing"),
            ("[firmware]\nvendor = \"a\"\nroot = \"f\"", "firmware.slots is missing"),
            (&format!("{GOOD}slot = \"c\""), "firmware.slot must be \"a\" or \"b\""),
            (&format!("{GOOD}check = \"true\""), "firmware.check must be a list"),
            (&format!("{GOOD}check = []"), "firmware.check must be a list"),
            (&format!("{GOOD}trial_s = 0"), "firmware.trial_s must be more than 0"),
            (&format!("{GOOD}slot_bytes = 0"), "firmware.slot_bytes must be 1 to"),
            (&format!("{GOOD}devices = [\"/a\", \"/a\"]"), "firmware.devices must be two different paths"),
            (&format!("{GOOD}records = \"/r\""), "firmware.slots must be left out"),
            (&format!("{GOOD}colour = 1"), "there is no key \"firmware.colour\""),
        ] {
            let error = parse(lines).expect_err("refused");
            assert!(error.contains(expected), "{lines}: {error}");
        }
    }
}
