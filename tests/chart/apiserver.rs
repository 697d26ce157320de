//! An API server for this test binary: started at the first need, gone when the binary ends, however it ends.
//! It has no definitions of ours: the chart brings them.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use crate::helm::tool;

struct Server {
    kubeconfig: String,
    /// The server lives until its standard input ends: held open here, closed by the end of this process.
    _process: Child,
}

/// The path of the administrator's kubeconfig.
pub fn kubeconfig() -> &'static str {
    static SERVER: OnceLock<Server> = OnceLock::new();
    &SERVER.get_or_init(start).kubeconfig
}

fn start() -> Server {
    let mut process = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testbed/apiserver"))
        .arg(tempfile::tempdir().unwrap().keep())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("tests/testbed/apiserver can be run");
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let Some(kubeconfig) = line.trim().strip_prefix("ready ") else {
        let _ = process.wait();
        panic!("tests/testbed/apiserver did not come up; it says why above")
    };
    Server {
        kubeconfig: kubeconfig.to_owned(),
        _process: process,
    }
}

/// kubectl as the administrator.
pub fn kubectl() -> Command {
    let mut command = tool("kubectl");
    command.args(["--kubeconfig", kubeconfig()]);
    command
}
