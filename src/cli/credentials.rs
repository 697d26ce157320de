//! Registry credentials from a file, as an argument: the same one for every subcommand that asks registries.
//! It only reads the file; where credentials may go is decided in `artifact::oci`.

use std::{fs::File, io::Read as _, path::PathBuf};

use crate::{
    artifact::oci::Credentials,
    evidence::{Failure, Reason},
};

/// A pull secret is at most 1 MiB; whatever is longer is none.
const MAX_CREDENTIALS: u64 = (1 << 20) + 1;

/// Where credentials are.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct CredentialsArgs {
    /// Registry credentials: the `.dockerconfigjson` of a pull secret, or `~/.docker/config.json` with passwords in it.
    #[arg(long, value_name = "FILE")]
    credentials_file: Option<PathBuf>,
}

impl CredentialsArgs {
    /// The credentials in the file; without a file there are none.
    pub fn read(&self) -> Result<Credentials, Failure> {
        let Some(path) = &self.credentials_file else {
            return Ok(Credentials::none());
        };
        let mut json = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MAX_CREDENTIALS).read_to_end(&mut json))
            .map_err(|error| {
                let message = format!(
                    "cannot read the credentials in {} ({error}): give a file that can be read",
                    path.display()
                );
                Failure::new(Reason::CredentialsMissing, message)
            })?;
        Credentials::from_docker_config(&json)
    }
}
