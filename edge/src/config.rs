//! The configuration, read once and then trusted: an unknown key, a wrong kind or a value out of range is an error
//! that names the key.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use muster_schemas::limits::{ENROLMENT_ENDPOINT_BYTES_MAX, ENROLMENT_LABEL_BYTES_MAX};
use rustls::pki_types::ServerName;
use toml::{Table, Value};

use crate::firmware::FirmwareSettings;
use crate::firmware_bound::FirmwareBound;
use crate::limits::{
    CONFIG_BYTES_MAX, INTERVAL_MAX, INTERVAL_MIN, LABEL_NAME_BYTES_MAX, LABEL_TEXT_BYTES_MAX,
    LABELS_COUNT_MAX, MEASURED_FILES_MAX, RETRY_FIRST, RETRY_MAX,
};
use crate::{introduction::IntroductionSources, measure::Measure};

mod firmware;
mod uplink;

pub use uplink::{SealKey, SealTo};

/// How alike a known key must be to be offered in place of an unknown one (0 to 1).
const LIKENESS_MIN: f64 = 0.7;
/// The name of the keys that are no TPM, in `tpm`.
const SIMULATED: &str = "simulated-software-key";

/// What the agent is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `hub`: where the hub listens for MQTT over TLS, as `host:port`.
    pub hub: String,
    /// `server_name`: a name in the hub's certificate; the host of `hub` when absent.
    pub server_name: ServerName<'static>,
    /// `root`: the file with the hub's root certificate, in PEM.
    pub root: PathBuf,
    /// `tpm`: where the keys are.
    pub tpm: TpmChoice,
    /// `claim`: the code that ties an unknown chip to a tenant.
    pub claim: Option<String>,
    /// `model`: what this device is, for people and for claims of one model.
    pub model: String,
    /// `state_dir`: where the certificate is kept. Nothing secret is.
    pub state_dir: PathBuf,
    /// `interval_s`: pause between two readings of this machine.
    pub interval: Duration,
    /// `retry_first_s`: the first pause after a lost connection.
    pub retry_first: Duration,
    /// `retry_max_s`: the longest pause between two attempts to connect.
    pub retry_max: Duration,
    /// What this device says of itself when it enrols.
    pub introduction: IntroductionSources,
    /// `[measure]`: what is measured into which register.
    pub measure: Measure,
    /// `[firmware_bound]`: what identity keys are bound to, if they are.
    pub firmware_bound: Option<FirmwareBound>,
    /// `[firmware]`: how firmware is installed, if it is.
    pub firmware: Option<FirmwareSettings>,
    /// `[uplink]`: whom readings are sealed to before they leave.
    pub seal_to: SealTo,
    /// `[labels]`: fixed texts that are published in the stream `labels`.
    pub labels: BTreeMap<String, String>,
}

/// Where the keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TpmChoice {
    /// A TPM, as the TSS names it: `device:/dev/tpmrm0`, `swtpm:host=127.0.0.1,port=2321`.
    Tcti(String),
    /// Keys in plain memory, for tests of load. They protect nothing, and a hub calls them simulated.
    SimulatedSoftwareKey,
}

impl fmt::Display for TpmChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcti(tcti) => f.write_str(tcti),
            Self::SimulatedSoftwareKey => f.write_str(SIMULATED),
        }
    }
}

/// Why a configuration is not one.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("read {path}: {source}; is it the right --config?")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// Larger than a configuration.
    #[error("read {path}: it has more than {CONFIG_BYTES_MAX} bytes")]
    TooLarge {
        /// Which file.
        path: PathBuf,
    },
    /// Not TOML.
    #[error("read {path}: {message}")]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// What the parser says, with line and column.
        message: String,
    },
    /// A key that nobody knows.
    #[error("understand {path}: there is no key {key:?}{}", meant(.suggestion))]
    Unknown {
        /// Which file.
        path: PathBuf,
        /// The whole path of the key.
        key: String,
        /// The known key that it resembles.
        suggestion: Option<&'static str>,
    },
    /// A value of the wrong kind or outside its range.
    #[error("understand {path}: {key} must be {wanted}, and is {found}")]
    Wrong {
        /// Which file.
        path: PathBuf,
        /// The whole path of the key.
        key: String,
        /// What would be right.
        wanted: String,
        /// What stands there.
        found: String,
    },
    /// A key that must be there.
    #[error("understand {path}: {key} is missing; it must be {wanted}")]
    Missing {
        /// Which file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// What would be right.
        wanted: &'static str,
    },
}

