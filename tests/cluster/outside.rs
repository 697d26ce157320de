//! Hosts beyond the node, in a network namespace that is wired to it: one as on the internet, and a cloud's metadata
//! server. The machine's own network knows nothing of them, and they go with this process.

use std::{
    io::{BufRead as _, BufReader},
    net::Ipv4Addr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use crate::{bed::Node, models::run, reach::Place};

/// From the range that is kept for documentation.
pub const INTERNET: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
/// Beside it, for rules that leave one of two out.
pub const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 3);
/// Where clouds hand out a machine's credentials.
pub const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
const NODE_END: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);

/// The hosts: one namespace with an address for each.
pub struct Outside {
    namespace: String,
    /// It reads from us until we end.
    _holds_it: Child,
}

impl Outside {
    /// The one of this run: a node is wired to it once.
    pub fn of(node: &Node) -> &'static Self {
        static OUTSIDE: OnceLock<Outside> = OnceLock::new();
        OUTSIDE.get_or_init(|| Self::wired_to(&node.network))
    }

    pub fn place(&self, name: &str, address: Ipv4Addr) -> Place {
        Place::new(name, address, Path::new(&self.namespace))
    }

    fn wired_to(node: &Path) -> Self {
        let mut child = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo there && exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare can be run");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "there\n", "a network namespace can be made");
        let pid = child.id().to_string();
        let namespace = format!("/proc/{pid}/ns/net");

        let on_node = |line: &str| ip(node.to_str().unwrap(), line);
        let outside = |line: &str| ip(&namespace, line);
        on_node(&format!("link add outside type veth peer name eth0 netns {pid}"));
        on_node(&format!("addr add {NODE_END}/24 dev outside"));
        on_node("link set outside up");
        outside("link set lo up");
        for address in [INTERNET, NEIGHBOUR] {
            outside(&format!("addr add {address}/24 dev eth0"));
        }
        outside(&format!("addr add {METADATA}/32 dev lo"));
        outside("link set eth0 up");
        outside(&format!("route add default via {NODE_END}"));
        on_node(&format!("route add {METADATA}/32 via {INTERNET}"));
        Self {
            namespace,
            _holds_it: child,
        }
    }
}

fn ip(namespace: &str, line: &str) {
    run(Command::new("nsenter")
        .arg(format!("--net={namespace}"))
        .arg("ip")
        .args(line.split(' ')));
}
