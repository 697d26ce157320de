//! What the operator asked of the API server, by the API server's own account.
//! It reads the audit log of the node and asks nobody.

use std::{
    fmt,
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::PathBuf,
};

use serde_json::Value;

use crate::{bed::Node, chart};

/// The log, from some moment on.
pub struct Audit {
    file: PathBuf,
    from: u64,
}

/// One request of the operator's.
pub struct Asked {
    pub verb: String,
    /// `resource/subresource name`
    pub what: String,
    pub namespace: String,
    pub code: u64,
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} in {}: {}",
            self.verb, self.what, self.namespace, self.code
        )
    }
}

impl Asked {
    /// Whether it would change something.
    pub fn is_write(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch")
    }
}

impl Audit {
    pub fn since_the_start(node: &Node) -> Self {
        Self {
            file: node.directory.join("log/audit.log"),
            from: 0,
        }
    }

    pub fn from_now(node: &Node) -> Self {
        let all = Self::since_the_start(node);
        let from = std::fs::metadata(&all.file).map_or(0, |meta| meta.len());
        Self { from, ..all }
    }

    /// Every request of the operator's that was answered since.
    pub fn asked(&self) -> Vec<Asked> {
        let mut file = File::open(&self.file).expect("the API server keeps an audit log");
        file.seek(SeekFrom::Start(self.from)).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        // The last line may be half written.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let user = format!("system:serviceaccount:{}:probity", chart::NAMESPACE);
        whole
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .filter(|entry| entry["user"]["username"] == user.as_str())
            .map(|entry| {
                let of = &entry["objectRef"];
                let word = |name: &str| of[name].as_str().unwrap_or_default();
                let (resource, subresource) = (word("resource"), word("subresource"));
                Asked {
                    verb: entry["verb"].as_str().unwrap_or_default().to_owned(),
                    what: format!("{resource}/{subresource} {}", word("name")),
                    namespace: word("namespace").to_owned(),
                    code: entry["responseStatus"]["code"].as_u64().unwrap_or_default(),
                }
            })
            .collect()
    }
}
