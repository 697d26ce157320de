//! What every subcommand has: a version, help, completions; and manners when nobody listens.
//! The words of the help texts are looked at where they are written.

use std::{fs::File, process::Command, process::Stdio};

use test_case::test_case;

use super::models::{PROBITY, Place, Said};

const SUBCOMMANDS: [&str; 8] = [
    "operator",
    "check",
    "copy",
    "crds",
    "evaluate",
    "fetch",
    "verify",
    "completions",
];

#[test]
fn the_version_is_that_of_the_package() {
    for arguments in ["--version", "-V"] {
        let said = Place::new().probity(arguments);
        assert_eq!(
            (said.code, said.stdout),
            (0, format!("probity {}\n", env!("CARGO_PKG_VERSION")))
        );
    }
}

#[test]
fn help_goes_to_standard_output_and_a_missing_command_does_not() {
    let place = Place::new();
    let help = place.probity("--help");
    for subcommand in SUBCOMMANDS {
        help.expect(0, &[&format!("\n  {subcommand} ")]);
        let said = place.probity(&format!("{subcommand} --help"));
        said.expect(0, &["Example", &format!("Usage: probity {subcommand}")]);
        assert!(
            said.stderr.is_empty() && !said.stdout.contains('\u{1b}'),
            "{}",
            said.all()
        );
    }
    let bare = Said::of(&place.command().output().unwrap());
    assert_eq!((bare.code, bare.stdout.as_str()), (2, ""));
}

#[test]
fn help_says_every_exit_code() {
    let help = Place::new().probity("verify --help");
    for code in ["0 ", "2 ", "10 ", "20 ", "30 ", "40 ", "50 ", "60 ", "70 "] {
        assert!(
            help.stdout
                .lines()
                .any(|line| line.trim_start().starts_with(code)),
            "{code}: {}",
            help.stdout
        );
    }
}

#[test_case("bash", "complete -F _probity")]
#[test_case("zsh", "#compdef probity")]
#[test_case("fish", "complete -c probity")]
#[test_case("elvish", "edit:completion:arg-completer[probity]")]
#[test_case("powershell", "Register-ArgumentCompleter")]
fn completions(shell: &str, words: &str) {
    let said = Place::new().probity(&format!("completions {shell}"));
    said.expect(0, &[words, "plain-http"]);
}

#[test_case("probity ver", "verify"; "a subcommand")]
#[test_case("probity verify --pl", "--plain-http"; "an option")]
#[test_case("probity verify --output j", "json"; "a value")]
fn bash_completes(line: &str, expected: &str) {
    let words: Vec<_> = line.split(' ').collect();
    let script = format!(
        "source <({PROBITY} completions bash) && COMP_WORDS=({line}) COMP_CWORD={} COMP_LINE='{line}' COMP_POINT={} && \
         _probity probity '{}' '{}' && printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        words.len() - 1,
        line.len(),
        words[words.len() - 1],
        words[words.len() - 2],
    );
    let said = Said::of(&Command::new("bash").args(["-c", &script]).output().unwrap());
    assert!(
        said.stdout.lines().any(|reply| reply == expected),
        "{}",
        said.all()
    );
}

#[test_case("verify model --key release.pub", 0; "a table")]
#[test_case("verify model --key release.pub -o json", 0; "json")]
#[test_case("verify model --key stranger.pub", 10; "a refusal")]
#[test_case("completions bash", 0; "completions")]
#[test_case("crds", 0; "definitions")]
#[test_case("verify --help", 0; "help")]
fn nobody_listens(arguments: &str, code: i32) {
    let place = Place::new();
    // A pipe whose reader has gone before anything was written.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = place
        .command()
        .args(arguments.split(' '))
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let said = Said::of(&output);
    assert_eq!(said.code, code, "{}", said.all());
    assert!(said.stderr.is_empty(), "{}", said.all());
}

#[test_case("verify model --key release.pub", 60, "cannot write the result"; "verified, and nobody can know")]
#[test_case("verify model --key stranger.pub", 60, "cannot write the result"; "refused, and nobody can know why")]
#[test_case("completions bash", 60, "No space left"; "completions")]
#[test_case("crds", 60, "No space left"; "definitions")]
fn no_room(arguments: &str, code: i32, words: &str) {
    let place = Place::new();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = place
        .command()
        .args(arguments.split(' '))
        .stdout(full)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    Said::of(&output).expect(code, &[words]);
}

#[test]
fn both_outputs_closed() {
    let place = Place::new();
    let line = format!(
        "{PROBITY} verify model --key release.pub >&- 2>&-; echo $?; {PROBITY} verify x --key release.pub >&- 2>&-; echo $?"
    );
    let output = Command::new("bash")
        .current_dir(place.at(""))
        .args(["-c", &line])
        .output()
        .unwrap();
    assert_eq!(Said::of(&output).stdout, "0\n60\n");
}
