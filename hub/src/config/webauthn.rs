//! `[webauthn]`: under which name, and on which pages, hardware keys are used.

use super::reader::{ConfigError, Section};
use crate::{limits::ORIGINS_MAX, people::RelyingParty};

pub(super) fn read(top: &mut Section<'_>) -> Result<Option<RelyingParty>, ConfigError> {
    const ID: &str = "a host name, such as \"hub.example\", without scheme and port";
    const ORIGINS: &str = "1 to 64 of the form \"https://hub.example:8443\", of that host or below it";
    let Some(mut section) = top.optional_section("webauthn")? else { return Ok(None) };
    let id: String = section.required("rp_id", ID)?;
    if id.is_empty() || id.contains([':', '/', ' ', '*']) {
        return Err(section.wrong("rp_id", ID));
    }
    let origins = section.texts("origins")?.ok_or_else(|| section.missing("origins", ORIGINS))?;
    let below = format!(".{id}");
    let is_ours = |origin: &String| {
        let host = origin.strip_prefix("https://").map(|rest| rest.split(':').next().unwrap_or_default());
        host.is_some_and(|host| (host == id || host.ends_with(&below)) && !host.contains('/'))
    };
    if origins.is_empty() || origins.len() > ORIGINS_MAX || !origins.iter().all(is_ours) {
        return Err(section.wrong("origins", ORIGINS));
    }
    section.finish()?;
    Ok(Some(RelyingParty { id, origins }))
}
