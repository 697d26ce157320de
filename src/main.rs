//! The one binary: installs the TLS provider, parses, dispatches.
//! Everything else is in the library.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    // Two providers unified by features would panic at the first handshake, so choose before anything connects.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    probity::cli::Cli::parse().run()
}
