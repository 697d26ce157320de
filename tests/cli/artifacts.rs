//! `probity verify` of artifacts: a real registry, which the command line must find, be allowed and understand.
//! What an artifact can be is tested with the library; here it is what the command makes of it.

use std::{collections::BTreeMap, fs};

use test_case::test_case;

use super::models::{Place, done};
use crate::testbed;

impl Place {
    /// Pushes the folder `model` as it is now, as `name:1`; its digest.
    fn push(&self, name: &str) -> String {
        let folder = self.at("model");
        let files = [
            "config.json",
            "labels/classes.txt",
            "model.onnx",
            "model.sig",
            "extra",
        ];
        let files: Vec<_> = files
            .into_iter()
            .filter(|file| folder.join(file).exists())
            .collect();
        let paths: BTreeMap<_, _> = files
            .iter()
            .map(|file| (file, BTreeMap::from([("org.cncf.model.filepath", file)])))
            .collect();
        fs::write(self.at("paths"), serde_json::to_string(&paths).unwrap()).unwrap();
        self.put("config", "{}");
        let printed = done(
            testbed::tool("oras", &["oras"])
                .current_dir(&folder)
                .env("HOME", self.at(""))
                .args([
                    "push",
                    "--plain-http",
                    "--no-tty",
                    "--format",
                    "go-template={{.digest}}",
                ])
                .args(["--artifact-type", "application/vnd.cncf.model.manifest.v1+json"])
                .args([
                    "--config",
                    "../config:application/vnd.cncf.model.config.v1+json",
                    "--disable-path-validation",
                ])
                .args([
                    "--annotation-file",
                    "../paths",
                    &format!("{}/{name}:1", testbed::registry()),
                ])
                .args(
                    files
                        .iter()
                        .map(|file| format!("{file}:application/vnd.cncf.model.weight.v1.raw")),
                ),
        );
        printed.trim().to_owned()
    }

    /// The same command for `model` in the registry.
    fn verify(&self, reference: &str) -> super::models::Said {
        let registry = testbed::registry();
        self.probity(&format!(
            "verify {registry}/{reference} --key release.pub --plain-http {registry} -o json"
        ))
    }
}

#[test_case("cli/signed", |_| {}, 0, None; "as it was signed")]
#[test_case("cli/altered", |p| p.put("model/model.onnx", "poison!"), 20, Some("DigestMismatch"); "altered")]
#[test_case("cli/more", |p| p.put("model/extra", "x"), 20, Some("UnsignedFile"); "with a file more")]
#[test_case("cli/unsigned", |p| p.remove("model/model.sig"), 10, Some("Unsigned"); "without a signature")]
#[test_case("cli/other", |p| p.put("release.pub", fs::read(p.at("stranger.pub")).unwrap()), 10, Some("SignerMismatch"); "signed by another")]
fn artifacts(name: &str, prepare: fn(&Place), code: i32, reason: Option<&str>) {
    let place = Place::new();
    prepare(&place);
    let digest = place.push(name);
    for reference in [format!("{name}:1"), format!("{name}@{digest}")] {
        let said = place.verify(&reference);
        said.expect(code, &[]);
        let shown = said.json();
        assert_eq!(shown["digest"], *digest, "{}", said.all());
        assert_eq!(shown["reason"].as_str(), reason);
        assert_eq!(shown["target"], format!("{}/{reference}", testbed::registry()));
    }
}

#[test]
fn what_the_registry_does_not_have() {
    Place::new().verify("cli/nothing:1").expect(60, &["NotFound"]);
}

#[test]
fn a_folder_of_that_name_is_not_taken_for_it() {
    let place = Place::new();
    place.push("cli/shadowed");
    let shadow = format!("{}/cli/shadowed:1", testbed::registry());
    place.put(&format!("{shadow}/x"), "x");
    place
        .verify("cli/shadowed:1")
        .expect(0, &["write ./… for the folder"]);
    place
        .probity(&format!("verify ./{shadow} --key release.pub"))
        .expect(10, &["Refused: Unsigned"]);
}

#[test_case("registry.example/models/digits", "", 30, &["MalformedReference", "there is no folder", "neither tag nor digest"]; "without a tag")]
#[test_case("digits:1.2.0", "", 30, &["MalformedReference", "it names no registry"]; "without a registry")]
#[test_case("oci://registry.example/models/digits:1", "", 30, &["MalformedReference", "it has a scheme"]; "with a scheme")]
#[test_case("registry.example/Models/digits:1", "", 30, &["MalformedReference", "lower-case"]; "in capitals")]
#[test_case("registry.example/models/digits:1", " --allow-registry other.example", 10, &["HostNotAllowed", "registry.example"]; "a registry that is not allowed")]
#[test_case("127.0.0.1:1/models/digits:1", " --plain-http 127.0.0.1:1", 60, &["RegistryUnavailable", "127.0.0.1:1"]; "nobody there")]
#[test_case("127.0.0.1:1/models/digits:1", " --credentials-file none", 60, &["CredentialsMissing", "none"]; "no such credentials")]
fn references(reference: &str, more: &str, code: i32, words: &[&str]) {
    Place::new()
        .probity(&format!("verify {reference} --key release.pub{more}"))
        .expect(code, words);
}
