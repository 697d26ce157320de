//! A running container as its node sees it: its files through its own mounts, its user, its process.
//! It asks the kernel, not the API, which only knows what was asked for.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt as _;

use crate::{
    bed::Node,
    models::{run, sha256},
    space::eventually,
};

/// A container's first process.
pub struct Container {
    process: PathBuf,
}

impl Container {
    /// The running container of this name, whether an init container or not.
    pub async fn of(pod: &Pod, name: &str) -> Self {
        let id = status(pod, name).and_then(|status| status.container_id.clone());
        let id = id.and_then(|id| id.strip_prefix("containerd://").map(ToOwned::to_owned));
        let id = id.unwrap_or_else(|| panic!("container {name} of {} was never started", pod.name_any()));
        let process = eventually(
            &format!("the process of {name} in {}", pod.name_any()),
            async || {
                let processes = fs::read_dir("/proc")
                    .unwrap()
                    .filter_map(|entry| Some(entry.ok()?.path()));
                // While the runtime prepares a container, its own process is in the control group.
                let inside = |process: &PathBuf| {
                    fs::read_to_string(process.join("cgroup")).is_ok_and(|text| text.contains(&id))
                };
                let runtime = |process: &PathBuf| {
                    fs::read_to_string(process.join("comm")).is_ok_and(|name| name.starts_with("runc"))
                };
                processes
                    .into_iter()
                    .find(|process| inside(process) && !runtime(process))
            },
        )
        .await;
        Self { process }
    }

    /// A path of the container, from here.
    pub fn path(&self, path: &str) -> PathBuf {
        self.process.join("root").join(path.trim_start_matches('/'))
    }

    /// The network namespace, which a pod's containers share.
    pub fn network(&self) -> PathBuf {
        self.process.join("ns/net")
    }

    /// A line of the kernel's account of the process: `Uid`, `CapEff`, `NoNewPrivs`, `Seccomp`.
    pub fn fact(&self, name: &str) -> String {
        let all = fs::read_to_string(self.process.join("status")).unwrap();
        let line = all
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.expect("the kernel says it").trim().to_owned()
    }

    /// Where something is mounted, and with which options.
    pub fn mounts(&self) -> Vec<(String, String)> {
        let all = fs::read_to_string(self.process.join("mounts")).unwrap();
        let mount = |line: &str| {
            let mut words = line.split(' ').skip(1);
            let (point, options) = (words.next()?, words.nth(1)?);
            Some((point.to_owned(), options.to_owned()))
        };
        all.lines().filter_map(mount).collect()
    }

    /// Whether the mount at this point is read-only.
    pub fn is_read_only(&self, point: &str) -> bool {
        let mounts = self.mounts();
        let (_, options) = mounts
            .iter()
            .rfind(|(at, _)| at == point)
            .unwrap_or_else(|| panic!("{point}: {mounts:?}"));
        options.split(',').any(|option| option == "ro")
    }

    /// What happens to somebody who may do everything and writes there through the container's own mounts.
    pub fn write_error(&self, path: &str) -> Option<io::ErrorKind> {
        fs::write(self.path(path), "x").err().map(|error| error.kind())
    }

    /// The files under a folder with mode and digest, in the order of their paths.
    pub fn files(&self, folder: &str) -> Vec<(String, u32, String)> {
        let mut found = Vec::new();
        list(&self.path(folder), "", &mut found);
        found.sort();
        found
    }

    /// Ends it without giving it a chance to say anything.
    pub fn kill(&self) {
        let pid = self.process.file_name().unwrap();
        run(Command::new("kill").arg("-KILL").arg(pid));
    }
}

/// What a pod's status says of a container, whether an init container or not.
pub fn status<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let all = status
        .init_container_statuses
        .iter()
        .flatten()
        .chain(status.container_statuses.iter().flatten());
    all.into_iter().find(|status| status.name == name)
}

/// The folder that holds the model of a pod, on the node's disk.
pub fn volume(node: &Node, pod: &Pod) -> PathBuf {
    let pod = node.directory.join("kubelet/pods").join(pod.uid().unwrap());
    pod.join("volumes/kubernetes.io~empty-dir/probity-model")
}

fn list(folder: &Path, within: &str, found: &mut Vec<(String, u32, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{within}{}", path.file_name().unwrap().to_str().unwrap());
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            list(&path, &format!("{name}/"), found);
        } else {
            found.push((
                name,
                meta.permissions().mode() & 0o7777,
                sha256(&fs::read(&path).unwrap()),
            ));
        }
    }
}
