//! Writes a model into a folder so that a file appears under its name only when it is complete and proven.
//! It touches nothing but what writing the same model could have made, and follows no link.
//!
//! Names are opened component by component, each relative to the open folder above it and without following links. A
//! component of a [`RelPath`] has no slash and is neither `.` nor `..`, so no step can lead out.

use std::{
    collections::BTreeSet,
    fs::File,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{
        AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, fchmod, fstatvfs, mkdirat, openat,
        renameat_with, statat, unlinkat,
    },
    io::Errno,
};

use crate::{
    artifact::signature::{RelPath, printable},
    evidence::{Failure, Reason},
};

/// Where files are until they are proven. No model may have a file in it.
const STAGING: &str = ".probity-fetch";
/// Deeper than any model's folders: how far a clean-up goes down.
const MAX_DEPTH: usize = 66;

/// While a model is written, only its owner may change its folders.
const OPEN: Mode = Mode::RWXU
    .union(Mode::RGRP)
    .union(Mode::XGRP)
    .union(Mode::ROTH)
    .union(Mode::XOTH);
/// Afterwards nobody may, and everybody may look.
const SEALED: Mode = Mode::from_raw_mode(0o555);
const FILE: Mode = Mode::from_raw_mode(0o444);

/// An open folder that a model is written into.
#[derive(Debug)]
pub(super) struct Folder {
    root: OwnedFd,
    staging: OwnedFd,
    shown: String,
}

impl Folder {
    /// Opens the folder and removes what an earlier run with the same files left in it.
    ///
    /// # Errors
    /// [`Reason::Io`] when the folder holds anything else: that is somebody's, and is left alone.
    pub(super) fn open(path: &Path, files: &[&RelPath]) -> Result<Self, Failure> {
        let shown = path.display().to_string();
        let fail = |verb: &str, error: Errno| io(verb, &shown, error);
        // The path itself is the caller's and may be a link; what is beneath it may not.
        let root = openat(
            CWD,
            path,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|error| fail("open", error))?;
        let ours = Ours::new(files)?;
        ours.survey(root.as_fd(), None, &shown)?;
        empty(root.as_fd(), 0).map_err(|error| fail("empty", error))?;
        mkdirat(&root, STAGING, Mode::RWXU).map_err(|error| fail("write to", error))?;
        let staging = folder(root.as_fd(), STAGING).map_err(|error| fail("write to", error))?;
        Ok(Self { root, staging, shown })
    }

