//! `[storage_key]` and `[own_keys.<tenant>]`: programs that print a key.

use std::{collections::BTreeMap, time::Duration};

use muster_schemas::TenantId;

use super::reader::{ConfigError, Section};
use crate::{
    key_command::KeyCommand,
    limits::{KEY_COMMAND_TIME_S, KEY_COMMAND_TIME_S_MAX, KEY_COMMAND_WORDS_MAX, OWN_KEY_COMMANDS_MAX},
};

/// Where keys come from that the hub does not keep itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyCommands {
    /// The storage root key. None: it is in the vault.
    pub storage_key: Option<KeyCommand>,
    /// The one before it, as long as it is being replaced.
    pub previous_storage_key: Option<KeyCommand>,
    /// The own keys of tenants that the hub is not to keep: it asks when it starts.
    pub own_keys: BTreeMap<TenantId, KeyCommand>,
}

pub(super) fn read(top: &mut Section<'_>) -> Result<KeyCommands, ConfigError> {
    let mut commands = KeyCommands::default();
    if let Some(mut section) = top.optional_section("storage_key")? {
        let time_max = time_max(&mut section)?;
        let command = command(&mut section, "command", time_max)?;
        commands.storage_key = Some(command.ok_or_else(|| section.missing("command", WANTED))?);
        commands.previous_storage_key = self::command(&mut section, "previous_command", time_max)?;
        section.finish()?;
    }
    let mut tenants = top.section("own_keys")?;
    let named = tenants.named_sections()?;
    if named.len() > OWN_KEY_COMMANDS_MAX {
        return Err(top.wrong("own_keys", "at most 4096 sections"));
    }
    for (id, mut section) in named {
        let tenant = id.parse();
        let tenant = tenant.map_err(|_| tenants.wrong(&id, "a section whose name is the id of a tenant"))?;
        let time_max = time_max(&mut section)?;
        let command = command(&mut section, "command", time_max)?;
        commands.own_keys.insert(tenant, command.ok_or_else(|| section.missing("command", WANTED))?);
        section.finish()?;
    }
    Ok(commands)
}

const WANTED: &str = "a program and its arguments, such as [\"tpm2_unseal\", \"-c\", \"0x81010010\"]";

fn time_max(section: &mut Section<'_>) -> Result<Duration, ConfigError> {
    let time_s = section.number("timeout_s", KEY_COMMAND_TIME_S, 1..=KEY_COMMAND_TIME_S_MAX)?;
    Ok(Duration::from_secs(time_s))
}

fn command(
    section: &mut Section<'_>,
    key: &'static str,
    time_max: Duration,
) -> Result<Option<KeyCommand>, ConfigError> {
    let Some(command) = section.texts(key)? else { return Ok(None) };
    if command.is_empty() || command.len() > KEY_COMMAND_WORDS_MAX {
        return Err(section.wrong(key, WANTED));
    }
    Ok(Some(KeyCommand { command, time_max }))
}