fn meant(suggestion: &Option<&'static str>) -> String {
    suggestion.map(|known| format!("; did you mean {known:?}?")).unwrap_or_default()
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or is not a configuration.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let read = |source| ConfigError::Read { path: path.to_owned(), source };
        if fs::metadata(path).map_err(read)?.len() > CONFIG_BYTES_MAX {
            return Err(ConfigError::TooLarge { path: path.to_owned() });
        }
        Self::parse(path, &fs::read_to_string(path).map_err(read)?)
    }

    /// Reads a text; `path` is what errors name.
    ///
    /// # Errors
    /// It is not a configuration.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let left = text.parse::<Table>().map_err(|error| ConfigError::Syntax {
            path: path.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        })?;
        let mut keys = Keys { path, left, asked: Vec::new() };
        let hub = keys.required(
            "hub",
            ENROLMENT_ENDPOINT_BYTES_MAX,
            "the hub's address, such as \"hub.example:8883\"",
        )?;
        let host = keys.host(&hub)?;
        let name = keys.text("server_name", ENROLMENT_ENDPOINT_BYTES_MAX)?.unwrap_or(host);
        let server_name = ServerName::try_from(name.clone())
            .map_err(|_| keys.wrong("server_name", "a DNS name or an IP address", &name))?;
        let root = keys.required("root", usize::MAX, "the file with the hub's root certificate")?.into();
        let tpm = keys.required("tpm", usize::MAX, "such as \"device:/dev/tpmrm0\"")?;
        let tpm = keys.tpm(tpm)?;
        let mut config = Self {
            hub,
            server_name,
            root,
            tpm,
            claim: keys.text("claim", ENROLMENT_LABEL_BYTES_MAX)?,
            model: keys.required(
                "model",
                ENROLMENT_LABEL_BYTES_MAX,
                "what this device is, such as \"pump-mk2\"",
            )?,
            state_dir: keys.required("state_dir", usize::MAX, "a folder of the agent's own")?.into(),
            interval: keys.duration("interval_s", INTERVAL_MIN, INTERVAL_MAX, Duration::from_secs(10))?,
            retry_first: keys.duration("retry_first_s", INTERVAL_MIN, RETRY_MAX, RETRY_FIRST)?,
            retry_max: keys.duration("retry_max_s", INTERVAL_MIN, INTERVAL_MAX, RETRY_MAX)?,
            introduction: keys.introduction()?,
            measure: keys.measure()?,
            firmware_bound: None,
            firmware: None,
            seal_to: keys.uplink()?,
            labels: keys.labels()?,
        };
        if config.retry_first > config.retry_max {
            let found = format!("{} s", config.retry_max.as_secs_f64());
            return Err(keys.wrong("retry_max_s", "at least retry_first_s", &found));
        }
        config.firmware_bound = keys.firmware_bound(&config.model, &config.state_dir)?;
        config.firmware = keys.firmware(&config.model)?;
        keys.end()?;
        Ok(config)
    }
}

/// Takes keys out of the table one by one, and remembers which were asked for: what is left over is unknown, and the
/// names asked for are what it may have meant. So there is no second list of keys.
struct Keys<'a> {
    path: &'a Path,
    left: Table,
    asked: Vec<&'static str>,
}