    /// How many bytes fit.
    pub(super) fn room(&self) -> Result<u64, Failure> {
        let stat = fstatvfs(&self.root).map_err(|error| io("measure", &self.shown, error))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// A new, empty file that nobody sees; one with the same number from an earlier try is gone.
    pub(super) fn stage(&self, number: usize) -> Result<File, Failure> {
        let name = number.to_string();
        let fail = |error| io("write to", &self.shown, error);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = || openat(&self.staging, &name, flags, Mode::RUSR | Mode::WUSR);
        match create() {
            Err(Errno::EXIST) => unlinkat(&self.staging, &name, AtFlags::empty()).and_then(|()| create()),
            created => created,
        }
        .map(File::from)
        .map_err(fail)
    }

    /// Makes a staged file readable for everybody and writable for nobody: it is complete, and has no name yet.
    pub(super) fn finish(file: &File, path: &RelPath) -> Result<(), Failure> {
        fchmod(file, FILE).map_err(|error| io("write", path.as_str(), error))
    }

    /// Gives a finished file its name.
    pub(super) fn publish(&self, number: usize, path: &RelPath) -> Result<(), Failure> {
        let (above, _) = split(path);
        let parent = self
            .descend(above)
            .map_err(|error| io("write", path.as_str(), error))?;
        self.rename(number, parent.as_ref(), path)
    }

    /// Gives finished files their names; their numbers are their places. Ordered by path it is done soonest.
    pub(super) fn publish_all(&self, files: &[&RelPath]) -> Result<(), Failure> {
        let mut opened: Option<(&str, Option<OwnedFd>)> = None;
        for (number, path) in files.iter().enumerate() {
            let (above, _) = split(path);
            let parent = match opened.take() {
                Some((last, parent)) if last == above => parent,
                _ => self
                    .descend(above)
                    .map_err(|error| io("write", path.as_str(), error))?,
            };
            self.rename(number, parent.as_ref(), path)?;
            opened = Some((above, parent));
        }
        Ok(())
    }

    fn rename(&self, number: usize, parent: Option<&OwnedFd>, path: &RelPath) -> Result<(), Failure> {
        let parent = parent.map_or(self.root.as_fd(), AsFd::as_fd);
        let (_, name) = split(path);
        let staged = number.to_string();
        match renameat_with(&self.staging, &staged, parent, name, RenameFlags::NOREPLACE) {
            // Not every file system can refuse to replace. There is nothing to replace: the folder was empty and no
            // two files of a model have one name.
            Err(Errno::INVAL | Errno::NOSYS) => rustix::fs::renameat(&self.staging, &staged, parent, name),
            done => done,
        }
        .map_err(|error| io("write", path.as_str(), error))
    }

    /// Opens the folder with this path and makes what is missing of it; the root, whose path is empty, is `None`.
    fn descend(&self, path: &str) -> rustix::io::Result<Option<OwnedFd>> {
        let mut at: Option<OwnedFd> = None;
        for component in path.split('/').filter(|component| !component.is_empty()) {
            let above = at.as_ref().map_or(self.root.as_fd(), AsFd::as_fd);
            let made = match mkdirat(above, component, Mode::RWXU) {
                Ok(()) => true,
                Err(Errno::EXIST) => false,
                Err(error) => return Err(error),
            };
            let below = folder(above, component)?;
            if made {
                // Not by the argument of mkdir, from which the umask takes away.
                fchmod(&below, OPEN)?;
            }
            at = Some(below);
        }
        Ok(at)
    }

    /// Takes away the staging folder and everybody's right to write to the model's folders. The folder itself stays as
    /// it is: it belongs to whoever made it.
    pub(super) fn seal(self, files: &[&RelPath]) -> Result<(), Failure> {
        let fail = |error| io("finish", &self.shown, error);
        unlinkat(&self.root, STAGING, AtFlags::REMOVEDIR).map_err(fail)?;
        for path in folders(files) {
            if let Some(folder) = self.descend(path).map_err(fail)? {
                fchmod(&folder, SEALED).map_err(fail)?;
            }
        }
        Ok(())
    }
}

/// The path of the folder that a file lies in, empty for the root, and its name there.
fn split(path: &RelPath) -> (&str, &str) {
    path.as_str().rsplit_once('/').unwrap_or(("", path.as_str()))
}

/// Every folder that the files lie in, the outer before the inner.
fn folders<'a>(files: &[&'a RelPath]) -> BTreeSet<&'a str> {
    files
        .iter()
        .flat_map(|path| {
            path.as_str()
                .match_indices('/')
                .map(|(end, _)| &path.as_str()[..end])
        })
        .collect()
}

/// What writing a model may have left behind.
struct Ours<'a> {
    files: BTreeSet<&'a str>,
    folders: BTreeSet<&'a str>,
}

