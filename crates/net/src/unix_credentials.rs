//! Unix peer credentials: process, user and group at the other end of a Unix socket.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use crate::peer::UnixCredentials;

/// Asks the kernel who connected (`SO_PEERCRED`, unix(7)).
///
/// The one unsafe block of this crate: neither the standard library nor `socket2` offers this
/// option.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[allow(unsafe_code)]
pub(crate) fn peer_credentials(socket: impl AsFd) -> io::Result<UnixCredentials> {
    let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the descriptor is borrowed and thus open for the whole call; the kernel writes at
    // most `length` bytes to `credentials`, which is exactly so long, plain data, and valid for any
    // bit pattern.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut credentials).cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(UnixCredentials {
        pid: credentials.pid.cast_unsigned(),
        uid: credentials.uid,
        gid: credentials.gid,
    })
}

/// Other systems have other calls; there the peer stays unknown.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn peer_credentials(_socket: impl AsFd) -> io::Result<UnixCredentials> {
    Err(io::ErrorKind::Unsupported.into())
}
