//! What a tenant's readings are: the schema that its devices' telemetry is held to.

use std::path::{Path, PathBuf};

use clap::Subcommand;

use muster_schemas::api::{ReadingKind, ReadingRule, TelemetrySchema};

use super::{Call, Complaint, Exit, OfTenant, Output, table};
use crate::{limits::SCHEMA_BYTES_MAX, private_file};

#[derive(Debug, Subcommand)]
pub(super) enum Schema {
    /// Print it.
    Show {
        #[command(flatten)]
        of: OfTenant,
    },
    /// Set it, from a file in TOML; it holds from the next message on.
    Set {
        #[command(flatten)]
        of: OfTenant,
        /// The file.
        file: PathBuf,
    },
    /// Take it away: SenML with registered units is all that is asked for.
    Clear {
        #[command(flatten)]
        of: OfTenant,
    },
}

pub(super) fn schema(command: Schema, call: &mut Call<'_>) -> Result<Exit, Complaint> {
    let (of, new) = match command {
        Schema::Show { of } => (of, None),
        Schema::Set { of, file } => (of, Some(read(&file)?)),
        Schema::Clear { of } => (of, Some(TelemetrySchema::default())),
    };
    let tenant = call.tenant(of.tenant)?;
    let path = format!("/api/v1/tenants/{tenant}/telemetry/schema");
    let schema: TelemetrySchema = match new {
        None => call.hub.get(&format!("show the telemetry schema of {tenant}"), &path, &[])?,
        Some(new) => call.hub.post(&format!("set the telemetry schema of {tenant}"), &path, &new)?,
    };
    if call.output == Output::Json {
        return call.json(&schema);
    }
    let TelemetrySchema { carry_other, closed, units, ahead_s, readings } = schema;
    let other = if carry_other { "carried to subscribers, and not stored" } else { "refused" };
    writeln!(call.out, "what is no SenML        {other}")?;
    writeln!(call.out, "readings without a rule {}", if closed { "refused" } else { "taken" })?;
    let own = if units.is_empty() { "none".to_owned() } else { units.join(", ") };
    writeln!(call.out, "units beyond SenML's    {}", table::printable(&own))?;
    writeln!(call.out, "ahead of their receipt  at most {} s", ahead_s.unwrap_or(86_400))?;
    let rows: Vec<_> = readings.into_iter().map(row).collect();
    let none = "no rules";
    table::write(call.out, ["STREAM", "NAME", "UNIT", "KIND", "MIN", "MAX"], &rows, none)?;
    Ok(Exit::Ok)
}

fn row(rule: ReadingRule) -> [String; 6] {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let kind = rule.kind.map(|kind| match kind {
        ReadingKind::Number => "number",
        ReadingKind::Text => "text",
        ReadingKind::Boolean => "boolean",
        ReadingKind::Bytes => "bytes",
    });
    [
        or_dash(rule.stream),
        rule.name,
        or_dash(rule.unit),
        or_dash(kind.map(str::to_owned)),
        or_dash(rule.min.map(|min| min.to_string())),
        or_dash(rule.max.map(|max| max.to_string())),
    ]
}

fn read(file: &Path) -> Result<TelemetrySchema, Complaint> {
    let failed = |why: String| {
        Complaint::new(Exit::Failure, format!("use {}", file.display()), why, "mend it, or name another file")
    };
    let bytes =
        private_file::read_public(file, SCHEMA_BYTES_MAX).map_err(|error| failed(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|error| failed(error.to_string()))?;
    toml::from_str(&text).map_err(|error| failed(error.to_string().trim_end().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_of_the_page_is_read() {
        let page = include_str!("../../../docs/tenants.md");
        let begins = page.find("    # schema.toml").expect("it is on the page");
        let lines = page[begins..].lines().take_while(|line| line.is_empty() || line.starts_with("    "));
        let text: Vec<_> = lines.map(|line| line.get(4..).unwrap_or_default()).collect();
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("schema.toml");
        std::fs::write(&file, text.join("\n")).expect("written");
        let schema = read(&file).expect("it is read");
        assert!(!schema.readings.is_empty());
        assert_eq!(crate::screening::Screens::check(&schema), Ok(()));
        std::fs::write(&file, "[[readings]]\nnam = \"t\"").expect("written");
        let refused = read(&file).expect_err("a word that is none");
        assert!(refused.why.contains("unknown field `nam`"), "{}", refused.why);
    }
}
