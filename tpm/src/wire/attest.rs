//! `TPMS_ATTEST` (Part 2, 10.12.12): what a TPM says about a key (certify) or about its registers (quote), in the form
//! that it signs.

use super::{MalformedStructure, Reader, Writer};
use crate::limits::{
    ATTEST_BYTES_MAX, DATA_BYTES_MAX, DIGEST_BYTES_MAX, NAME_BYTES_MAX, PCR_BANKS_COUNT_MAX,
    PCR_BITMAP_BYTES_MAX,
};

/// `TPM_GENERATED_VALUE`: a restricted key refuses to sign foreign data that begins with it.
const GENERATED: u32 = 0xff54_4347;
const ST_ATTEST_CERTIFY: u16 = 0x8017;
const ST_ATTEST_QUOTE: u16 = 0x8018;

/// A statement of a TPM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmsAttest {
    /// Qualified name of the signing key.
    pub qualified_signer: Vec<u8>,
    /// What the challenger asked to have signed along.
    pub extra_data: Vec<u8>,
    /// The TPM's clock and its reset counters.
    pub clock: ClockInfo,
    /// The vendor's firmware version.
    pub firmware_version: u64,
    /// The statement itself.
    pub attested: Attested,
}

/// `TPMS_CLOCK_INFO` (Part 2, 10.11.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockInfo {
    /// Time the TPM has been powered, in milliseconds.
    pub clock_ms: u64,
    /// Resets since the TPM was last cleared.
    pub reset_count: u32,
    /// Resumes since the last reset.
    pub restart_count: u32,
    /// Whether no greater clock can have been reported before. False after an unclean power cut: log, do not refuse.
    pub safe: bool,
}

/// What is stated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attested {
    /// A key with this name is loaded in this TPM.
    Certify {
        /// The key's name.
        name: Vec<u8>,
        /// Its name with those of its parents.
        qualified_name: Vec<u8>,
    },
    /// These registers hash to this digest.
    Quote {
        /// The registers, by bank.
        selection: Vec<PcrBank>,
        /// Digest over their values.
        digest: Vec<u8>,
    },
}

/// `TPMS_PCR_SELECTION` (Part 2, 10.6.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PcrBank {
    /// Algorithm id of the bank's hash.
    pub hash: u16,
    /// Selected registers, ascending.
    pub registers: Vec<u8>,
}

impl TpmsAttest {
    /// Parses a whole statement.
    ///
    /// # Errors
    /// `MalformedStructure`, also for other kinds of statement and for trailing bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, MalformedStructure> {
        let mut reader = Reader::new(bytes, "statement", ATTEST_BYTES_MAX)?;
        if reader.u32()? != GENERATED {
            return Err(MalformedStructure::Wrong { field: "magic: no TPM made this" });
        }
        let kind = reader.u16()?;
        let qualified_signer = reader.sized("signer name", NAME_BYTES_MAX)?.to_vec();
        let extra_data = reader.sized("extra data", DATA_BYTES_MAX)?.to_vec();
        let clock = read_clock(&mut reader)?;
        let firmware_version = reader.u64()?;
        let attested = match kind {
            ST_ATTEST_CERTIFY => Attested::Certify {
                name: reader.sized("name", NAME_BYTES_MAX)?.to_vec(),
                qualified_name: reader.sized("qualified name", NAME_BYTES_MAX)?.to_vec(),
            },
            ST_ATTEST_QUOTE => Attested::Quote {
                selection: read_selection(&mut reader)?,
                digest: reader.sized("PCR digest", DIGEST_BYTES_MAX)?.to_vec(),
            },
            other => {
                let value = u32::from(other);
                return Err(MalformedStructure::Unsupported { field: "statement type", value });
            }
        };
        reader.finish()?;
        Ok(Self { qualified_signer, extra_data, clock, firmware_version, attested })
    }

    /// The statement's bytes, for soft keys and tests. A bitmap is written as three bytes, or four where needed.
    pub fn marshal(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        let kind = match self.attested {
            Attested::Certify { .. } => ST_ATTEST_CERTIFY,
            Attested::Quote { .. } => ST_ATTEST_QUOTE,
        };
        writer.u32(GENERATED).u16(kind).sized(&self.qualified_signer).sized(&self.extra_data);
        let ClockInfo { clock_ms, reset_count, restart_count, safe } = self.clock;
        writer.u64(clock_ms).u32(reset_count).u32(restart_count).u8(u8::from(safe));
        writer.u64(self.firmware_version);
        match &self.attested {
            Attested::Certify { name, qualified_name } => writer.sized(name).sized(qualified_name),
            Attested::Quote { selection, digest } => {
                writer.u32(u32::try_from(selection.len()).unwrap_or(u32::MAX));
                for bank in selection {
                    write_bank(&mut writer, bank);
                }
                writer.sized(digest)
            }
        };
        writer.take()
    }
}

fn read_clock(reader: &mut Reader<'_>) -> Result<ClockInfo, MalformedStructure> {
    let clock_ms = reader.u64()?;
    let reset_count = reader.u32()?;
    let restart_count = reader.u32()?;
    let safe = match reader.u8()? {
        0 => false,
        1 => true,
        _ => return Err(MalformedStructure::Wrong { field: "yes-or-no" }),
    };
    Ok(ClockInfo { clock_ms, reset_count, restart_count, safe })
}

fn read_selection(reader: &mut Reader<'_>) -> Result<Vec<PcrBank>, MalformedStructure> {
    let count = usize::try_from(reader.u32()?).unwrap_or(usize::MAX);
    if count > PCR_BANKS_COUNT_MAX {
        return Err(MalformedStructure::TooLong {
            field: "PCR selection",
            len: count,
            max: PCR_BANKS_COUNT_MAX,
        });
    }
    let mut banks = Vec::with_capacity(count);
    for _ in 0..count {
        let hash = reader.u16()?;
        let len = usize::from(reader.u8()?);
        if len > PCR_BITMAP_BYTES_MAX {
            return Err(MalformedStructure::TooLong { field: "PCR bitmap", len, max: PCR_BITMAP_BYTES_MAX });
        }
        let mut registers = Vec::new();
        for (octet, base) in reader.bytes(len)?.iter().zip((0u8..).step_by(8)) {
            registers.extend((0..8).filter(|bit| octet & (1 << bit) != 0).map(|bit| base + bit));
        }
        banks.push(PcrBank { hash, registers });
    }
    Ok(banks)
}

fn write_bank(writer: &mut Writer, bank: &PcrBank) {
    let mut bitmap = [0u8; PCR_BITMAP_BYTES_MAX];
    for register in &bank.registers {
        if let Some(octet) = bitmap.get_mut(usize::from(register / 8)) {
            *octet |= 1 << (register % 8);
        }
    }
    let [first, second, third, fourth] = bitmap;
    writer.u16(bank.hash);
    match fourth {
        0 => writer.u8(3).raw(&[first, second, third]),
        _ => writer.u8(4).raw(&bitmap),
    };
}
