//! `probity copy`: verifies a model that lies in a volume while copying it; the init container for such models.
//! It parses, runs the copy, shows how far it is, and leaves one line that says how it ended.

use std::{io::Write as _, path::PathBuf, process::ExitCode, sync::Arc};

use clap::ValueHint;

use super::{
    print,
    screen::{printable, size},
    termination,
    watch::{End, Lines, watch},
};
use crate::{
    artifact::{
        copy::{CopyOptions, copy},
        signature::{KeyRing, PublicKey},
    },
    evidence::{CopyReport, Digest, Failure, KeyArgument, Reason},
};

const EXIT_CODES: &str = "Exit codes:
   0  verified and copied
   2  the command line is wrong
  10  not signed, or by none of the keys
  20  the content is not what was signed, or not what was asked for
  30  malformed: the signature or a file name; or too large
  40  not a model, or signed in a way that is not supported
  50  a key cannot be used, or the digest is revoked
  60  something could not be read or written; trying again may help
  70  a defect of ours
 143  stopped by a signal (130 for Ctrl-C)";

const EXAMPLES: &str = r#"Examples:
  What lies in ./models/digits, if the owner of release.pub signed it:
    probity copy --from ./models/digits --dir ./digits \
      --key "release=$(openssl pkey -pubin -in release.pub -outform DER | base64 -w0)"
  Exactly one version, signed with any one of two keys:
    probity copy --from /source --dir /model --key "release=$RELEASE" --key "vault=$VAULT" \
      --digest sha256:…"#;

/// Copy a signed model from one folder into another, verifying what is copied.
///
/// The model must carry its signature (model.sig), made with one of the keys. Every file must be signed and every signed
/// file must be there: what `probity verify` refuses is refused here. The bytes that are verified are the bytes that are
/// written, so it does not matter who writes to the source meanwhile or later.
///
/// What is trusted is in the arguments alone: the keys, the digest, what is revoked. Nothing in the source is, not even
/// its signature, before one of the keys has proven it. A signature says that these files belong together, not which
/// version they are: that is what --digest is for. It is the digest that `probity verify` shows.
///
/// No file has its name before all are proven; then files are 0444 and folders 0555, so that a server under any user can
/// read them. The signature is not copied. Killed half-way, run it again: what it left is removed first. A folder with
/// anything else in it is refused.
///
/// Standard output, and the termination log, get one line of JSON: what was copied, as digest, size, files and signers;
/// or the reason and message of the failure.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXIT_CODES}\n\n{EXAMPLES}"))]
pub struct Args {
    /// The folder the model lies in, with its model.sig.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    from: PathBuf,
    /// An empty folder to copy it into.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    dir: PathBuf,
    /// A public key whose signature counts: a name, and its DER in base64 (its PEM without the first and last line, in
    /// one line). May be repeated: any one of them is enough.
    // Read later: a key that cannot be used is a failure with a reason, for whoever looks at the pod.
    #[arg(long = "key", value_name = "NAME=BASE64", required = true)]
    keys: Vec<String>,
    /// The digest that the signature states over the files; a model with another one is refused.
    #[arg(long, value_name = "sha256:…")]
    digest: Option<Digest>,
    /// A digest that is revoked: refused whoever signed it. May be repeated.
    #[arg(long, value_name = "sha256:…")]
    refuse: Vec<Digest>,
    /// Refuse a larger model before copying anything.
    #[arg(long, value_name = "BYTES")]
    max_bytes: Option<u64>,
    /// Where the result is left as one line of JSON for the kubelet to report; ignored when there is no such file.
    #[arg(long, value_name = "FILE", default_value = termination::LOG, value_hint = ValueHint::FilePath)]
    termination_log: PathBuf,
}

