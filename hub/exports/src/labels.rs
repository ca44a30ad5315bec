//! What columns are called: a name where it is the only one, and with its unit, its kind or a number where it is not.

use std::collections::BTreeSet;

use muster_items::query::{Kind, Measure};

/// The name of the first column.
pub const TIME: &str = "time";

/// One label for each measure, all of them different, none of them `time`.
pub fn labels(measures: &[Measure]) -> Vec<String> {
    unique(measures, str::to_owned)
}

/// The same, of printable ASCII without quotes and backslashes, for formats that have nothing else.
pub fn plain_labels(measures: &[Measure]) -> Vec<String> {
    let plain = |letter: char| match letter {
        ' '..='~' if !matches!(letter, '\'' | '"' | '\\') => letter,
        _ => '_',
    };
    unique(measures, |label| label.chars().map(plain).collect())
}

fn unique(measures: &[Measure], written: impl Fn(&str) -> String) -> Vec<String> {
    let mut taken = BTreeSet::from([TIME.to_owned()]);
    let mut labels = Vec::with_capacity(measures.len());
    for measure in measures {
        let Measure { name, unit, kind } = measure;
        let alone = measures.iter().filter(|other| other.name == *name).count() == 1;
        let unit = unit.as_deref().map(|unit| format!(" [{unit}]")).unwrap_or_default();
        let named = [
            alone.then(|| name.clone()),
            Some(format!("{name}{unit}")),
            Some(format!("{name}{unit} ({})", kind_name(*kind))),
        ];
        let numbered = (2_usize..).map(|number| format!("{name}{unit} #{number}"));
        let label = named
            .into_iter()
            .flatten()
            .chain(numbered)
            .map(|label| written(&label))
            .find(|label| !label.is_empty() && !taken.contains(label));
        let label = label.unwrap_or_default();
        taken.insert(label.clone());
        labels.push(label);
    }
    labels
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Number => "number",
        Kind::Text => "text",
        Kind::Bool => "bool",
        Kind::Bytes => "bytes",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(name: &str, unit: Option<&str>, kind: Kind) -> Measure {
        Measure { name: name.to_owned(), unit: unit.map(str::to_owned), kind }
    }

    #[test]
    fn labels_are_as_short_as_they_can_be_and_different() {
        let measures = [
            measure("load", Some("%"), Kind::Number),
            measure("mode", None, Kind::Text),
            measure("mode", None, Kind::Number),
            measure("t", Some("Cel"), Kind::Number),
            measure("t", Some("K"), Kind::Number),
            measure("time", None, Kind::Number),
        ];
        let expected = ["load", "mode", "mode (number)", "t [Cel]", "t [K]", "time (number)"];
        assert_eq!(labels(&measures), expected);
    }

    #[test]
    fn plain_labels_are_different_when_letters_are_lost() {
        let measures = [measure("ä", None, Kind::Number), measure("ü'", None, Kind::Number)];
        assert_eq!(plain_labels(&measures), ["_", "__"]);
        let measures = [measure("ä", None, Kind::Number), measure("ü", None, Kind::Number)];
        assert_eq!(plain_labels(&measures), ["_", "_ (number)"]);
    }
}
