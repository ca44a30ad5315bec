//! What the command of an image may do when it runs after an install: work in a folder of its own, as a user of its
//! own, without any privilege, for a while. It cannot write where the agent, its slots and its records lie, nor send
//! the agent a signal.
//!
//! The agent runs `muster-boot confined …` (or itself, with the same arguments), which calls [`enter`] while it has
//! one thread, and then becomes the command. Nothing here is undone: it holds for the command and all that it starts.

use std::{
    fs, io,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::{
    process::{Resource, Rlimit, Signal, setrlimit},
    thread::{CapabilitySet, CapabilitySets},
};

use crate::limits::{
    PAYLOAD_FILE_BYTES_MAX, PAYLOAD_FILES_MAX, PAYLOAD_MEMORY_BYTES_MAX, PAYLOAD_PROCESSES_MAX,
};

/// Who a command runs as, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confinement {
    /// A user of its own, not the agent's and not root.
    pub user: u32,
    /// Its group.
    pub group: u32,
    /// The one folder that is its own.
    pub folder: PathBuf,
}

/// Why a command is not run.
#[derive(Debug, thiserror::Error)]
pub enum Unconfined {
    /// It would run as whoever it must not harm.
    #[error("confine the command: user {0} is the agent's own or root; give it one of its own")]
    SameUser(u32),
    /// Only root can give a process another user.
    #[error("confine the command: the agent is not root, and cannot give it another user; nothing was run")]
    NotRoot,
    /// It could remove or change what keeps the device alive.
    #[error("confine the command: user {user} can write {}; make it the agent's alone", path.display())]
    InReach {
        /// Who.
        user: u32,
        /// What.
        path: PathBuf,
    },
    /// The system refused.
    #[error("confine the command: {step}")]
    System {
        /// What was tried.
        step: &'static str,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

impl Confinement {
    /// The command as it is started: `wrapper` is the program that calls [`enter`]. It has no terminal, and of the
    /// environment nothing but a path and its folder; its output goes where the caller says. It is a process group of
    /// its own, so that the caller can end all of it.
    ///
    /// # Errors
    /// What must stay out of its reach is not.
    pub fn command(
        &self,
        wrapper: &Path,
        out_of_reach: &[&Path],
        program: &Path,
        arguments: &[&str],
    ) -> Result<Command, Unconfined> {
        let agent = rustix::process::geteuid().as_raw();
        if agent != 0 {
            return Err(Unconfined::NotRoot);
        }
        if self.user == 0 || self.user == agent {
            return Err(Unconfined::SameUser(self.user));
        }
        for path in out_of_reach {
            self.cannot_write(path)?;
        }
        let mut command = Command::new(wrapper);
        command
            .arg("confined")
            .arg("--user")
            .arg(self.user.to_string())
            .arg("--group")
            .arg(self.group.to_string());
        command.arg("--folder").arg(&self.folder).arg("--").arg(program).args(arguments);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", &self.folder);
        command.stdin(Stdio::null()).process_group(0);
        Ok(command)
    }

    /// Makes the folder, empty and its own.
    ///
    /// # Errors
    /// The system refused.
    pub fn make_folder(&self) -> Result<(), Unconfined> {
        let system = |step| move |source| Unconfined::System { step, source };
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(system("empty its folder")(error));
            }
            _ => {}
        }
        fs::create_dir(&self.folder).map_err(system("make its folder"))?;
        fs::set_permissions(&self.folder, fs::Permissions::from_mode(0o700))
            .map_err(system("close its folder"))?;
        std::os::unix::fs::chown(&self.folder, Some(self.user), Some(self.group))
            .map_err(system("give it its folder"))
    }

    /// That the user can neither write a path nor take it away: neither it nor any folder above is theirs, or
    /// anybody's.
    fn cannot_write(&self, path: &Path) -> Result<(), Unconfined> {
        let system = |source| Unconfined::System { step: "look at what must be out of its reach", source };
        let path = fs::canonicalize(path).map_err(system)?;
        for (above, part) in path.ancestors().enumerate() {
            let about = fs::metadata(part).map_err(system)?;
            let mode = about.mode();
            // In a folder like /tmp anybody may write, and nobody may remove what is another's.
            let sticky = above > 0 && mode & 0o1000 != 0;
            let by_group = mode & 0o020 != 0 && about.gid() == self.group;
            let by_all = mode & 0o002 != 0;
            if about.uid() == self.user || ((by_group || by_all) && !sticky) {
                return Err(Unconfined::InReach { user: self.user, path: part.to_owned() });
            }
        }
        Ok(())
    }
}

/// Gives this process up to the confinement. It must have one thread, since the system asks each of them.
///
/// # Errors
/// Anything at all went wrong: the caller must end, and run nothing.
pub fn enter(confinement: &Confinement) -> Result<(), Unconfined> {
    let system = |step| move |error: rustix::io::Errno| Unconfined::System { step, source: error.into() };
    let Confinement { user, group, folder } = confinement;
    if *user == 0 {
        return Err(Unconfined::SameUser(0));
    }
    if !rustix::process::geteuid().is_root() {
        return Err(Unconfined::NotRoot);
    }
    let most = |bytes: u64| Rlimit { current: Some(bytes), maximum: Some(bytes) };
    for (resource, bound) in [
        (Resource::Core, 0),
        (Resource::Fsize, PAYLOAD_FILE_BYTES_MAX),
        (Resource::As, PAYLOAD_MEMORY_BYTES_MAX),
        (Resource::Nofile, PAYLOAD_FILES_MAX),
        (Resource::Nproc, PAYLOAD_PROCESSES_MAX),
    ] {
        setrlimit(resource, most(bound)).map_err(system("bound what it uses"))?;
    }
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    rustix::thread::clear_ambient_capability_set().map_err(system("take its ambient capabilities"))?;
    for capability in CapabilitySet::all().iter() {
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // The kernel is older than the capability.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(system("take its capabilities for good")(error)),
        }
    }
    let (user, group) = (rustix::process::Uid::from_raw(*user), rustix::process::Gid::from_raw(*group));
    rustix::thread::set_thread_groups(&[]).map_err(system("take its groups"))?;
    rustix::thread::set_thread_res_gid(group, group, group).map_err(system("give it its group"))?;
    rustix::thread::set_thread_res_uid(user, user, user).map_err(system("give it its user"))?;
    let none = CapabilitySet::empty();
    let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, none).map_err(system("take its capabilities"))?;
    rustix::thread::set_no_new_privs(true).map_err(system("see to it that it gets no new ones"))?;
    // After the change of user, which would undo it.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(system("let it end with the agent"))?;
    rustix::process::chdir(folder).map_err(system("go to its folder"))
}

/// Enters, and becomes the command. Comes back only if that failed.
pub fn become_command(confinement: &Confinement, program: &Path, arguments: &[String]) -> Unconfined {
    match enter(confinement) {
        Ok(()) => {
            let source = Command::new(program).args(arguments).exec();
            Unconfined::System { step: "start the command", source }
        }
        Err(unconfined) => unconfined,
    }
}
