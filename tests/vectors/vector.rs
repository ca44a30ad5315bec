//! The vectors beside this file, as they are written; `mqtt/README.md` says what they mean. Shared by the tests of the
//! bare core and of a whole broker.

use std::{collections::BTreeMap, fs, path::Path};

use muster_mqtt::Version;
use serde::Deserialize;

/// Longest time that a vector may take on the wire, where time is real. One that takes longer runs without I/O only.
const WIRE_MS_MAX: u64 = 4_000;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vector {
    pub name: String,
    pub ends: Option<Ends>,
    #[serde(default)]
    send: String,
    #[serde(default)]
    expect: String,
    #[serde(default)]
    steps: Vec<Step>,
    /// Who each client is, where that is not an app.
    #[serde(default)]
    pub clients: BTreeMap<String, String>,
    /// Where it runs, if not everywhere that its folder says.
    on: Option<Vec<Place>>,
    /// Whether it compares that there are reason strings.
    #[serde(default)]
    pub words: bool,
    /// Not yet true: it does not run, and covers nothing.
    #[serde(default)]
    pub pending: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    #[serde(default)]
    pub client: String,
    #[serde(default)]
    pub after_ms: u64,
    #[serde(default)]
    pub send: String,
    #[serde(default)]
    pub expect: String,
    /// The client goes without a word.
    #[serde(default)]
    pub cut: bool,
    /// The server closes the connection.
    #[serde(default)]
    pub closed: bool,
}

#[derive(Debug, Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Ends {
    Open,
    Closed,
}

#[derive(Debug, Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Place {
    Core,
    Wire,
}

/// A file of vectors.
pub struct VectorFile {
    /// Its path below the folder of the vectors.
    pub shown: String,
    pub version: Version,
    pub vectors: Vec<Vector>,
}

impl Vector {
    /// Whether it is to be run on the core alone, once it is true.
    pub fn is_for_the_core(&self) -> bool {
        self.on.as_ref().is_none_or(|places| places.contains(&Place::Core))
    }

    /// Whether it is to be run on the wire, once it is true.
    pub fn is_for_the_wire(&self) -> bool {
        let is_short = self.steps().iter().map(|step| step.after_ms).sum::<u64>() <= WIRE_MS_MAX;
        self.on.as_ref().map_or(is_short, |places| places.contains(&Place::Wire))
    }

    /// The steps; a vector without any is one.
    pub fn steps(&self) -> Vec<Step> {
        let mut steps = self.steps.clone();
        if steps.is_empty() {
            steps.push(Step { send: self.send.clone(), expect: self.expect.clone(), ..Step::default() });
        }
        if let (Some(Ends::Closed), Some(last)) = (self.ends, steps.last_mut()) {
            last.closed = true;
        }
        steps
    }
}

/// All in this folder of `all`, in the order of their names.
pub fn files(all: &Path, folder: &str) -> Vec<VectorFile> {
    let entries = fs::read_dir(all.join(folder)).expect("a folder of vectors");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    paths.sort();
    let read = |path: &Path| {
        let shown = path.strip_prefix(all).expect("below the folder").display().to_string();
        let version = match () {
            () if shown.ends_with("-311.json") => Version::V311,
            () if shown.ends_with("-5.json") => Version::V5,
            () => panic!("{shown} does not name its version"),
        };
        let text = fs::read_to_string(path).expect("readable");
        let vectors = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{shown}: {error}"));
        VectorFile { shown, version, vectors }
    };
    paths.iter().map(|path| read(path)).collect()
}

/// Bytes from hexadecimal digits and quoted text.
pub fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (index, part) in text.split('\'').enumerate() {
        if index % 2 == 1 {
            bytes.extend_from_slice(part.as_bytes());
            continue;
        }
        let digits: Vec<char> = part.chars().filter(|c| !c.is_whitespace()).collect();
        for pair in digits.chunks(2) {
            let pair: String = pair.iter().collect();
            let byte = u8::from_str_radix(&pair, 16);
            bytes.push(byte.unwrap_or_else(|_| panic!("{pair:?} is no byte in {text:?}")));
        }
    }
    bytes
}
