//! Takes keys out of a TOML table one by one, and remembers which were asked for: what is left over in the end is
//! unknown, and the names asked for are what it may have meant. So there is no second list of keys.

use std::{
    collections::BTreeMap,
    fmt, io,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    str::FromStr,
};

use toml::{Table, Value};

/// What variables of the environment start with.
const PREFIX: &str = "MUSTER__";
/// How alike a known key must be to be offered in place of an unknown one (0 to 1).
const LIKENESS_MIN: f64 = 0.7;

/// Where a setting was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The configuration file.
    File(PathBuf),
    /// A variable of the environment.
    Environment(String),
    /// `--set`.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "the environment ({name})"),
            Self::Flag => f.write_str("--set"),
        }
    }
}

/// Why a configuration is not one. Each says where, which key, and what would be right.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("read {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// Larger than a configuration.
    #[error("read {path}: it is larger than {bytes_max} bytes")]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// The bound, in bytes.
        bytes_max: usize,
    },
    /// Not UTF-8.
    #[error("read {path}: it is not UTF-8 text")]
    NotText {
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
    /// A `--set` without `=`.
    #[error("understand --set {0:?}: it is not of the form section.key=value")]
    Flag(String),
    /// A key that nobody knows.
    #[error("understand {origin}: there is no key {key:?}{}", meant(.suggestion))]
    Unknown {
        /// The whole path of the key.
        key: String,
        /// Where it stands.
        origin: Origin,
        /// The known key that it resembles.
        suggestion: Option<String>,
    },
    /// A value of the wrong kind or outside its range.
    #[error("understand {origin}: {key} must be {wanted}, and is {found}")]
    Wrong {
        /// The whole path of the key.
        key: String,
        /// Where it stands.
        origin: Origin,
        /// What would be right.
        wanted: String,
        /// What stands there.
        found: String,
    },
    /// A key that must be there.
    #[error("understand {origin}: {key} is missing; it must be {wanted}")]
    Missing {
        /// The whole path of the key.
        key: String,
        /// Where it was looked for.
        origin: Origin,
        /// What would be right.
        wanted: String,
    },
}

fn meant(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map(|known| format!("; did you mean {known:?}?")).unwrap_or_default()
}

/// The merged settings, and where each one came from.
pub(super) struct Reader {
    table: Table,
    file: Origin,
    /// Settings that do not come from the file, by path.
    elsewhere: BTreeMap<String, Origin>,
}

impl Reader {
    pub(super) fn new(
        path: &Path,
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: &[String],
    ) -> Result<Self, ConfigError> {
        let table = text.parse::<Table>().map_err(|error| ConfigError::Syntax {
            path: path.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        })?;
        let mut reader = Self { table, file: Origin::File(path.to_owned()), elsewhere: BTreeMap::new() };
        let mut variables: Vec<_> =
            environment.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
        variables.sort();
        for (name, value) in variables {
            let key = name.trim_start_matches(PREFIX).to_ascii_lowercase().replace("__", ".");
            reader.set(&key, &value, Origin::Environment(name))?;
        }
        for flag in flags {
            let (key, value) = flag.split_once('=').ok_or_else(|| ConfigError::Flag(flag.clone()))?;
            reader.set(key.trim(), value, Origin::Flag)?;
        }
        Ok(reader)
    }

    pub(super) fn top(&self) -> Section<'_> {
        Section { reader: self, path: String::new(), left: self.table.clone(), asked: Vec::new() }
    }

    fn set(&mut self, key: &str, text: &str, origin: Origin) -> Result<(), ConfigError> {
        let mut table = &mut self.table;
        let (sections, last) = key.rsplit_once('.').unwrap_or(("", key));
        for section in sections.split('.').filter(|s| !s.is_empty()) {
            let entry = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            let Value::Table(below) = entry else {
                return Err(ConfigError::Unknown { key: key.to_owned(), origin, suggestion: None });
            };
            table = below;
        }
        table.insert(last.to_owned(), value_of(text));
        self.elsewhere.insert(key.to_owned(), origin);
        Ok(())
    }

    /// The origin of a key, or of the nearest thing above it.
    fn origin(&self, path: &str) -> Origin {
        self.elsewhere.get(path).unwrap_or(&self.file).clone()
    }
}

