//! Every bound of artifacts, in one place: what is stored, what is asked for, and what deltas may take.

/// Bytes of an artifact in one chunk: what is sealed, read and damaged at a time.
pub const CHUNK_BYTES: usize = 64 * 1024;
/// Bytes of one artifact. A larger one is refused before its first byte is taken.
pub const ARTIFACT_BYTES_MAX: u64 = 16 * 1024 * 1024 * 1024;
/// Artifacts of one tenant.
pub const ARTIFACTS_MAX: usize = 10_000;
/// Bytes of artifacts that one tenant may store, if nothing else was set. What lies elsewhere does not count.
pub const QUOTA_BYTES: u64 = 8 * 1024 * 1024 * 1024;
/// Uploads of one tenant at a time.
pub const UPLOADS_MAX: usize = 8;
/// Damaged ranges that one check tells apart; those that follow are counted.
pub const DAMAGES_TOLD_MAX: usize = 64;

/// Bytes of the name of an artifact, and of the class of devices that it is for.
pub const NAME_BYTES_MAX: usize = 64;
/// Bytes of a version.
pub const VERSION_BYTES_MAX: usize = 64;
/// Bytes of an address.
pub const URL_BYTES_MAX: usize = 2_048;
/// Addresses of one artifact.
pub const URLS_MAX: usize = 4;
/// Attributes of one artifact.
pub const ATTRIBUTES_MAX: usize = 16;
/// Bytes of the name of an attribute, and of its value.
pub const ATTRIBUTE_BYTES_MAX: usize = 128;
/// Signatures kept with one artifact.
pub const SIGNATURES_MAX: usize = 4;
/// Bytes of one of them: a SUIT envelope without its images.
pub const SIGNATURE_BYTES_MAX: usize = 16 * 1024;
/// Users that a refused removal names; the rest is counted.
pub const USERS_TOLD_MAX: usize = 32;

/// Bytes of any header that is read here. A longer one is treated as one that cannot be met.
pub const HEADER_BYTES_MAX: usize = 8 * 1024;
/// Ranges in one request: swupdate's reader of deltas asks for up to 150.
pub const RANGES_MAX: usize = 256;
/// Entity tags in one header.
pub const TAGS_MAX: usize = 64;

/// Versions of an artifact for which deltas are made: those that most devices run.
pub const DELTA_FROM_MAX: usize = 4;
/// Deltas that wait to be made, of all tenants.
pub const DELTA_JOBS_MAX: usize = 256;
/// Bytes of an image up to which it is packed, and so up to which there are deltas: it is in memory then.
pub const PACK_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Bytes of an image up to which bsdiff is tried.
pub const BSDIFF_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// Bytes of each image up to which a patch of zstd is tried: devices hold both in memory, and our agent takes no
/// more.
pub const ZSTD_PATCH_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Window of a packed image, as a power of two: what every device has memory for.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// Window of a patch of zstd, as a power of two: both images.
pub const ZSTD_PATCH_WINDOW_LOG_MAX: u32 = 27;
/// Bytes of memory that making one delta may take, by estimate. An encoding that would take more is left out.
pub const DELTA_MEMORY_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// A delta is kept if it is smaller than this part of the packed image, in percent.
pub const DELTA_KEPT_PERCENT: u64 = 60;
/// A packed image is kept if it is smaller than this part of the image, in percent.
pub const PACKED_KEPT_PERCENT: u64 = 95;

/// Bytes of the index of a static tree.
pub const INDEX_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Files that a check of a static tree names; the rest is counted.
pub const FAULTS_TOLD_MAX: usize = 256;

const _: () = assert!(BSDIFF_BYTES_MAX <= PACK_BYTES_MAX, "a delta is weighed against the packed image");
const _: () = assert!(
    2 * ZSTD_PATCH_BYTES_MAX <= 1 << ZSTD_PATCH_WINDOW_LOG_MAX,
    "the window reaches over both images"
);