impl Args {
    /// Runs the subcommand.
    pub fn run(self) -> ExitCode {
        let log = self.termination_log.clone();
        // Whoever reads the line believes that the model is there: a success that cannot be told is none.
        let told = |line: String| termination::leave(&log, &line).and_then(|()| print(&format!("{line}\n")));
        let failure = match self.execute().unwrap_or_else(End::Failed) {
            End::Done(report) => match report.line().and_then(told) {
                Ok(()) => {
                    say(&summary(&report));
                    return ExitCode::SUCCESS;
                }
                Err(failure) => failure,
            },
            End::Failed(failure) => {
                if let Err(untold) = told(termination::line(&failure)) {
                    say(&untold.message);
                }
                failure
            }
            End::Stopped(number) => {
                say("stopped by a signal; run it again to begin anew");
                return ExitCode::from(128 + number);
            }
        };
        say(&format!("{} ({})", failure.message, failure.reason));
        ExitCode::from(failure.reason.class().exit_code())
    }

    fn execute(self) -> Result<End<CopyReport>, Failure> {
        let keys = keys(&self.keys)?;
        let options = CopyOptions {
            digest: self.digest,
            refuse: self.refuse,
            max_bytes: self.max_bytes,
        };
        let (from, dir) = (self.from, self.dir);
        let lines = Arc::new(Lines::new("copy"));
        let shown = Arc::clone(&lines);
        watch(&lines, async move {
            // Files have no readiness to wait for: they are read where blocking harms nobody.
            tokio::task::spawn_blocking(move || copy(&from, &dir, &keys, &options, &*shown))
                .await
                .unwrap_or_else(|error| {
                    Err(Failure::new(
                        Reason::Internal,
                        format!("copying broke off ({error}): please report this"),
                    ))
                })
        })
    }
}

/// Every key; the first that cannot be used is the failure.
fn keys(arguments: &[String]) -> Result<KeyRing, Failure> {
    arguments
        .iter()
        .map(|argument| PublicKey::from_argument(&argument.parse::<KeyArgument>()?))
        .collect()
}

fn summary(report: &CopyReport) -> String {
    let signers: Vec<&str> = report.signers.iter().map(|signer| signer.key.as_str()).collect();
    let files = if report.files == 1 { "file" } else { "files" };
    format!(
        "{} {files}, {}, all as {} signed",
        report.files,
        size(report.size),
        signers.join(" and ")
    )
}

/// One line on standard error.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "probity copy: {}", printable(text));
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;

    const P256: &str = include_str!("../../tests/fixtures/oms/p256.pub");
    const COMPRESSED: &str = include_str!("../../tests/fixtures/oms/p256-compressed.pub");
    const RSA: &str = include_str!("../../tests/fixtures/oms/rsa.pub");

    fn read(pems: &[(&str, &str)]) -> Result<KeyRing, Failure> {
        let arguments: Vec<String> = pems
            .iter()
            .map(|(name, pem)| KeyArgument::from_pem(name, pem).unwrap().to_string())
            .collect();
        keys(&arguments)
    }

    #[test]
    fn a_key_is_the_same_as_an_argument_and_as_pem() {
        let whole = PublicKey::parse("bank-keys/q3", P256).unwrap();
        for pem in [P256, COMPRESSED] {
            let ring = read(&[("bank-keys/q3", pem)]).unwrap();
            assert_eq!(ring.keys()[0].identity(), whole.identity());
        }
    }

    #[test_case(&["release"], "NAME=BASE64"; "no key")]
    #[test_case(&["release=AAAA"], "is not a public key"; "no key in it")]
    #[test_case(&["release=MAA="], "is no ECDSA key"; "an empty sequence")]
    fn unusable(arguments: &[&str], words: &str) {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let failure = keys(&arguments).unwrap_err();
        assert_eq!(failure.reason, Reason::TrustRootInvalid);
        assert!(failure.message.contains(words), "{failure}");
    }

    #[test]
    fn a_key_that_cannot_be_used_is_not_passed_over() {
        let failure = read(&[("good", P256), ("bad", RSA)]).unwrap_err();
        assert!(
            failure.message.starts_with("the key bad is an RSA key"),
            "{failure}"
        );
    }
}
