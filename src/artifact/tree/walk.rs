//! Lists the files beneath a folder.
//! It opens folders only; a file is looked at by `stat` and opened when it is hashed.

use std::ffi::CStr;

use rustix::{
    fs::{AtFlags, Dir, FileType, OFlags, statat},
    io::Errno,
};

use super::{Identity, RelPath, Tree, beneath, identity, io_failure, not_regular, refusal};
use crate::{
    artifact::signature::printable,
    evidence::{Failure, Reason},
};

/// Most entries, folders included.
const MAX_ENTRIES: usize = 1_000_000;

/// A regular file that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundFile {
    /// Its path beneath the root.
    pub path: RelPath,
    /// Its size when it was found.
    pub size: u64,
}

/// What a walk leaves out.
#[derive(Debug, Default)]
pub struct Skip<'a> {
    /// One entry: the folder it is in and its name, so that no link to the same content elsewhere is left out with it.
    pub(in crate::artifact) entry: Option<(Identity, &'a str)>,
    /// Paths, each with everything below it.
    pub paths: &'a [RelPath],
}

/// Lists every file, ordered by path. A link, pipe, socket or device is a failure, so that nothing is there that was not looked at.
pub fn walk(tree: &Tree, skip: &Skip<'_>) -> Result<Vec<FoundFile>, Failure> {
    let mut walk = Walk {
        tree,
        skip,
        files: Vec::new(),
        folders: vec![None],
        entries: 0,
    };
    while let Some(folder) = walk.folders.pop() {
        walk.folder(folder.as_ref())?;
    }
    walk.files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(walk.files)
}

struct Walk<'a> {
    tree: &'a Tree,
    skip: &'a Skip<'a>,
    files: Vec<FoundFile>,
    /// Folders still to read, the root as `None`. Paths, not descriptors: a deep or wide tree must not exhaust those.
    folders: Vec<Option<RelPath>>,
    entries: usize,
}

impl Walk<'_> {
    fn folder(&mut self, folder: Option<&RelPath>) -> Result<(), Failure> {
        let shown = folder.map_or(self.tree.shown.as_str(), RelPath::as_str);
        let io = |error: Errno| io_failure("read the folder", shown, error.into());
        let name = folder.map_or(".", RelPath::as_str);
        let opened = beneath(&self.tree.root, name, OFlags::DIRECTORY).map_err(|error| match error {
            // It was a folder a moment ago.
            Errno::NOTDIR | Errno::LOOP => changed(shown),
            error => refusal(shown, error),
        })?;
        let here = identity(&opened).map_err(io)?;
        for entry in Dir::read_from(&opened).map_err(io)? {
            let entry = entry.map_err(io)?;
            let name = entry.file_name();
            if name == c"." || name == c".." || self.is_skipped(here, name) {
                continue;
            }
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                return Err(Failure::new(
                    Reason::LimitExceeded,
                    format!(
                        "{} has more than {MAX_ENTRIES} files and folders: give the model's own folder",
                        self.tree.shown
                    ),
                ));
            }
            // A name that is no RelPath cannot have been signed, so it is refused here rather than shown as unsigned later.
            let text = name.to_str().map_err(|_| {
                let name = printable(&name.to_string_lossy(), 120);
                Failure::new(
                    Reason::MalformedPath,
                    format!("the file name `{name}` is not UTF-8: rename or remove the file"),
                )
            })?;
            let path = RelPath::child(folder, text)?;
            if self.skip.paths.contains(&path) {
                continue;
            }
            let stat = statat(&opened, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|error| match error {
                Errno::NOENT => changed(path.as_str()),
                error => io_failure("look at", path.as_str(), error.into()),
            })?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => self.folders.push(Some(path)),
                FileType::RegularFile => {
                    self.files.push(FoundFile {
                        path,
                        size: u64::try_from(stat.st_size).unwrap_or(0),
                    });
                }
                other => return Err(not_regular(path.as_str(), other)),
            }
        }
        Ok(())
    }

    fn is_skipped(&self, here: Identity, name: &CStr) -> bool {
        self.skip
            .entry
            .is_some_and(|(folder, skipped)| folder == here && name.to_bytes() == skipped.as_bytes())
    }
}

fn changed(shown: &str) -> Failure {
    Failure::new(
        Reason::ChangedDuringVerify,
        format!("{shown} changed while the folder was read: run it again when nothing writes there"),
    )
}
