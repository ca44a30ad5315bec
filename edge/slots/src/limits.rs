//! Every bound of this crate.

/// Starts that a new image gets before the device goes back to the old one.
pub const TRIES_MAX: u8 = 3;

/// How long the text of a version is at most.
pub const VERSION_BYTES_MAX: usize = 64;

/// What is remembered of why an image was given up.
pub const REASON_BYTES_MAX: usize = 80;

/// One record of the boot pointer or the journal: a sector, which most media write whole.
pub const RECORD_BYTES: usize = 512;

/// How much arrives between two marks of the journal. A power cut costs at most so much of the transfer.
pub const MARK_BYTES: u64 = 1024 * 1024;

/// One read or write while an image is copied, unpacked or hashed.
pub const CHUNK_BYTES: usize = 64 * 1024;

/// The largest image that a slot takes. What a device has room for is asked of its file system.
pub const IMAGE_BYTES_MAX: u64 = 8 * 1024 * 1024 * 1024;

/// The window of a packed image, as a power of two: 8 MiB, which is what zstd uses up to its level 19.
pub const WINDOW_LOG_MAX: u32 = 23;

/// The old image that a patch of zstd refers to, which is in memory while the patch is applied. A larger one is
/// refused, and the next transfer of the offer is tried.
pub const PATCH_OLD_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The new image that a patch of zstd makes, which is its window.
pub const PATCH_NEW_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The window of a patch of zstd, as a power of two: the two above.
pub const PATCH_WINDOW_LOG_MAX: u32 = 27;

/// Steps of a patch of bsdiff that make nothing.
pub const JUMPS_MAX: u32 = 65_536;

/// One block of a list of block hashes.
pub const LISTED_BLOCK_BYTES: u64 = 64 * 1024;

/// One window: what is asked for at a time, and what of it waits in memory. As large as a listed block.
pub const WINDOW_BYTES: u64 = LISTED_BLOCK_BYTES;

/// How long nothing of a window comes before what is missing is asked for again; twice as long each time, up to the
/// next.
pub const ASK_AGAIN_MS: u64 = 5_000;

/// The longest time between two askings.
pub const ASK_AGAIN_MS_MAX: u64 = 60_000;

/// How often a window may arrive otherwise than its list says before the transfer is given up.
pub const WRONG_WINDOWS_MAX: u32 = 3;

/// How many reports there are between two marks of the journal, at most; and of all starts on trial together.
pub const REPORTS_RESERVED: u32 = 256;

/// How many reports one start on trial makes, at most.
pub const REPORTS_ON_TRIAL_MAX: u32 = 16;

/// Progress is reported so many times for one transfer, at most; it is reported no more often than it is marked.
pub const PROGRESS_REPORTS_MAX: u64 = 20;

/// How long a commit that could not be written waits for its next try.
pub const COMMIT_AGAIN_MS: u64 = 1_000;

/// Starts of the played boot loader until something has to be well.
pub const STARTS_MAX: u32 = 1_000;

/// Lines of a console that wait to be read; then the program waits.
pub const CONSOLE_LINES_MAX: usize = 64;

/// One line of a console.
pub const CONSOLE_LINE_BYTES_MAX: u64 = 4_096;

/// Files that the command of an image has open.
pub const PAYLOAD_FILES_MAX: u64 = 256;

/// Processes of the user that it runs as.
pub const PAYLOAD_PROCESSES_MAX: u64 = 64;

/// The longest file that it writes.
pub const PAYLOAD_FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Its memory.
pub const PAYLOAD_MEMORY_BYTES_MAX: u64 = 1024 * 1024 * 1024;

const _: () =
    assert!(MARK_BYTES.is_multiple_of(LISTED_BLOCK_BYTES), "what is marked ends where a listed block ends");
const _: () = assert!(
    PATCH_OLD_BYTES_MAX + PATCH_NEW_BYTES_MAX <= 1 << PATCH_WINDOW_LOG_MAX,
    "a patch of zstd reaches over the old image and the new one"
);