impl<'a> Ours<'a> {
    fn new(files: &[&'a RelPath]) -> Result<Self, Failure> {
        if let Some(path) = files
            .iter()
            .find(|path| path.components().next() == Some(STAGING))
        {
            return Err(Failure::new(
                Reason::MalformedPath,
                format!(
                    "the model has a file `{path}`, a name that is used while a model is written: rename it and sign the model again"
                ),
            ));
        }
        Ok(Self {
            files: files.iter().map(|path| path.as_str()).collect(),
            folders: folders(files),
        })
    }

    /// Refuses a folder with anything in it that is not ours. Looks at everything before anything is removed.
    fn survey(&self, at: BorrowedFd<'_>, parent: Option<&RelPath>, shown: &str) -> Result<(), Failure> {
        for (name, kind) in entries(at).map_err(|error| io("list", shown, error))? {
            if parent.is_none() && name == STAGING.as_bytes() {
                continue;
            }
            let path = std::str::from_utf8(&name)
                .ok()
                .and_then(|name| RelPath::child(parent, name).ok());
            match &path {
                Some(path) if kind == FileType::RegularFile && self.files.contains(path.as_str()) => {}
                Some(path) if kind == FileType::Directory && self.folders.contains(path.as_str()) => {
                    let name = path.components().next_back().unwrap_or_default();
                    let below = folder(at, name).map_err(|error| io("open", path.as_str(), error))?;
                    self.survey(below.as_fd(), Some(path), shown)?;
                }
                _ => {
                    return Err(Failure::new(
                        Reason::Io,
                        format!(
                            "{shown} holds `{}`, which is no file of the model: give an empty folder",
                            printable(&String::from_utf8_lossy(&name), 120)
                        ),
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Opens a folder by one component, following no link.
fn folder(above: BorrowedFd<'_>, component: &str) -> rustix::io::Result<OwnedFd> {
    openat(
        above,
        component,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// The entries of a folder, read before any of them is changed.
fn entries(at: BorrowedFd<'_>) -> rustix::io::Result<Vec<(Vec<u8>, FileType)>> {
    let mut all = Vec::new();
    for entry in Dir::read_from(at)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => {
                FileType::from_raw_mode(statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode)
            }
            kind => kind,
        };
        all.push((name.to_bytes().to_vec(), kind));
    }
    Ok(all)
}

/// Removes everything in a folder. Links are removed, not followed.
fn empty(at: BorrowedFd<'_>, depth: usize) -> rustix::io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(Errno::LOOP);
    }
    for (name, kind) in entries(at)? {
        if kind == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let below = openat(at, name.as_slice(), flags, Mode::empty())?;
            // A sealed folder can be emptied only after its owner opened it again.
            fchmod(&below, Mode::RWXU)?;
            empty(below.as_fd(), depth + 1)?;
            unlinkat(at, name.as_slice(), AtFlags::REMOVEDIR)?;
        } else {
            unlinkat(at, name.as_slice(), AtFlags::empty())?;
        }
    }
    Ok(())
}

fn io(verb: &str, shown: &str, error: Errno) -> Failure {
    failure(verb, shown, &error.into())
}

/// The failure for an error of the file system.
pub(super) fn failure(verb: &str, shown: &str, error: &std::io::Error) -> Failure {
    use std::io::ErrorKind;
    let remedy = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "enlarge the volume",
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "make the folder writable for this user"
        }
        ErrorKind::NotFound => "make the folder first",
        _ => "look at the volume",
    };
    Failure::new(Reason::Io, format!("cannot {verb} {shown} ({error}): {remedy}"))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the names are the test's own")]
mod tests {
    use std::{
        fs,
        io::Write as _,
        os::unix::fs::{PermissionsExt as _, symlink},
    };

    use super::*;

    fn paths(names: &[&str]) -> Vec<RelPath> {
        names.iter().map(|name| RelPath::parse(name).unwrap()).collect()
    }

    fn write(folder: &Folder, number: usize, path: &RelPath, content: &str) {
        let mut file = folder.stage(number).unwrap();
        file.write_all(content.as_bytes()).unwrap();
        Folder::finish(&file, path).unwrap();
        folder.publish(number, path).unwrap();
    }

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn files_appear_when_published_and_folders_close_when_sealed() {
        let temp = tempfile::tempdir().unwrap();
        let names = paths(&["model.onnx", "a/b/c.txt", "a/d.txt"]);
        let names: Vec<_> = names.iter().collect();
        let folder = Folder::open(temp.path(), &names).unwrap();
        let staged = folder.stage(0).unwrap();
        assert!(
            !temp.path().join("model.onnx").exists(),
            "a file that is not proven has no name"
        );
        Folder::finish(&staged, names[0]).unwrap();
        folder.publish(0, names[0]).unwrap();
        write(&folder, 1, names[1], "c");
        write(&folder, 2, names[2], "d");
        folder.seal(&names).unwrap();
        assert_eq!(fs::read_to_string(temp.path().join("a/b/c.txt")).unwrap(), "c");
        assert_eq!(mode(&temp.path().join("a/b/c.txt")), 0o444);
        assert_eq!(mode(&temp.path().join("model.onnx")), 0o444);
        assert_eq!(mode(&temp.path().join("a/b")), 0o555);
        assert_eq!(mode(&temp.path().join("a")), 0o555);
        assert!(!temp.path().join(STAGING).exists());
        // What was sealed can be written again by the same owner.
        let folder = Folder::open(temp.path(), &names).unwrap();
        assert!(
            !temp.path().join("a").exists(),
            "emptied before it is written again"
        );
        drop(folder);
    }

    #[test]
    fn a_second_try_replaces_what_was_staged() {
        let temp = tempfile::tempdir().unwrap();
        let names = paths(&["a"]);
        let folder = Folder::open(temp.path(), &[&names[0]]).unwrap();
        folder.stage(0).unwrap().write_all(b"half of a longer").unwrap();
        write(&folder, 0, &names[0], "whole");
        assert_eq!(fs::read_to_string(temp.path().join("a")).unwrap(), "whole");
    }

    #[test]
    fn what_an_earlier_run_left_is_removed() {
        let temp = tempfile::tempdir().unwrap();
        let names = paths(&["a/b", "c"]);
        let names: Vec<_> = names.iter().collect();
        let folder = Folder::open(temp.path(), &names).unwrap();
        write(&folder, 0, names[0], "old");
        folder.stage(1).unwrap().write_all(b"half").unwrap();
        drop(folder);
        let folder = Folder::open(temp.path(), &names).unwrap();
        assert_eq!(fs::read_dir(temp.path().join(STAGING)).unwrap().count(), 0);
        assert!(!temp.path().join("a").exists());
        drop(folder);
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        type Plant = fn(&Path);
        let plants: [(&str, Plant); 6] = [
            ("a file", |at| fs::write(at.join("thesis.txt"), "x").unwrap()),
            ("a file in a folder of the model", |at| {
                fs::create_dir(at.join("a")).unwrap();
                fs::write(at.join("a/thesis.txt"), "x").unwrap();
            }),
            ("a folder", |at| fs::create_dir(at.join("thesis")).unwrap()),
            ("a link with a file's name", |at| {
                symlink("/etc/passwd", at.join("c")).unwrap();
            }),
            ("a link with a folder's name", |at| {
                symlink("/etc", at.join("a")).unwrap();
            }),
            ("a folder with a file's name", |at| {
                fs::create_dir(at.join("c")).unwrap();
            }),
        ];
        for (what, plant) in plants {
            let temp = tempfile::tempdir().unwrap();
            plant(temp.path());
            // One of ours beside it, which must not be removed either.
            fs::create_dir_all(temp.path().join(STAGING)).unwrap();
            let names = paths(&["a/b", "c"]);
            let failure = Folder::open(temp.path(), &names.iter().collect::<Vec<_>>()).unwrap_err();
            assert_eq!(failure.reason, Reason::Io, "{what}");
            assert!(
                failure.message.contains("give an empty folder"),
                "{what}: {failure}"
            );
            assert!(temp.path().join(STAGING).exists(), "{what}: nothing was removed");
            assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 2, "{what}");
        }
    }

    #[test]
    fn links_planted_meanwhile_are_not_followed() {
        let temp = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let names = paths(&["a/b", "c"]);
        let names: Vec<_> = names.iter().collect();
        let folder = Folder::open(temp.path(), &names).unwrap();
        symlink(outside.path(), temp.path().join("a")).unwrap();
        let target = outside.path().join("c");
        symlink(&target, temp.path().join("c")).unwrap();
        for (number, path) in names.iter().enumerate() {
            folder.stage(number).unwrap();
            assert!(folder.publish(number, path).is_err(), "{path}");
        }
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
        // A link within the staging folder is removed and what it points to stays.
        fs::write(outside.path().join("kept"), "x").unwrap();
        symlink(outside.path().join("kept"), temp.path().join(STAGING).join("7")).unwrap();
        write(&folder, 7, &paths(&["d"])[0], "new");
        assert_eq!(fs::read_to_string(outside.path().join("kept")).unwrap(), "x");
    }

    #[test]
    fn the_staging_name_is_ours() {
        let temp = tempfile::tempdir().unwrap();
        let names = paths(&[".probity-fetch/0"]);
        let failure = Folder::open(temp.path(), &[&names[0]]).unwrap_err();
        assert_eq!(failure.reason, Reason::MalformedPath);
    }

    #[test]
    fn a_folder_that_does_not_exist() {
        let temp = tempfile::tempdir().unwrap();
        let failure = Folder::open(&temp.path().join("no"), &[]).unwrap_err();
        assert!(failure.message.contains("make the folder first"), "{failure}");
    }
}
