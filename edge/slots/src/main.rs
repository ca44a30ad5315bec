//! The command line of the boot loader that is played: makes slots, runs what is in them, and writes an image into
//! one by hand.

use std::{
    error::Error,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use aws_lc_rs::digest::{Context, SHA256};
use clap::{Args, Parser, Subcommand};

use muster_schemas::firmware::{Digest, Encoding, ExecutionId, FailureCode, Sequence, Transfer};
use muster_slots::{
    confine::{Confinement, become_command},
    emulator::{self, Options},
    floor::NoCounter,
    fs::{Disk, Fs as _},
    limits::{CHUNK_BYTES, MARK_BYTES},
    pointer::Reason,
    slot::{Image, Layout, Slot, Version},
    slots::{Plan, Slots},
    updater::Health,
};

/// Starts what the boot pointer says, and goes back if it is not well: a boot loader for devices that have none, and
/// for tests.
#[derive(Debug, Parser)]
#[command(name = "muster-boot", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make slots in a folder, with an image in the first.
    Init {
        #[command(flatten)]
        root: Root,
        #[command(flatten)]
        image: ImageArguments,
    },
    /// Start what the boot pointer says; with an image on trial, until it is well or the old one runs again.
    Run {
        #[command(flatten)]
        root: Root,
        /// How long an image on trial has, in milliseconds.
        #[arg(long, default_value_t = 300_000)]
        within_ms: u64,
        /// An image on trial has to reach its hub.
        #[arg(long)]
        needs_connection: bool,
        /// A command of the shell that has to pass once an image on trial is up; it may wait.
        #[arg(long)]
        check: Option<String>,
        /// The image commits by itself; this only watches that it does.
        #[arg(long)]
        commits_itself: bool,
        /// End as soon as an image has shown that it is well.
        #[arg(long)]
        once: bool,
    },
    /// Write an image into the other slot, and let the next start try it. What was cut short goes on.
    Install {
        #[command(flatten)]
        root: Root,
        #[command(flatten)]
        image: ImageArguments,
        /// What the file is: full, zstd, bsdiff or zstd-patch. All but the first need --digest and --size.
        #[arg(long, default_value = "full")]
        encoding: Encoding,
        /// The image's digest, from its manifest.
        #[arg(long, requires = "size")]
        digest: Option<Digest>,
        /// The image's length in bytes, from its manifest.
        #[arg(long, requires = "digest")]
        size: Option<u64>,
    },
    /// Say what boots.
    Status {
        #[command(flatten)]
        root: Root,
    },
    /// The image on trial stays.
    Commit {
        #[command(flatten)]
        root: Root,
    },
    /// The image on trial goes.
    Back {
        #[command(flatten)]
        root: Root,
        /// Why.
        #[arg(long, default_value = "by hand")]
        reason: String,
    },
    /// Give up all rights, and become a command. For agents, which run what comes with an image like this.
    #[command(hide = true)]
    Confined {
        #[arg(long)]
        user: u32,
        #[arg(long)]
        group: u32,
        #[arg(long)]
        folder: PathBuf,
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

#[derive(Debug, Args)]
struct Root {
    /// The folder with slots and records.
    #[arg(long, env = "MUSTER_SLOTS")]
    root: PathBuf,
}

#[derive(Debug, Args)]
struct ImageArguments {
    /// The file.
    #[arg(long)]
    image: PathBuf,
    /// What the image says that it is.
    #[arg(long)]
    version: Version,
    /// The number of its manifest.
    #[arg(long)]
    sequence: Sequence,
}

fn main() -> ExitCode {
    match carry_out(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = format!("muster-boot: failed to {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                text.push_str(&format!(": {cause}"));
                source = cause.source();
            }
            // There is nobody left to tell that it could not be told.
            let _ = writeln!(io::stderr(), "{text}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(command: Command) -> Result<(), Box<dyn Error>> {
    match command {
        Command::Init { root, image } => init(&root.root, &image),
        Command::Run { root, within_ms, needs_connection, check, commits_itself, once } => {
            let health = Health { needs_connection, needs_command: check.is_some(), within_ms };
            let options = Options { run: root.root.join("run"), health, check, commits_itself, once };
            let settled = emulator::run(&slots(&root.root), &options, &mut io::stderr())?;
            let version = settled.version.as_deref().unwrap_or("unknown");
            writeln!(
                io::stdout(),
                "slot {} version {version} starts {}",
                settled.chosen.slot,
                settled.starts
            )?;
            Ok(())
        }
        Command::Install { root, image, encoding, digest, size } => {
            install(&root.root, &image, encoding, digest.zip(size))
        }
        Command::Status { root } => status(&root.root),
        Command::Commit { root } => Ok(slots(&root.root).commit(&mut NoCounter)?),
        Command::Back { root, reason } => {
            Ok(slots(&root.root).roll_back(Reason::new(FailureCode::Other, &reason))?)
        }
        Command::Confined { user, group, folder, command } => {
            let [program, arguments @ ..] = command.as_slice() else { return Ok(()) };
            Err(become_command(&Confinement { user, group, folder }, Path::new(program), arguments).into())
        }
    }
}

fn slots(root: &Path) -> Slots<Disk> {
    Slots::new(Disk, Layout::in_folder(root))
}

fn init(root: &Path, about: &ImageArguments) -> Result<(), Box<dyn Error>> {
    let layout = Layout::in_folder(root);
    let folders = [root, &layout.state, &root.join("slot-a"), &root.join("slot-b")];
    for folder in folders {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let (digest, size) = look(&about.image)?;
    let to = layout.place(Slot::A).image();
    fs::copy(&about.image, &to)?;
    Disk.sync(&to)?;
    for folder in folders.into_iter().rev().chain(root.parent()) {
        Disk.sync_folder(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })?;
    }
    let image = Image { digest, size, sequence: about.sequence, version: about.version.clone() };
    Slots::new(Disk, layout).provision(image)?;
    Ok(())
}

fn install(
    root: &Path,
    about: &ImageArguments,
    encoding: Encoding,
    signed: Option<(Digest, u64)>,
) -> Result<(), Box<dyn Error>> {
    let slots = slots(root);
    let (artifact, artifact_bytes) = look(&about.image)?;
    let (digest, size) = match signed {
        Some(signed) => signed,
        None if encoding == Encoding::Full => (artifact, artifact_bytes),
        None => {
            return Err(
                "install it: the digest and size of the image are not known; give --digest and --size".into(),
            );
        }
    };
    let pointer = slots.pointer()?;
    let running = pointer.image(pointer.active).map(|image| image.digest);
    let already = [running, pointer.trial_image().map(|image| image.digest)].contains(&Some(digest));
    if already {
        return Ok(());
    }
    if about.sequence <= pointer.floor {
        return Err(format!(
            "install it: its sequence is {}, and {} ran here",
            about.sequence, pointer.floor
        )
        .into());
    }
    let plan = Plan {
        execution: ExecutionId::MIN,
        attempt: 1,
        reserved: 0,
        image: Image { digest, size, sequence: about.sequence, version: about.version.clone() },
        transfer: Transfer {
            encoding,
            from: encoding.is_patch().then_some(running).flatten(),
            size: artifact_bytes,
            digest: artifact,
            uris: Vec::new(),
        },
    };
    let mut at = slots.begin(&plan)?;
    let mut marked = at;
    let mut chunk = vec![0; CHUNK_BYTES];
    while at < artifact_bytes {
        let read = Disk.read_at(&about.image, at, &mut chunk)?;
        slots.keep(&plan, at, chunk.get(..read).unwrap_or_default())?;
        at += read as u64;
        if at - marked >= MARK_BYTES || at >= artifact_bytes || read == 0 {
            slots.mark(&plan, at)?;
            marked = at;
        }
        if read == 0 {
            break;
        }
    }
    slots.install(&plan)?;
    slots.switch(&plan)?;
    Ok(())
}

fn status(root: &Path) -> Result<(), Box<dyn Error>> {
    let slots = slots(root);
    let pointer = slots.pointer()?;
    let mut out = io::stdout().lock();
    writeln!(out, "active     {}", pointer.active)?;
    for slot in [Slot::A, Slot::B] {
        match pointer.image(slot) {
            Some(image) => writeln!(
                out,
                "slot {slot}     {} sequence {} {}",
                image.version, image.sequence, image.digest
            )?,
            None => writeln!(out, "slot {slot}     empty")?,
        }
    }
    if let Some(trial) = &pointer.trial {
        writeln!(out, "trial      {} tries left", trial.tries)?;
    }
    if let Some(back) = &pointer.rolled_back {
        writeln!(out, "went back  from {}: {}", back.image.version, back.reason)?;
    }
    writeln!(out, "floor      {}", pointer.floor)?;
    if let Some(journal) = slots.journal()? {
        writeln!(out, "update     {} {:?}", journal.image.version, journal.phase)?;
    }
    Ok(())
}

fn look(path: &Path) -> Result<(Digest, u64), Box<dyn Error>> {
    let mut file = File::open(path).map_err(|error| format!("open {}: {error}", path.display()))?;
    let (mut context, mut size, mut chunk) = (Context::new(&SHA256), 0, vec![0; CHUNK_BYTES]);
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            break;
        }
        context.update(chunk.get(..read).unwrap_or_default());
        size += read as u64;
    }
    let digest = context.finish();
    let bytes: [u8; 32] = digest.as_ref().try_into()?;
    Ok((Digest(bytes), size))
}
