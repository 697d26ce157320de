//! Which registries and hosts may be asked, as arguments: the same ones for every subcommand that asks registries.
//! It only parses; what they allow is decided in `artifact::oci`.

use crate::artifact::oci::{Host, HostPolicy};

/// Hosts that may be asked beyond what is always allowed: any registry, over TLS, and its own host only.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct HostArgs {
    /// Ask this registry or host over plain HTTP, credentials included. For registries inside a cluster or on a laptop.
    #[arg(long, value_name = "HOST[:PORT]", value_delimiter = ',')]
    plain_http: Vec<Host>,
    /// Let registries send us here for tokens (with credentials) or redirect us here for blobs (without them).
    #[arg(long, value_name = "HOST[:PORT]", value_delimiter = ',')]
    allow_host: Vec<Host>,
    /// Ask these registries only; without this flag, any.
    #[arg(long, value_name = "HOST[:PORT]", value_delimiter = ',')]
    allow_registry: Vec<Host>,
}

impl HostArgs {
    /// The policy that the arguments say.
    pub fn policy(&self) -> HostPolicy {
        HostPolicy {
            plain_http: self.plain_http.iter().cloned().collect(),
            extra: self.allow_host.iter().cloned().collect(),
            registries: (!self.allow_registry.is_empty())
                .then(|| self.allow_registry.iter().cloned().collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        hosts: HostArgs,
    }

    #[test]
    fn the_operators_list_survives_the_command_line() {
        let hosts = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        for policy in [
            HostPolicy::default(),
            HostPolicy {
                plain_http: hosts(&["10.0.0.5:5000", "[::1]:5000"]),
                extra: hosts(&["auth.example", "s3.example:444"]),
                registries: Some(hosts(&["registry.example"])),
            },
        ] {
            let line = Line::parse_from(std::iter::once("probity".to_owned()).chain(policy.arguments()));
            assert_eq!(line.hosts.policy(), policy);
        }
    }
}
