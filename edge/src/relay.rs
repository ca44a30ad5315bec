//! The hop between the MQTT client and the hub: a Unix socket of this process alone on one side, our TLS connection on
//! the other. So TLS is ours: its alerts tell why a session ended, and its certificate can be exchanged.
//!
//! ```text
//!   MQTT client ── hub.sock (folder 0700, one connection, gone at once) ── Relay ── TLS 1.3 ── hub
//! ```

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy, split},
    net::{UnixListener, UnixStream},
    time::timeout,
};

use crate::{
    hub::Loss,
    limits::{LAST_WORDS_TIME_MAX, SOCKET_FOLDER_TRIES_MAX},
};

/// A socket that waits for the one connection it is made for. Dropping it removes socket and folder.
#[derive(Debug)]
pub struct Relay {
    listener: UnixListener,
    place: Place,
}

/// The folder of the socket. Only this user may enter it.
#[derive(Debug)]
struct Place {
    folder: PathBuf,
    socket: PathBuf,
}

impl Drop for Place {
    fn drop(&mut self) {
        // Either may be gone; what cannot be removed is an empty folder of ours in a temporary place.
        let _ = fs::remove_file(&self.socket);
        let _ = fs::remove_dir(&self.folder);
    }
}

impl Relay {
    /// Opens a socket in a new folder below `runtime`.
    ///
    /// # Errors
    /// The folder or the socket cannot be made, such as when the path is too long for a socket (about 100 bytes).
    pub fn open(runtime: &Path) -> io::Result<Self> {
        let place = Place::make(runtime)?;
        let listener = UnixListener::bind(&place.socket)?;
        Ok(Self { listener, place })
    }

    /// Where the MQTT client connects to.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.place.socket
    }

    /// Takes the one connection, of this process, and then removes the socket.
    ///
    /// # Errors
    /// The system refuses.
    pub async fn accept(self) -> io::Result<UnixStream> {
        let own = i32::try_from(process::id()).ok();
        loop {
            let (client, _) = self.listener.accept().await?;
            // Another process of this user is not our client.
            if client.peer_cred()?.pid() == own {
                return Ok(client);
            }
        }
    }
}

impl Place {
    fn make(runtime: &Path) -> io::Result<Self> {
        // A name that exists is somebody else's, or a leftover: never entered, always passed by.
        for attempt in 0..SOCKET_FOLDER_TRIES_MAX {
            let folder = runtime.join(format!("muster-edge-{}-{attempt}", process::id()));
            match DirBuilder::new().mode(0o700).create(&folder) {
                Ok(()) => return Ok(Self { socket: folder.join("hub.sock"), folder }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

/// The folder for sockets: systemd's for this unit, or the user's, or the one for temporary files.
#[must_use]
pub fn runtime_folder(environment: impl Fn(&str) -> Option<String>) -> PathBuf {
    let named = ["RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"].iter().find_map(|name| environment(name));
    // systemd separates several by colons.
    let first = named.and_then(|list| list.split(':').next().map(PathBuf::from));
    first.filter(|folder| folder.is_dir()).unwrap_or_else(std::env::temp_dir)
}

/// Carries bytes both ways until one side ends. Gives why the hub's side ended, or nothing when the client did.
pub async fn carry<C, H>(client: C, hub: H) -> Option<Loss>
where
    C: AsyncRead + AsyncWrite,
    H: AsyncRead + AsyncWrite,
{
    let (mut client_read, mut client_write) = split(client);
    let (mut hub_read, mut hub_write) = split(hub);
    let down = copy(&mut hub_read, &mut client_write);
    tokio::pin!(down);
    let up = copy(&mut client_read, &mut hub_write);
    let ended = tokio::select! {
        // What the hub says explains what happens to what we say.
        biased;
        ended = &mut down => return Some(ended.map_or_else(Loss::of, |_| Loss::Closed)),
        ended = up => ended,
    };
    match ended {
        Ok(_) => {
            // The client is done: say so, and give what is under way a moment.
            let _ = timeout(LAST_WORDS_TIME_MAX, async {
                let _ = hub_write.shutdown().await;
                let _ = down.await;
            })
            .await;
            None
        }
        Err(broken) => {
            // A hub that refuses sends an alert and closes; that we could not write may come to light first.
            match timeout(LAST_WORDS_TIME_MAX, down).await {
                Ok(Err(told)) => Some(Loss::of(told)),
                Ok(Ok(_)) | Err(_) => Some(Loss::of(broken)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tokio::io::{AsyncReadExt, duplex};

    use super::*;

    fn block_on<F: Future>(story: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(story)
    }

    #[test]
    fn bytes_go_both_ways_until_the_hub_closes() {
        block_on(async {
            let (mut client, client_end) = duplex(64);
            let (mut hub, hub_end) = duplex(64);
            let relay = tokio::spawn(carry(client_end, hub_end));
            client.write_all(b"CONNECT").await.expect("written");
            let mut read = [0; 7];
            hub.read_exact(&mut read).await.expect("read");
            assert_eq!(&read, b"CONNECT");
            hub.write_all(b"CONNACK").await.expect("written");
            client.read_exact(&mut read).await.expect("read");
            assert_eq!(&read, b"CONNACK");
            drop(hub);
            assert!(matches!(relay.await.expect("it ends"), Some(Loss::Closed)));
            assert_eq!(client.read(&mut read).await.expect("end of file"), 0, "the client sees it too");
        });
    }

    #[test]
    fn a_client_that_leaves_is_no_loss_and_its_last_words_arrive() {
        block_on(async {
            let (mut client, client_end) = duplex(64);
            let (mut hub, hub_end) = duplex(64);
            let relay = tokio::spawn(carry(client_end, hub_end));
            client.write_all(b"DISCONNECT").await.expect("written");
            drop(client);
            let mut heard = Vec::new();
            hub.read_to_end(&mut heard).await.expect("read");
            assert_eq!(heard, b"DISCONNECT");
            drop(hub);
            assert!(relay.await.expect("it ends").is_none());
        });
    }

    #[test]
    fn the_socket_is_in_a_folder_of_our_own_and_goes_when_it_was_used() {
        block_on(async {
            let runtime = tempfile::tempdir().expect("folder");
            let relay = Relay::open(runtime.path()).expect("open");
            let socket = relay.socket().to_owned();
            let folder = socket.parent().expect("folder");
            assert_eq!(fs::metadata(folder).expect("there").permissions().mode() & 0o777, 0o700);
            let another = Relay::open(runtime.path()).expect("a second one beside it");
            assert_ne!(another.socket(), socket);
            let (client, accepted) = tokio::join!(UnixStream::connect(&socket), relay.accept());
            client.expect("connected");
            accepted.expect("accepted");
            assert!(!folder.exists());
        });
    }

    #[test]
    fn the_runtime_folder_is_the_one_of_the_unit_or_of_the_user() {
        let unit = tempfile::tempdir().expect("folder");
        let path = unit.path().to_str().expect("text").to_owned();
        let of = |name: &'static str, value: String| {
            runtime_folder(move |asked| (asked == name).then(|| value.clone()))
        };
        assert_eq!(of("RUNTIME_DIRECTORY", format!("{path}:/elsewhere")), unit.path());
        assert_eq!(of("XDG_RUNTIME_DIR", path), unit.path());
        assert_eq!(of("XDG_RUNTIME_DIR", "/nowhere/at/all".to_owned()), std::env::temp_dir());
    }
}
