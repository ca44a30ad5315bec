//! Bounds of everything this crate reads or queues, unit last.

/// Longest `TPMT_PUBLIC` accepted, in bytes. An RSA-2048 endorsement key takes 314.
pub const PUBLIC_BYTES_MAX: usize = 1_024;
/// Longest `TPMS_ATTEST` accepted, in bytes. A certify statement takes about 150, a quote about 130.
pub const ATTEST_BYTES_MAX: usize = 1_024;
/// Longest `TPMT_SIGNATURE` accepted, in bytes. ECDSA P-256 takes 72.
pub const SIGNATURE_BYTES_MAX: usize = 256;
/// Longest digest in any structure, in bytes (SHA-512).
pub const DIGEST_BYTES_MAX: usize = 64;
/// Longest name in any structure, in bytes: an algorithm id and a digest.
pub const NAME_BYTES_MAX: usize = 2 + DIGEST_BYTES_MAX;
/// Longest `extraData`, in bytes (`TPM2B_DATA`).
pub const DATA_BYTES_MAX: usize = 2 + DIGEST_BYTES_MAX;
/// Longest RSA modulus, in bytes (RSA-2048: the only size whose endorsement keys we answer).
pub const RSA_MODULUS_BYTES_MAX: usize = 256;
/// Longest elliptic-curve coordinate or signature half, in bytes (P-384).
pub const COORDINATE_BYTES_MAX: usize = 48;
/// Most PCR banks in one selection (`HASH_COUNT`).
pub const PCR_BANKS_COUNT_MAX: usize = 16;
/// Longest bitmap of one PCR bank, in bytes. Three cover the 24 registers of a PC client.
pub const PCR_BITMAP_BYTES_MAX: usize = 4;
/// Registers that this crate quotes and replays: 0 to 23.
pub const PCR_COUNT: usize = 24;
/// First register that does not start at zero: 17 to 22 start at all ones and belong to a dynamic launch.
pub const PCR_DYNAMIC_FIRST: u8 = 17;
/// Last register that does not start at zero.
pub const PCR_DYNAMIC_LAST: u8 = 22;
/// Most digests that `TPM2_PCR_Read` answers with (`TPML_DIGEST`).
pub const PCR_READ_COUNT_MAX: usize = 8;
/// Most entries of an event log that are replayed.
pub const EVENTS_COUNT_MAX: usize = 1_024;

/// Longest certificate accepted, in bytes, padding of the TPM's storage included.
pub const CERTIFICATE_BYTES_MAX: usize = 4_096;
/// Most intermediate certificates a device may send with its endorsement certificate.
pub const CHAIN_COUNT_MAX: usize = 4;
/// Most indices of a TPM's storage that are looked at for them.
pub const CHAIN_INDICES_MAX: u32 = 8;
/// Longest PKCS#10 signing request accepted, in bytes.
pub const CSR_BYTES_MAX: usize = 2_048;
/// Most endorsement roots a hub trusts.
pub const ROOTS_COUNT_MAX: usize = 512;
/// Most revocation lists of manufacturers that a hub looks at.
pub const REVOCATION_LISTS_MAX: usize = 512;

/// Tries for a random scalar below the curve's order; one try fails with a chance of 2^-32.
pub const SCALAR_TRIES_MAX: usize = 8;

/// Jobs waiting for the thread that owns the TPM. Blocking callers wait, asynchronous ones are refused as busy.
pub const TPM_JOBS_MAX: usize = 64;
/// Bytes of one `TPM2_NV_Read` or `TPM2_NV_Write`: what every TPM accepts.
pub const NV_CHUNK_BYTES_MAX: usize = 512;
/// Probes of a starting swtpm before it is given up.
pub const SWTPM_PROBES_MAX: u32 = 5_000;
/// Pause between two probes, in milliseconds.
pub const SWTPM_PROBE_PAUSE_MS: u64 = 2;
/// Loopback addresses tried for one swtpm.
pub const SWTPM_ADDRESSES_MAX: u32 = 64;

const _: () = assert!(PCR_BITMAP_BYTES_MAX * 8 >= PCR_COUNT, "every register has a bit");
const _: () = assert!(PUBLIC_BYTES_MAX > RSA_MODULUS_BYTES_MAX + 2 * DIGEST_BYTES_MAX, "an RSA public fits");

/// Longest name of a device class, in bytes: that of a model.
pub const CLASS_BYTES_MAX: usize = 64;
/// Longest name of a release, in bytes.
pub const RELEASE_BYTES_MAX: usize = 64;
/// The last register that only a reset of the machine resets; those above any program resets, or a late launch.
pub const PCR_STATIC_LAST: u8 = 15;
