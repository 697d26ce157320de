//! Which hosts may be asked, as flags: the same ones for every subcommand that reads registries.
//! Parsing only; what the lists mean is in `artifact::oci::hosts`.

use crate::artifact::oci::{Host, HostPolicy};

/// Flags that say which hosts may be asked.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct HostArgs {
    /// A registry that is asked over plain HTTP, `host[:port]`. May be repeated.
    #[arg(long, value_name = "HOST")]
    plain_http: Vec<Host>,
    /// A host besides the registry itself that may give out tokens or serve blobs, `host[:port]`. May be repeated.
    #[arg(long, value_name = "HOST")]
    allow_host: Vec<Host>,
}

impl HostArgs {
    /// The policy these flags describe; `registries` are the only ones that may be asked, or none for any.
    pub fn policy(self, registries: Vec<Host>) -> HostPolicy {
        HostPolicy {
            plain_http: self.plain_http.into_iter().collect(),
            extra: self.allow_host.into_iter().collect(),
            registries: (!registries.is_empty()).then(|| registries.into_iter().collect()),
        }
    }
}
