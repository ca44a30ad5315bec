//! Commands and parameters of a manifest (draft-ietf-suit-manifest-34 §8.4). What is not named here is refused: a
//! device must not carry out half of what was signed.

use muster_schemas::{
    cbor::{InvalidCbor, Major, Reader},
    firmware::{Digest, Uuid},
};

use crate::{
    InvalidEnvelope, Version,
    envelope::{digest_of, keys},
    limits::{
        ALTERNATIVES_MAX, COMMANDS_MAX, COMPONENTS_MAX, CONTENT_BYTES_MAX, ENVELOPE_BYTES_MAX,
        TRY_EACH_DEPTH_MAX, URI_BYTES_MAX, VERSION_NUMBERS_MAX,
    },
    version::Comparison,
};

/// Most that a reporting policy can say (§8.4.7): four bits.
const POLICY_MAX: u64 = 15;

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// The device must be of that vendor (1).
    VendorMatches,
    /// The device must be of that class (2).
    ClassMatches,
    /// The component must be that image (3).
    ImageMatches,
    /// The component must be in that slot (5).
    SlotMatches,
    /// Which components what follows is about (12).
    SetComponents(Components),
    /// It ends here, as a failure (14).
    Abort,
    /// The first of these sequences that does not fail (15).
    TryEach {
        /// The sequences.
        sequences: Vec<Vec<Command>>,
        /// Whether it is no failure when all of them fail.
        or_none: bool,
    },
    /// The content of a parameter becomes the component (18).
    Write,
    /// Parameters are set (20).
    Override(Box<Parameters>),
    /// The component is fetched (21).
    Fetch,
    /// The component becomes a copy of another (22).
    Copy,
    /// The component is started (23).
    Invoke,
    /// The device must be that one (24).
    DeviceMatches,
    /// The component must be of such a version (28, draft-ietf-suit-update-management).
    VersionMatches,
    /// The component changes places with another (31).
    Swap,
}

/// Which components a command is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Components {
    /// All of them.
    All,
    /// Those with these indices.
    These(Vec<usize>),
}

/// What commands work with (§8.4.8).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parameters {
    /// The vendor (1).
    pub vendor: Option<Uuid>,
    /// The class (2).
    pub class: Option<Uuid>,
    /// SHA-256 of the image (3).
    pub digest: Option<Digest>,
    /// The slot (5).
    pub slot: Option<u64>,
    /// How long the image is, in bytes (14).
    pub size: Option<u64>,
    /// Content by itself (18).
    pub content: Option<Vec<u8>>,
    /// Where the image is (21).
    pub uri: Option<String>,
    /// The component to copy from or to swap with (22).
    pub source: Option<u64>,
    /// The device (24).
    pub device: Option<Uuid>,
    /// The version that the component has to have (28).
    pub version: Option<(Comparison, Version)>,
}

