//! An API server for this test binary: started at the first need, gone when the binary ends, however it ends.
//! It has no definitions of ours: the chart brings them.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    sync::OnceLock,
};

use crate::helm::tool;

/// The path of the administrator's kubeconfig.
pub fn kubeconfig() -> &'static str {
    static KUBECONFIG: OnceLock<String> = OnceLock::new();
    KUBECONFIG.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap().keep();
        let mut server = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testbed/apiserver"))
            .arg(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("tests/testbed/apiserver can be run");
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let Some(path) = line.trim().strip_prefix("ready ") else {
            panic!("tests/testbed/apiserver did not come up; it says why above")
        };
        // The server lives until its standard input ends: kept open by never dropping it, closed by our own end.
        std::mem::forget(server.stdin.take());
        path.to_owned()
    })
}

/// kubectl as the administrator.
pub fn kubectl() -> Command {
    let mut command = tool("kubectl");
    command.args(["--kubeconfig", kubeconfig()]);
    command
}
