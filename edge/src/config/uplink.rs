//! `[uplink]`: whom readings are sealed to before they leave this device.

use std::{collections::BTreeMap, path::PathBuf};

use muster_seal::{Padding, limits::RECIPIENTS_MAX};
use toml::Value;

use super::{ConfigError, Keys};
use crate::limits::SEALED_STREAMS_MAX;

/// How a PEM file begins, and a key that is written into the configuration itself.
const PEM_BEGINS: &str = "-----BEGIN ";

/// Where a public key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SealKey {
    /// In a file.
    File(PathBuf),
    /// In the configuration: the PEM itself.
    Inline(String),
}

/// Whom readings are sealed to: public keys, as the tenant's apps gave them out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SealTo {
    /// `seal_to` as one key or a list: of every stream.
    pub every: Vec<SealKey>,
    /// `[uplink.seal_to]` as a table: of these streams only.
    pub streams: BTreeMap<String, Vec<SealKey>>,
    /// `seal_padding`: whether the length of a reading is hidden in its size class.
    pub padding: Padding,
}

impl Keys<'_> {
    pub(super) fn uplink(&mut self) -> Result<SealTo, ConfigError> {
        let mut table = match self.take("uplink") {
            None => return Ok(SealTo::default()),
            Some(Value::Table(table)) => table,
            Some(other) => return Err(self.wrong("uplink", "a table", other.type_str())),
        };
        let mut seal_to = SealTo::default();
        match table.remove("seal_to") {
            None => {}
            Some(Value::Table(streams)) if streams.len() > SEALED_STREAMS_MAX => {
                let wanted = format!("a table of at most {SEALED_STREAMS_MAX} streams");
                return Err(self.wrong("uplink.seal_to", &wanted, &streams.len().to_string()));
            }
            Some(Value::Table(streams)) => {
                for (stream, keys) in streams {
                    let keys = self.seal_keys(&format!("uplink.seal_to.{stream}"), &keys)?;
                    seal_to.streams.insert(stream, keys);
                }
            }
            Some(keys) => seal_to.every = self.seal_keys("uplink.seal_to", &keys)?,
        }
        match table.remove("seal_padding") {
            None | Some(Value::Boolean(false)) => {}
            Some(Value::Boolean(true)) => seal_to.padding = Padding::SizeClasses,
            Some(other) => return Err(self.wrong("uplink.seal_padding", "true or false", other.type_str())),
        }
        match table.keys().next() {
            None => Ok(seal_to),
            Some(key) => {
                let (path, key) = (self.path.to_owned(), format!("uplink.{key}"));
                Err(ConfigError::Unknown { path, key, suggestion: None })
            }
        }
    }

    /// One key or several. An empty list is an error and not the absence of one: who writes it means to seal.
    fn seal_keys(&self, name: &str, value: &Value) -> Result<Vec<SealKey>, ConfigError> {
        let wanted =
            format!("an app's public key, as a file or in PEM, or a list of 1 to {RECIPIENTS_MAX} of them");
        let key = |value: &Value| match value.as_str()?.trim_start() {
            "" => None,
            pem if pem.starts_with(PEM_BEGINS) => Some(SealKey::Inline(pem.to_owned())),
            file => Some(SealKey::File(file.into())),
        };
        let keys = match value {
            Value::Array(keys) if (1..=RECIPIENTS_MAX).contains(&keys.len()) => {
                keys.iter().map(key).collect()
            }
            other => key(other).map(|key| vec![key]),
        };
        keys.ok_or_else(|| self.wrong(name, &wanted, value.type_str()))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    fn with(uplink: &str) -> Result<SealTo, String> {
        let text = format!(
            "hub = \"h:8883\"\nroot = \"r\"\ntpm = \"device:/dev/tpmrm0\"\nmodel = \"m\"\nstate_dir = \"s\"\n{uplink}"
        );
        Config::parse(Path::new("edge.toml"), &text)
            .map(|config| config.seal_to)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_is_sealed_unless_it_is_said() {
        assert_eq!(with(""), Ok(SealTo::default()));
        assert_eq!(with("[uplink]"), Ok(SealTo::default()));
    }

    #[test]
    fn every_stream_or_some_are_sealed() {
        let every = with("[uplink]\nseal_to = [\"a.pem\", \"b.pem\"]\nseal_padding = true").expect("good");
        assert_eq!(every.every, ["a.pem", "b.pem"].map(|file| SealKey::File(file.into())));
        assert_eq!(every.padding, Padding::SizeClasses);
        let one = with("[uplink]\nseal_to = \"a.pem\"").expect("good");
        assert_eq!(one.every, [SealKey::File("a.pem".into())]);
        let inline =
            with("[uplink]\nseal_to = \"\"\"\n-----BEGIN PUBLIC KEY-----\nMCow\n\"\"\"").expect("good");
        assert_eq!(inline.every, [SealKey::Inline("-----BEGIN PUBLIC KEY-----\nMCow\n".into())]);
        let some = with("[uplink.seal_to]\nlabels = [\"a.pem\"]").expect("good");
        assert_eq!((some.every.len(), some.streams["labels"].len()), (0, 1));
    }

    #[test]
    fn each_wrong_value_names_its_key() {
        for (uplink, expected) in [
            ("uplink = 7", "uplink must be a table"),
            (
                "[uplink]\nseal_to = []",
                "uplink.seal_to must be an app's public key, as a file or in PEM, or a list of 1",
            ),
            ("[uplink]\nseal_to = \" \"", "uplink.seal_to must be an app's public key"),
            ("[uplink.seal_to]\nlabels = [7]", "uplink.seal_to.labels must be an app's public key"),
            ("[uplink]\nseal_padding = 1", "uplink.seal_padding must be true or false"),
            ("[uplink]\nseal_too = []", "there is no key \"uplink.seal_too\""),
        ] {
            let error = with(uplink).expect_err("refused");
            assert!(error.contains(expected), "{uplink}: {error}");
        }
    }
}