impl Keys<'_> {
    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.asked.push(key);
        self.left.remove(key)
    }

    fn text(&mut self, key: &'static str, bytes_max: usize) -> Result<Option<String>, ConfigError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) if !text.is_empty() && text.len() <= bytes_max => Ok(Some(text)),
            Some(Value::String(text)) if text.is_empty() => {
                Err(self.wrong(key, "a text that is not empty", "\"\""))
            }
            Some(Value::String(_)) => {
                Err(self.wrong(key, &format!("at most {bytes_max} bytes long"), "longer"))
            }
            Some(other) => Err(self.wrong(key, "a text", other.type_str())),
        }
    }

    fn required(
        &mut self,
        key: &'static str,
        bytes_max: usize,
        wanted: &'static str,
    ) -> Result<String, ConfigError> {
        self.text(key, bytes_max)?.ok_or_else(|| ConfigError::Missing {
            path: self.path.to_owned(),
            key,
            wanted,
        })
    }

    fn host(&self, hub: &str) -> Result<String, ConfigError> {
        let parts = hub
            .rsplit_once(':')
            .filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|p| p > 0));
        let (host, _) =
            parts.ok_or_else(|| self.wrong("hub", "a host and a port, such as \"hub.example:8883\"", hub))?;
        Ok(host.trim_start_matches('[').trim_end_matches(']').to_owned())
    }

    fn tpm(&self, text: String) -> Result<TpmChoice, ConfigError> {
        match text.split_once(':') {
            None if text == SIMULATED => Ok(TpmChoice::SimulatedSoftwareKey),
            Some(("device" | "swtpm" | "tabrmd", rest)) if !rest.is_empty() => Ok(TpmChoice::Tcti(text)),
            _ => {
                let wanted = format!(
                    "\"device:<path>\", \"swtpm:host=<address>,port=<port>\", \"tabrmd:<options>\" or \"{SIMULATED}\""
                );
                Err(self.wrong("tpm", &wanted, &text))
            }
        }
    }

    fn duration(
        &mut self,
        key: &'static str,
        min: Duration,
        max: Duration,
        usual: Duration,
    ) -> Result<Duration, ConfigError> {
        let seconds = match self.take(key) {
            None => return Ok(usual),
            Some(Value::Float(seconds)) => seconds,
            Some(Value::Integer(seconds)) => seconds as f64,
            Some(other) => return Err(self.wrong(key, "a number of seconds", other.type_str())),
        };
        match Duration::try_from_secs_f64(seconds) {
            Ok(duration) if (min..=max).contains(&duration) => Ok(duration),
            _ => {
                let wanted = format!("{} to {} seconds", min.as_secs_f64(), max.as_secs_f64());
                Err(self.wrong(key, &wanted, &seconds.to_string()))
            }
        }
    }

    fn introduction(&mut self) -> Result<IntroductionSources, ConfigError> {
        let sources = IntroductionSources {
            ek_chain: self.text("ek_chain", usize::MAX)?.map(PathBuf::from),
            serial_number: self.text("serial_number", ENROLMENT_LABEL_BYTES_MAX)?,
            serial_number_file: self.text("serial_number_file", usize::MAX)?.map(PathBuf::from),
            network_interface: self.text("network_interface", LABEL_NAME_BYTES_MAX)?,
        };
        if sources.serial_number.as_ref().is_some_and(|number| number.chars().any(char::is_control)) {
            return Err(self.wrong("serial_number", "without control characters", "with one"));
        }
        if sources.serial_number.is_some() && sources.serial_number_file.is_some() {
            return Err(self.wrong("serial_number_file", "left out beside serial_number", "there"));
        }
        let name = sources.network_interface.as_deref().unwrap_or("eth0");
        if name.contains('/') || name.starts_with('.') {
            return Err(self.wrong("network_interface", "the name of a network interface", name));
        }
        Ok(sources)
    }

    fn measure(&mut self) -> Result<Measure, ConfigError> {
        let mut table = match self.take("measure") {
            None => return Ok(Measure::default()),
            Some(Value::Table(table)) => table,
            Some(other) => return Err(self.wrong("measure", "a table", other.type_str())),
        };
        let mut measure = Measure::default();
        if let Some(value) = table.remove("register") {
            let index = value.as_integer().and_then(|index| u8::try_from(index).ok());
            let wanted = "a register from 0 to 16, or 23";
            measure.register = index
                .filter(|index| matches!(index, 0..=16 | 23))
                .ok_or_else(|| self.wrong("measure.register", wanted, value.type_str()))?;
        }
        if let Some(value) = table.remove("files") {
            let wanted = format!("at most {MEASURED_FILES_MAX} paths");
            let paths = value.as_array().filter(|paths| paths.len() <= MEASURED_FILES_MAX);
            let paths =
                paths.and_then(|paths| paths.iter().map(|path| path.as_str().map(PathBuf::from)).collect());
            measure.files = paths.ok_or_else(|| self.wrong("measure.files", &wanted, value.type_str()))?;
        }
        if let Some(value) = table.remove("firmware_log") {
            let path = value.as_str().filter(|path| !path.is_empty()).map(PathBuf::from);
            measure.firmware_log =
                path.ok_or_else(|| self.wrong("measure.firmware_log", "a path", value.type_str()))?;
        }
        match table.keys().next() {
            None => Ok(measure),
            Some(key) => Err(ConfigError::Unknown {
                path: self.path.to_owned(),
                key: format!("measure.{key}"),
                suggestion: None,
            }),
        }
    }

    fn firmware_bound(
        &mut self,
        model: &str,
        state_dir: &Path,
    ) -> Result<Option<FirmwareBound>, ConfigError> {
        let mut table = match self.take("firmware_bound") {
            None => return Ok(None),
            Some(Value::Table(table)) => table,
            Some(other) => return Err(self.wrong("firmware_bound", "a table", other.type_str())),
        };
        let mut text = |name: &str| match table.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) if !text.is_empty() => Ok(Some(text)),
            Some(other) => {
                let found = other.type_str();
                Err(self.wrong(&format!("firmware_bound.{name}"), "a text that is not empty", found))
            }
        };
        let authority = text("authority")?;
        let class = text("class")?.unwrap_or_else(|| model.to_owned());
        let policies = text("policies")?.map_or_else(|| state_dir.join("approved"), PathBuf::from);
        let Some(authority) = authority.map(PathBuf::from) else {
            let (key, wanted) = ("firmware_bound.authority", "the file with the authority's public key");
            return Err(ConfigError::Missing { path: self.path.to_owned(), key, wanted });
        };
        if let Some(key) = table.keys().next() {
            let (path, key) = (self.path.to_owned(), format!("firmware_bound.{key}"));
            return Err(ConfigError::Unknown { path, key, suggestion: None });
        }
        Ok(Some(FirmwareBound { authority, class, policies }))
    }

    fn labels(&mut self) -> Result<BTreeMap<String, String>, ConfigError> {
        let table = match self.take("labels") {
            None => return Ok(BTreeMap::new()),
            Some(Value::Table(table)) => table,
            Some(other) => return Err(self.wrong("labels", "a table of texts", other.type_str())),
        };
        if table.len() > LABELS_COUNT_MAX {
            let found = table.len().to_string();
            return Err(self.wrong("labels", &format!("at most {LABELS_COUNT_MAX} texts"), &found));
        }
        let mut labels = BTreeMap::new();
        for (name, value) in table {
            let key = format!("labels.{name}");
            // RFC 8428 §4.5.1: these are the characters of a name.
            let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b':' | b'.' | b'/' | b'_');
            if name.is_empty() || name.len() > LABEL_NAME_BYTES_MAX || !name.bytes().all(allowed) {
                let wanted =
                    format!("named with 1 to {LABEL_NAME_BYTES_MAX} characters of A-Z a-z 0-9 - : . / _");
                return Err(self.wrong(&key, &wanted, &format!("{name:?}")));
            }
            match value {
                Value::String(text) if text.len() <= LABEL_TEXT_BYTES_MAX => labels.insert(name, text),
                Value::String(_) => {
                    return Err(self.wrong(
                        &key,
                        &format!("at most {LABEL_TEXT_BYTES_MAX} bytes long"),
                        "longer",
                    ));
                }
                other => return Err(self.wrong(&key, "a text", other.type_str())),
            };
        }
        Ok(labels)
    }

    fn wrong(&self, key: &str, wanted: &str, found: &str) -> ConfigError {
        ConfigError::Wrong {
            path: self.path.to_owned(),
            key: key.to_owned(),
            wanted: wanted.to_owned(),
            found: found.to_owned(),
        }
    }

    fn end(self) -> Result<(), ConfigError> {
        let Some(key) = self.left.keys().next() else { return Ok(()) };
        let likeness = |known: &&'static str| (strsim::jaro_winkler(known, key), *known);
        let best = self.asked.iter().map(likeness).max_by(|a, b| a.0.total_cmp(&b.0));
        let suggestion = best.filter(|(likeness, _)| *likeness >= LIKENESS_MIN).map(|(_, known)| known);
        Err(ConfigError::Unknown { path: self.path.to_owned(), key: key.clone(), suggestion })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        hub = "127.0.0.1:8883"
        server_name = "localhost"
        root = "/etc/muster-edge/root.crt"
        tpm = "swtpm:host=127.0.0.1,port=2321"
        model = "demo-board"
        state_dir = "/var/lib/muster-edge"
        interval_s = 0.005
        [labels]
        site = "north"
    "#;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(Path::new("edge.toml"), text).map_err(|error| error.to_string())
    }

    /// The error of the good configuration with one line changed.
    fn refused(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from), "{from:?} is not in the good configuration");
        parse(&GOOD.replace(from, to)).expect_err("it was accepted")
    }

    #[test]
    fn the_configuration_of_a_device_is_read() {
        let config = parse(GOOD).expect("good");
        assert_eq!(config.interval, Duration::from_millis(5));
        assert_eq!(config.tpm, TpmChoice::Tcti("swtpm:host=127.0.0.1,port=2321".into()));
        assert_eq!(config.claim, None);
        assert_eq!(config.retry_first, Duration::from_millis(200));
        assert_eq!(config.labels.get("site").map(String::as_str), Some("north"));
    }

    #[test]
    fn a_key_is_bound_to_the_authority_of_its_model() {
        assert_eq!(parse(GOOD).expect("good").firmware_bound, None);
        let with = |lines: &str| parse(&format!("{GOOD}\n[firmware_bound]\n{lines}"));
        let bound = with("authority = \"fw.pub.pem\"").expect("good").firmware_bound.expect("bound");
        assert_eq!((bound.class.as_str(), bound.authority), ("demo-board", "fw.pub.pem".into()));
        assert_eq!(bound.policies, Path::new("/var/lib/muster-edge/approved"));
        for (lines, expected) in [
            ("", "firmware_bound.authority is missing"),
            ("authority = 7", "firmware_bound.authority must be a text"),
            ("authority = \"a\"\nclas = \"b\"", "there is no key \"firmware_bound.clas\""),
        ] {
            assert!(with(lines).expect_err("refused").contains(expected), "{lines}");
        }
    }

    #[test]
    fn the_server_name_is_the_host_unless_told_otherwise() {
        let config = parse(&GOOD.replace("server_name = \"localhost\"\n", "")).expect("good");
        assert_eq!(config.server_name, ServerName::try_from("127.0.0.1").expect("name"));
    }

    #[test]
    fn an_unknown_key_is_named_and_the_known_one_offered() {
        let error = refused("interval_s", "intervall_s");
        assert_eq!(
            error,
            "understand edge.toml: there is no key \"intervall_s\"; did you mean \"interval_s\"?"
        );
        let error = refused("interval_s", "colour");
        assert!(error.ends_with("there is no key \"colour\""), "{error}");
    }

    #[test]
    fn what_the_device_says_of_itself_and_measures_is_read() {
        let more = r#"ek_chain = "/etc/muster-edge/ek-chain.pem"
            serial_number = "PMP-17"
            network_interface = "eth0"
            [measure]
            register = 14
            files = ["/etc/pump.toml"]
            [labels]"#;
        let config = parse(&GOOD.replace("[labels]", more)).expect("good");
        assert_eq!(config.introduction.serial_number.as_deref(), Some("PMP-17"));
        assert_eq!((config.measure.register, config.measure.files.len()), (14, 1));
        let config = parse(GOOD).expect("good");
        assert_eq!(
            (config.introduction, config.measure),
            (IntroductionSources::default(), Measure::default())
        );
    }

    #[test]
    fn each_wrong_value_names_its_key() {
        for (from, to, expected) in [
            ("127.0.0.1:8883", "127.0.0.1", "hub must be a host and a port"),
            ("0.005", "0", "interval_s must be 0.001 to 86400 seconds, and is 0"),
            ("0.005", "\"fast\"", "interval_s must be a number of seconds, and is string"),
            ("0.005", "nan", "interval_s must be"),
            ("swtpm:host=127.0.0.1,port=2321", "tpm0", "tpm must be \"device:<path>\""),
            ("\"north\"", "7", "labels.site must be a text, and is integer"),
            ("site =", "\"the site\" =", "labels.the site must be named with"),
            ("model = \"demo-board\"", "model = \"\"", "model must be a text that is not empty"),
            ("model = \"demo-board\"", "", "model is missing; it must be what this device is"),
            ("\"localhost\"", "\"not a name\"", "server_name must be a DNS name"),
            ("[labels]", "network_interface = \"../tun\"\n[labels]", "network_interface must be the name"),
            ("[labels]", "[measure]\nregister = 17\n[labels]", "measure.register must be a register from 0"),
            ("[labels]", "[measure]\nfiles = [7]\n[labels]", "measure.files must be at most 24 paths"),
            ("[labels]", "[measure]\nregisters = 7\n[labels]", "there is no key \"measure.registers\""),
            ("[labels]", "retry_first_s = 5\nretry_max_s = 1\n[labels]", "retry_max_s must be at least"),
        ] {
            let error = refused(from, to);
            assert!(error.contains(expected), "{to}: {error}");
        }
    }
}