/// A list or table is read as TOML; everything else stays text until the key that wants it says what it must be.
fn value_of(text: &str) -> Value {
    if text.starts_with(['[', '{'])
        && let Ok(mut table) = format!("value = {text}").parse::<Table>()
        && let Some(value) = table.remove("value")
    {
        return value;
    }
    Value::String(text.to_owned())
}

/// A value as the text of an error shows it.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text:?}"),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(truth) => truth.to_string(),
        Value::Datetime(instant) => instant.to_string(),
        Value::Array(values) => format!("a list of {}", values.len()),
        Value::Table(_) => "a section".to_owned(),
    }
}

/// One table of the configuration, from which keys are taken.
pub(super) struct Section<'a> {
    reader: &'a Reader,
    path: String,
    left: Table,
    asked: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// A text.
    pub(super) fn text(&mut self, key: &'static str) -> Result<Option<String>, ConfigError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong_value(key, "a text", &other)),
        }
    }

    /// A text that says something typed; `wanted` describes it.
    pub(super) fn parsed<T: FromStr>(
        &mut self,
        key: &'static str,
        wanted: &str,
    ) -> Result<Option<T>, ConfigError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => match text.parse() {
                Ok(value) => Ok(Some(value)),
                Err(_) => Err(self.wrong_value(key, wanted, &Value::String(text))),
            },
            Some(other) => Err(self.wrong_value(key, wanted, &other)),
        }
    }

    /// Like [`Section::parsed`], and it must be there.
    pub(super) fn required<T: FromStr>(&mut self, key: &'static str, wanted: &str) -> Result<T, ConfigError> {
        self.parsed(key, wanted)?.ok_or_else(|| self.missing(key, wanted))
    }

    /// A whole number within a range.
    pub(super) fn number(
        &mut self,
        key: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> Result<u64, ConfigError> {
        let Some(value) = self.take(key) else { return Ok(default) };
        let elsewhere = self.reader.elsewhere.contains_key(&self.full(key));
        let number = match &value {
            Value::Integer(number) => u64::try_from(*number).ok(),
            // The environment and the flags have nothing but texts.
            Value::String(text) if elsewhere => text.trim().parse().ok(),
            _ => None,
        };
        number.filter(|number| range.contains(number)).ok_or_else(|| {
            let wanted = format!("a whole number from {} to {}", range.start(), range.end());
            self.wrong_value(key, &wanted, &value)
        })
    }

    /// A count or a size within a range.
    pub(super) fn size(
        &mut self,
        key: &'static str,
        default: usize,
        range: RangeInclusive<usize>,
    ) -> Result<usize, ConfigError> {
        let number = self.number(key, default as u64, *range.start() as u64..=*range.end() as u64)?;
        Ok(usize::try_from(number).unwrap_or(*range.end()))
    }

    /// A list of texts. From the environment and the flags also texts with commas between them.
    pub(super) fn texts(&mut self, key: &'static str) -> Result<Option<Vec<String>>, ConfigError> {
        let wanted = "a list of texts";
        let elsewhere = self.reader.elsewhere.contains_key(&self.full(key));
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) if elsewhere => {
                Ok(Some(text.split(',').map(|t| t.trim().to_owned()).collect()))
            }
            Some(Value::Array(values)) => values
                .into_iter()
                .map(|value| match value {
                    Value::String(text) => Ok(text),
                    other => Err(self.wrong_value(key, wanted, &other)),
                })
                .collect::<Result<_, _>>()
                .map(Some),
            Some(other) => Err(self.wrong_value(key, wanted, &other)),
        }
    }

    /// The table of that name; an empty one when it is absent.
    pub(super) fn section(&mut self, key: &'static str) -> Result<Section<'a>, ConfigError> {
        let path = self.full(key);
        match self.take(key) {
            None => Ok(Section { reader: self.reader, path, left: Table::new(), asked: Vec::new() }),
            Some(Value::Table(left)) => Ok(Section { reader: self.reader, path, left, asked: Vec::new() }),
            Some(other) => Err(self.wrong_value(key, "a section", &other)),
        }
    }

    /// The table of that name, if it is there.
    pub(super) fn optional_section(&mut self, key: &'static str) -> Result<Option<Section<'a>>, ConfigError> {
        let is_there = self.left.contains_key(key);
        let section = self.section(key)?;
        Ok(is_there.then_some(section))
    }

    /// All that is left, as tables with names of their own.
    pub(super) fn named_sections(&mut self) -> Result<Vec<(String, Section<'a>)>, ConfigError> {
        let mut sections = Vec::with_capacity(self.left.len());
        for (name, value) in std::mem::take(&mut self.left) {
            let Value::Table(left) = value else {
                return Err(self.wrong_value(&name, "a section", &value));
            };
            let path = self.full(&name);
            sections.push((name, Section { reader: self.reader, path, left, asked: Vec::new() }));
        }
        Ok(sections)
    }

    /// The tables of a list; none when it is absent.
    pub(super) fn sections(&mut self, key: &'static str) -> Result<Vec<Section<'a>>, ConfigError> {
        let path = self.full(key);
        let values = match self.take(key) {
            None => Vec::new(),
            Some(Value::Array(values)) => values,
            Some(other) => return Err(self.wrong_value(key, "a list of sections", &other)),
        };
        let mut sections = Vec::with_capacity(values.len());
        for (index, value) in values.into_iter().enumerate() {
            let Value::Table(left) = value else {
                return Err(self.wrong_value(key, "a list of sections", &value));
            };
            let path = format!("{path}[{index}]");
            sections.push(Section { reader: self.reader, path, left, asked: Vec::new() });
        }
        Ok(sections)
    }

    /// Nothing may be left that was not asked for.
    pub(super) fn finish(self) -> Result<(), ConfigError> {
        let Some(unknown) = self.left.keys().next() else { return Ok(()) };
        let likeness = |known: &&&str| strsim::jaro_winkler(known, unknown);
        let nearest = self.asked.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        let suggestion =
            nearest.filter(|known| likeness(known) >= LIKENESS_MIN).map(|known| self.full(known));
        let key = self.full(unknown);
        // An unknown section may have been made by a variable that sets something within it.
        let below = self.reader.elsewhere.iter().find(|(path, _)| {
            **path == key || path.strip_prefix(&key).is_some_and(|rest| rest.starts_with('.'))
        });
        let origin = below.map_or(&self.reader.file, |(_, origin)| origin).clone();
        Err(ConfigError::Unknown { key, origin, suggestion })
    }

    pub(super) fn missing(&self, key: &str, wanted: &str) -> ConfigError {
        ConfigError::Missing {
            key: self.full(key),
            origin: self.reader.file.clone(),
            wanted: wanted.to_owned(),
        }
    }

    /// For a value that was taken and is wrong in a way only the caller knows.
    pub(super) fn wrong(&self, key: &str, wanted: &str) -> ConfigError {
        let path = self.full(key);
        let mut parts = path.split('.');
        let first = parts.next().and_then(|part| self.reader.table.get(part));
        let found = parts.fold(first, |at, part| at.and_then(|value| value.get(part)));
        self.wrong_value(key, wanted, found.unwrap_or(&Value::String(String::new())))
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.asked.push(key);
        self.left.remove(key)
    }

    fn wrong_value(&self, key: &str, wanted: &str, found: &Value) -> ConfigError {
        let path = self.full(key);
        ConfigError::Wrong {
            origin: self.reader.origin(&path),
            key: path,
            wanted: wanted.to_owned(),
            found: shown(found),
        }
    }

    fn full(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}
