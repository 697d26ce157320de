//! A model that lies in a folder: which files it has, and their digests.
//! Nothing outside the folder is opened, no link is followed, and only regular files are read.

mod hash;
mod walk;

use std::{fs::File, io, os::fd::OwnedFd, path::Path};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2};

pub use hash::{Progress, Silent, hash};
pub(super) use hash::{Sink, hash_into};
pub use walk::{FoundFile, Skip, walk};

use super::signature::RelPath;
use crate::evidence::{Failure, Reason};

/// An open folder. Everything in it is opened beneath this descriptor, wherever the path may lead later.
#[derive(Debug)]
pub struct Tree {
    root: OwnedFd,
    shown: String,
}

/// Which folder this is, whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::artifact) struct Identity {
    device: u64,
    inode: u64,
}

impl Tree {
    /// Opens the folder. The path itself is the caller's and may be a link; what is beneath it may not.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let shown = path.display().to_string();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, path, flags, Mode::empty()).map_err(|error| match error {
            rustix::io::Errno::NOTDIR => Failure::new(
                Reason::NotAModel,
                format!("{shown} is not a folder: give the folder the model lies in"),
            ),
            rustix::io::Errno::NOENT => Failure::new(
                Reason::Io,
                format!("there is no folder {shown}: correct the path, or put the model there"),
            ),
            error => io_failure("open", &shown, error.into()),
        })?;
        Ok(Self { root, shown })
    }

    /// Opens a regular file beneath the folder for reading, or refuses whatever else has that name.
    pub fn open_file(&self, path: &RelPath) -> Result<File, Failure> {
        self.find_file(path)?
            .ok_or_else(|| io_failure("open", path.as_str(), io::ErrorKind::NotFound.into()))
    }

    /// The same, or nothing when there is nothing of that name.
    pub fn find_file(&self, path: &RelPath) -> Result<Option<File>, Failure> {
        let shown = path.as_str();
        let file = match beneath(&self.root, shown, OFlags::NONBLOCK) {
            Ok(file) => file,
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(error) => return Err(refusal(shown, error)),
        };
        let stat = fstat(&file).map_err(|error| io_failure("look at", shown, error.into()))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(Some(File::from(file))),
            other => Err(not_regular(shown, other)),
        }
    }

    pub(in crate::artifact) fn identity(&self) -> Result<Identity, Failure> {
        identity(&self.root).map_err(|error| io_failure("look at", &self.shown, error.into()))
    }
}

fn identity(directory: &OwnedFd) -> rustix::io::Result<Identity> {
    fstat(directory).map(|stat| Identity {
        device: stat.st_dev,
        inode: stat.st_ino,
    })
}

/// The one way anything in a tree is opened.
fn beneath(directory: &OwnedFd, name: &str, more: OFlags) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | more;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    loop {
        match openat2(directory, name, flags, Mode::empty(), resolve) {
            // EAGAIN: something was renamed meanwhile and the kernel cannot tell whether the path stayed beneath.
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            done => return done,
        }
    }
}

fn refusal(shown: &str, error: rustix::io::Errno) -> Failure {
    use rustix::io::Errno;
    match error {
        Errno::LOOP => not_regular(shown, FileType::Symlink),
        // Opening a socket.
        Errno::NXIO => not_regular(shown, FileType::Socket),
        Errno::NOSYS => Failure::new(
            Reason::Io,
            "this kernel or sandbox has no openat2, without which a folder cannot be read safely: use Linux 5.6 or newer without a sandbox that hides it",
        ),
        error => io_failure("open", shown, error.into()),
    }
}

fn not_regular(shown: &str, kind: FileType) -> Failure {
    let kind = match kind {
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        FileType::Directory => "a folder",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "no regular file",
    };
    Failure::new(
        Reason::NotARegularFile,
        format!("{shown} is {kind}, a model has only regular files: replace it by the file or remove it"),
    )
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "called from map_err, where the error is owned"
)]
fn io_failure(verb: &str, shown: &str, error: io::Error) -> Failure {
    Failure::new(Reason::Io, format!("cannot {verb} {shown}: {error}"))
}
