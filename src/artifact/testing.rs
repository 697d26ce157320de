//! A signed model in a folder, for tests to alter.
//! Only for tests.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
};

use super::{directory::SIGNATURE, signature::testing::Signer, tree::Progress};

pub(super) const FILES: &[(&str, &[u8])] = &[
    ("config.json", b"{}"),
    ("empty.bin", b""),
    ("model.onnx", b"weights"),
    ("sub/x.txt", b"x"),
    ("sub.txt", b"y"),
];

/// A signed model in a folder of its own, removed with it.
pub(super) struct Model {
    pub(super) folder: tempfile::TempDir,
    pub(super) signer: Signer,
}

impl Model {
    pub(super) fn signed(files: &[(&str, &[u8])]) -> Self {
        let model = Self {
            folder: tempfile::tempdir().unwrap(),
            signer: Signer::new("release"),
        };
        for (name, content) in files {
            model.write(name, content);
        }
        model.write(SIGNATURE, &model.signer.sign_files(files));
        model
    }

    pub(super) fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.folder.path().display())
    }

    pub(super) fn write(&self, name: &str, content: &[u8]) {
        if let Some((folder, _)) = name.rsplit_once('/') {
            fs::create_dir_all(self.path(folder)).unwrap();
        }
        fs::write(self.path(name), content).unwrap();
    }
}

/// Does something once, when the first bytes were read.
pub(super) struct OnFirstRead<F>(AtomicBool, F);

impl<F: Fn() + Sync> OnFirstRead<F> {
    pub(super) fn new(then: F) -> Self {
        Self(AtomicBool::new(false), then)
    }
}

impl<F: Fn() + Sync> Progress for OnFirstRead<F> {
    fn advance(&self, _: u64) {
        if !self.0.swap(true, Ordering::Relaxed) {
            (self.1)();
        }
    }
}
