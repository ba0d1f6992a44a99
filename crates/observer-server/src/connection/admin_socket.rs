//! Admin socket: a Unix socket whose callers may administer the server without a token.
//!
//! The permissions of its file restrict it to the user of the process (and root). They are set
//! before the socket listens, so that no other user can connect in between.
//!
//! A process that was killed leaves the file behind. A new server replaces it if nothing listens on
//! it, and removes its own file when it stops.

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixSocket, UnixStream};
use tokio::time::timeout;

/// Limit of a path in bytes (`sun_path` in unix(7), without the final zero).
const MAX_PATH: usize = 107;
/// Limit of connections that wait until they are accepted.
const BACKLOG: u32 = 64;
/// Time for connecting to the socket of another process.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Mark of requests that arrived on the admin socket, in their extensions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ViaAdminSocket;

/// Bound admin socket, whose file is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct AdminSocket {
    listener: UnixListener,
    file: SocketFile,
}

/// Error type for binding the socket.
#[derive(Debug, thiserror::Error)]
enum BindSocketError {
    #[error(
        "the path has {bytes} bytes, and a socket allows {MAX_PATH}; configure a shorter one as \
         `access.admin_socket`"
    )]
    TooLong { bytes: usize },
    #[error("the file is not a socket; remove it, or configure another `access.admin_socket`")]
    NotASocket,
    #[error(
        "another process listens on it; give each observer an `access.admin_socket` of its own"
    )]
    InUse,
    #[error(transparent)]
    Failed(#[from] io::Error),
}

/// File of a bound socket.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Device and inode, which tell the file from that of a successor at the same path.
    identity: Option<(u64, u64)>,
}

impl AdminSocket {
    /// Binds the socket. A failure is logged as a warning, since it must not stop the server.
    pub(crate) async fn bind_or_warn(path: &Path) -> Option<Self> {
        let bound = Self::bind(path).await;
        bound
            .inspect_err(|error| {
                tracing::warn!(
                    path = %path.display(),
                    error = observer_core::report(error),
                    "the admin socket is not available; administration needs a token or \
                     access.anonymous"
                );
            })
            .ok()
    }

    async fn bind(path: &Path) -> Result<Self, BindSocketError> {
        let bytes = path.as_os_str().len();
        if bytes > MAX_PATH {
            return Err(BindSocketError::TooLong { bytes });
        }
        remove_stale(path).await?;
        let socket = UnixSocket::new_stream()?;
        socket.bind(path)?;
        let file = SocketFile::new(path);
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        Ok(Self { listener: socket.listen(BACKLOG)?, file })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.file.path
    }

    pub(crate) fn listener(&self) -> &UnixListener {
        &self.listener
    }
}

/// Removes the file of a socket on which no process listens.
async fn remove_stale(path: &Path) -> Result<(), BindSocketError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
        Ok(file) if !file.file_type().is_socket() => return Err(BindSocketError::NotASocket),
        Ok(_) => {}
    }
    match timeout(PROBE_TIMEOUT, UnixStream::connect(path)).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Ok(fs::remove_file(path)?)
        }
        // The other process has removed it.
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // The backlog of the other process is full.
        Ok(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => Err(BindSocketError::InUse),
        Ok(Err(error)) => Err(error.into()),
        Ok(Ok(_)) | Err(_) => Err(BindSocketError::InUse),
    }
}

impl SocketFile {
    fn new(path: &Path) -> Self {
        let identity = fs::symlink_metadata(path).ok().as_ref().map(identity);
        Self { path: path.to_owned(), identity }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_own = fs::symlink_metadata(&self.path)
            .is_ok_and(|file| self.identity == Some(identity(&file)));
        if is_own {
            // A file that stays is stale, and the next server replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn error(path: &Path) -> String {
        observer_core::report(&AdminSocket::bind(path).await.unwrap_err())
    }

    #[tokio::test]
    async fn socket_is_private_and_removed_when_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        let socket = AdminSocket::bind(&path).await.unwrap();
        let file = fs::symlink_metadata(&path).unwrap();
        assert!(file.file_type().is_socket());
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
        UnixStream::connect(&path).await.unwrap();
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        // The standard library leaves the file behind, as a killed process does.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let socket = AdminSocket::bind(&path).await.unwrap();
        assert!(error(&path).await.starts_with("another process listens on it"));
        UnixStream::connect(&path).await.unwrap();
        drop(socket);
    }

    #[tokio::test]
    async fn socket_of_a_successor_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        let first = AdminSocket::bind(&path).await.unwrap();
        fs::rename(&path, dir.path().join("moved.sock")).unwrap();
        let second = AdminSocket::bind(&path).await.unwrap();
        drop(first);
        UnixStream::connect(&path).await.unwrap();
        drop(second);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn other_files_are_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "text").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for path in [&file, &link, &dir.path().to_owned()] {
            assert!(error(path).await.starts_with("the file is not a socket"), "{path:?}");
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "text");
        assert!(link.is_symlink());
    }

    #[tokio::test]
    async fn path_must_be_short_and_its_folder_must_exist() {
        let dir = tempfile::tempdir().unwrap();
        let missing = error(&dir.path().join("missing/admin.sock")).await;
        assert!(missing.contains("No such file or directory"), "{missing}");
        let longest = MAX_PATH - dir.path().as_os_str().len() - 1;
        let path = |length: usize| dir.path().join("s".repeat(length));
        assert!(AdminSocket::bind(&path(longest)).await.is_ok());
        let long = error(&path(longest + 1)).await;
        assert!(long.starts_with("the path has 108 bytes, and a socket allows 107;"), "{long}");
    }
}