impl Parameters {
    /// Takes over what the others set.
    pub(crate) fn override_with(&mut self, others: &Self) {
        fn set<T: Clone>(ours: &mut Option<T>, theirs: &Option<T>) {
            if theirs.is_some() {
                ours.clone_from(theirs);
            }
        }
        set(&mut self.vendor, &others.vendor);
        set(&mut self.class, &others.class);
        set(&mut self.digest, &others.digest);
        set(&mut self.slot, &others.slot);
        set(&mut self.size, &others.size);
        set(&mut self.content, &others.content);
        set(&mut self.uri, &others.uri);
        set(&mut self.source, &others.source);
        set(&mut self.device, &others.device);
        set(&mut self.version, &others.version);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, InvalidEnvelope> {
        let mut parameters = Self::default();
        keys(reader, "a map of parameters", |reader, key| {
            match key {
                1 => parameters.vendor = Some(Uuid(reader.array_of_bytes()?)),
                2 => parameters.class = Some(Uuid(reader.array_of_bytes()?)),
                3 => parameters.digest = Some(digest_of(reader.bytes(ENVELOPE_BYTES_MAX)?)?),
                5 => parameters.slot = Some(reader.unsigned(u64::MAX)?),
                14 => parameters.size = Some(reader.unsigned(u64::MAX)?),
                18 => parameters.content = Some(reader.bytes(CONTENT_BYTES_MAX)?.to_vec()),
                21 => parameters.uri = Some(printable(reader.text(URI_BYTES_MAX)?)?),
                22 => parameters.source = Some(reader.unsigned(COMPONENTS_MAX as u64 - 1)?),
                24 => parameters.device = Some(Uuid(reader.array_of_bytes()?)),
                28 => parameters.version = Some(read_match(reader.bytes(ENVELOPE_BYTES_MAX)?)?),
                other => return Err(InvalidEnvelope::Unsupported { what: "parameter", number: other }),
            }
            Ok(())
        })?;
        Ok(parameters)
    }
}

/// An address has no control characters, which a terminal or a log would obey.
fn printable(text: &str) -> Result<String, InvalidEnvelope> {
    if text.chars().any(char::is_control) {
        return Err(InvalidEnvelope::Control);
    }
    Ok(text.to_owned())
}

/// `SUIT_Parameter_Version_Match`.
fn read_match(bytes: &[u8]) -> Result<(Comparison, Version), InvalidEnvelope> {
    let mut reader = Reader::strict(bytes);
    reader.tuple(2)?;
    let number = reader.unsigned(u64::MAX)?;
    let unknown = InvalidEnvelope::Unsupported { what: "comparison of versions", number: number.into() };
    let comparison = Comparison::from_number(number).ok_or(unknown)?;
    let version = read_version(&mut reader)?;
    reader.finish()?;
    Ok((comparison, version))
}

/// `SUIT_Condition_Version_Comparison_Value`.
pub(crate) fn read_version(reader: &mut Reader<'_>) -> Result<Version, InvalidEnvelope> {
    let mut items = reader.array(VERSION_NUMBERS_MAX)?;
    let mut numbers = Vec::new();
    while reader.more(&mut items)? {
        let number = reader.integer()?;
        numbers.push(i64::try_from(number).map_err(|_| InvalidEnvelope::Version)?);
    }
    Version::new(numbers).ok_or(InvalidEnvelope::Version)
}

/// Reads a sequence of commands, each a code and its argument (§8.4.6).
pub(crate) fn read_sequence(bytes: &[u8]) -> Result<Vec<Command>, InvalidEnvelope> {
    read_nested(bytes, TRY_EACH_DEPTH_MAX)
}

fn read_nested(bytes: &[u8], depth: usize) -> Result<Vec<Command>, InvalidEnvelope> {
    let mut reader = Reader::strict(bytes);
    let mut items = reader.array(2 * COMMANDS_MAX)?;
    let mut commands = Vec::new();
    while reader.more(&mut items)? {
        let code = reader.integer()?;
        if !reader.more(&mut items)? {
            return Err(InvalidCbor::Truncated.into());
        }
        commands.push(read_command(&mut reader, code, depth)?);
    }
    reader.finish()?;
    Ok(commands)
}

fn read_command(reader: &mut Reader<'_>, code: i128, depth: usize) -> Result<Command, InvalidEnvelope> {
    let plain = match code {
        12 => return Ok(Command::SetComponents(read_components(reader)?)),
        15 => return read_try_each(reader, depth),
        20 => return Ok(Command::Override(Box::new(Parameters::read(reader)?))),
        1 => Command::VendorMatches,
        2 => Command::ClassMatches,
        3 => Command::ImageMatches,
        5 => Command::SlotMatches,
        14 => Command::Abort,
        18 => Command::Write,
        21 => Command::Fetch,
        22 => Command::Copy,
        23 => Command::Invoke,
        24 => Command::DeviceMatches,
        28 => Command::VersionMatches,
        31 => Command::Swap,
        other => return Err(InvalidEnvelope::Unsupported { what: "command", number: other }),
    };
    // Which reports are wanted: ours are always whole.
    reader.unsigned(POLICY_MAX)?;
    Ok(plain)
}

fn read_components(reader: &mut Reader<'_>) -> Result<Components, InvalidEnvelope> {
    let index = |reader: &mut Reader<'_>| -> Result<usize, InvalidEnvelope> {
        let index = reader.unsigned(COMPONENTS_MAX as u64 - 1)?;
        Ok(usize::try_from(index).unwrap_or(usize::MAX))
    };
    match reader.peek()? {
        Major::Simple if reader.boolean()? => Ok(Components::All),
        Major::Simple => Err(InvalidEnvelope::Components),
        Major::Array => {
            let mut items = reader.array(COMPONENTS_MAX)?;
            let mut these = Vec::new();
            while reader.more(&mut items)? {
                these.push(index(reader)?);
            }
            if these.is_empty() { Err(InvalidEnvelope::Components) } else { Ok(Components::These(these)) }
        }
        _ => Ok(Components::These(vec![index(reader)?])),
    }
}

fn read_try_each(reader: &mut Reader<'_>, depth: usize) -> Result<Command, InvalidEnvelope> {
    let depth = depth.checked_sub(1).ok_or(InvalidEnvelope::TooDeep)?;
    let mut items = reader.array(ALTERNATIVES_MAX + 1)?;
    let (mut sequences, mut or_none) = (Vec::new(), false);
    while reader.more(&mut items)? {
        if or_none {
            return Err(InvalidEnvelope::TryEach);
        }
        if reader.peek()? == Major::Simple {
            reader.null()?;
            or_none = true;
        } else {
            sequences.push(read_nested(reader.bytes(ENVELOPE_BYTES_MAX)?, depth)?);
        }
    }
    // A lone sequence needs no try-each, and none at all is a mistake (§8.4.10.2: two or more).
    if sequences.len() + usize::from(or_none) < 2
        || sequences.is_empty()
        || sequences.len() > ALTERNATIVES_MAX
    {
        return Err(InvalidEnvelope::TryEach);
    }
    Ok(Command::TryEach { sequences, or_none })
}
