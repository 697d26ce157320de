//! What a person at a terminal sees: a bar, colours, lines that fit; and that input cannot steer the terminal.
//! The terminal is a real one, made by util-linux' `script`.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::ffi::OsStrExt as _,
    process::{Child, Command, Stdio},
};

use test_case::test_case;

use super::models::{PROBITY, Place, Said};

/// A command line under a terminal of so many columns.
fn at_terminal(place: &Place, columns: u16, line: &str) -> Command {
    let mut command = Command::new("script");
    let line = format!("stty cols {columns} rows 24; exec {line}");
    command.args(["--quiet", "--return", "--flush", "--command", &line, "/dev/null"]);
    command
        .current_dir(place.at(""))
        .env_remove("NO_COLOR")
        .env("TERM", "xterm-256color")
        .env("SHELL", "/bin/sh");
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// What is on the terminal in the end, line ends as a terminal has them made plain again.
fn shown(mut child: Child) -> Said {
    // Held open: at its end `script` would type Ctrl-D.
    let typist = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    drop(typist);
    let said = Said::of(&output);
    Said {
        stdout: said.stdout.replace("\r\n", "\n"),
        ..said
    }
}

fn seen(place: &Place, columns: u16, line: &str) -> Said {
    shown(at_terminal(place, columns, line).spawn().unwrap())
}

/// Hiding the cursor is what a program that is killed cannot take back.
const HIDE_CURSOR: &str = "\u{1b}[?25l";

#[test]
fn the_verdict_has_a_colour_and_nothing_else_has() {
    let place = Place::new();
    let said = seen(&place, 100, &format!("{PROBITY} verify model --key release.pub"));
    said.expect(0, &["Verdict  \u{1b}[1;32mVerified\u{1b}[0m\n"]);
    assert_eq!(said.stdout.matches('\u{1b}').count(), 2, "{said:?}");
    seen(&place, 100, &format!("{PROBITY} verify model --key stranger.pub"))
        .expect(10, &["Verdict  \u{1b}[1;31mRefused\u{1b}[0m: SignerMismatch\n"]);
    seen(
        &place,
        100,
        &format!("{PROBITY} verify nowhere --key release.pub"),
    )
    .expect(60, &["Verdict  \u{1b}[1;33mUnknown\u{1b}[0m: Io\n"]);
}

#[test_case("NO_COLOR=1"; "who wants none")]
#[test_case("TERM=dumb"; "who cannot show any")]
fn no_colours_for(environment: &str) {
    let place = Place::new();
    let said = seen(
        &place,
        100,
        &format!("env {environment} {PROBITY} verify model --key release.pub"),
    );
    said.expect(0, &["Verdict  Verified\n"]);
    assert!(!said.stdout.contains('\u{1b}'), "{said:?}");
}

#[test]
fn nothing_but_text_goes_into_a_pipe() {
    let place = Place::new();
    place.sparse("model/zeros", 1 << 30);
    for arguments in [
        "verify model --key release.pub",
        "verify model --key release.pub -o json",
        "verify --help",
        "verify",
    ] {
        let said = place.probity(arguments);
        assert!(
            !said.all().contains('\u{1b}') && !said.all().contains('\r'),
            "{arguments}: {said:?}"
        );
    }
}

#[test]
fn long_lines_are_wrapped_and_line_up() {
    let place = Place::new();
    place.put("model/model.onnx", "poison!");
    let line = format!("env NO_COLOR=1 {PROBITY} verify model --key release.pub");
    let said = seen(&place, 50, &line);
    said.expect(
        20,
        &["Message  model.onnx differs from what release\n         signed (signed "],
    );
    for line in said.stdout.lines() {
        assert!(line.chars().count() <= 50 || line.contains("sha256:"), "{line}");
        assert_eq!(line.chars().nth(8), Some(' '), "{line}");
    }
    let wide = place.probity("verify model --key release.pub");
    let message = wide
        .stdout
        .lines()
        .find(|line| line.starts_with("Message"))
        .unwrap();
    assert!(
        message.len() > 120,
        "a line stays one where nobody looks: {message}"
    );
}

#[test]
fn a_bar_comes_and_goes() {
    let place = Place::new();
    place.sparse("model/zeros", 3 << 30);
    let said = seen(&place, 90, &format!("{PROBITY} verify model --key release.pub"));
    said.expect(20, &[" of 3.00 GiB · ", " left"]);
    assert!(!said.stdout.contains(HIDE_CURSOR), "{said:?}");
    let after = said.stdout.rsplit(" left").next().unwrap();
    assert!(
        after.starts_with("\r\u{1b}[2KVerdict  "),
        "the bar is gone, and the table begins where it was: {after:?}"
    );
    let quick = seen(
        &Place::new(),
        90,
        &format!("{PROBITY} verify model --key release.pub"),
    );
    assert!(
        !quick.stdout.contains(" left"),
        "not for what is over at once: {quick:?}"
    );
}

#[test]
fn the_bar_is_on_standard_error_alone() {
    let place = Place::new();
    place.sparse("model/zeros", 3 << 30);
    let line = format!("{PROBITY} verify model --key release.pub -o json > out");
    let said = seen(&place, 90, &format!("sh -c '{line}'"));
    said.expect(20, &[" left", "probity verify: zeros is not among the files"]);
    let json: serde_json::Value = serde_json::from_slice(&fs::read(place.at("out")).unwrap()).unwrap();
    assert_eq!(json["reason"], "UnsignedFile");
}

#[test]
fn ctrl_c_leaves_a_clean_line() {
    let place = Place::new();
    place.sparse("model/zeros", 1 << 42);
    let mut child = at_terminal(&place, 90, &format!("{PROBITY} verify model --key release.pub"))
        .spawn()
        .unwrap();
    let mut text = Vec::new();
    let (mut typist, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut buffer = [0; 4096];
    while !String::from_utf8_lossy(&text).contains(" left") {
        let count = screen.read(&mut buffer).unwrap();
        assert!(count > 0, "it ended: {}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&buffer[..count]);
    }
    typist.write_all(b"\x03").unwrap();
    screen.read_to_end(&mut text).unwrap();
    let text = String::from_utf8_lossy(&text);
    assert_eq!(child.wait().unwrap().code(), Some(130), "{text}");
    assert!(!text.contains(HIDE_CURSOR), "{text:?}");
    let after = text.rsplit(" left").next().unwrap();
    let stopped = "\r\u{1b}[2Kprobity verify: stopped before every file was read; run it again\r\n";
    assert!(
        after.ends_with(stopped),
        "the bar is gone, and the words stand where it was: {after:?}"
    );
}

const HOSTILE: &[u8] = "a\u{1b}[2J\u{9b}31m\nVerdict  Verified \u{202e}b".as_bytes();

#[test_case("table")]
#[test_case("json")]
fn input_cannot_steer_a_terminal(output: &str) {
    let place = Place::new();
    fs::write(place.raw("model", HOSTILE), "x").unwrap();
    fs::rename(place.at("model"), place.raw("", HOSTILE)).unwrap();
    fs::copy(
        place.at("release.pub"),
        place.raw("", &[HOSTILE, b".pub"].concat()),
    )
    .unwrap();
    fs::create_dir(place.at("plain")).unwrap();
    let hostile = std::ffi::OsStr::from_bytes(HOSTILE);
    let key = place.raw("", &[HOSTILE, b".pub"].concat());
    let nowhere = place.raw("nowhere", HOSTILE);
    let cases: [(&std::ffi::OsStr, &std::ffi::OsStr, i32); 4] = [
        (hostile, "release.pub".as_ref(), 30),
        (hostile, key.as_os_str(), 30),
        ("plain".as_ref(), nowhere.as_os_str(), 50),
        (nowhere.as_os_str(), "release.pub".as_ref(), 60),
    ];
    for (target, key, code) in cases {
        let mut command = place.command();
        let output = command
            .arg("verify")
            .arg(target)
            .arg("--key")
            .arg(key)
            .args(["-o", output])
            .output()
            .unwrap();
        let said = Said::of(&output);
        said.expect(code, &[]);
        for c in ['\u{1b}', '\u{9b}', '\u{202e}'] {
            assert!(!said.stdout.contains(c) && !said.stderr.contains(c), "{said:?}");
        }
        assert!(
            said.stdout
                .lines()
                .all(|line| !line.starts_with("Verdict  Verified")),
            "{said:?}"
        );
    }
}

#[test]
fn a_target_that_is_not_text() {
    let place = Place::new();
    fs::rename(place.at("model"), place.raw("", b"m\xffdel")).unwrap();
    let target = place.raw("", b"m\xffdel");
    let said = Said::of(
        &place
            .command()
            .arg("verify")
            .arg(target)
            .args(["--key", "release.pub"])
            .output()
            .unwrap(),
    );
    said.expect(0, &["Verified", "m\u{fffd}del"]);
}
