//! What a terminal is to us: how wide it is, whether it shows colours, and text that cannot steer it.
//! It arranges text and writes none.

use std::{fmt::Write as _, io::IsTerminal as _};

use rustix::termios::tcgetwinsize;

/// Columns of a narrow value that are still worth wrapping to.
const NARROWEST: usize = 16;

/// What standard output is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Screen {
    /// Columns; absent when nobody looks, or the terminal does not tell. Lines are wrapped only to a known width.
    pub width: Option<usize>,
    /// Whether colours may be used.
    pub colour: bool,
}

/// A colour, for one word that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// It holds.
    Green,
    /// It does not hold.
    Red,
    /// It is not known.
    Yellow,
}

impl Screen {
    /// What standard output is now. Neither a file nor a pipe gets colours, nor does a terminal under `NO_COLOR`.
    pub fn stdout() -> Self {
        let stdout = std::io::stdout();
        if !stdout.is_terminal() {
            return Self::default();
        }
        let width = tcgetwinsize(&stdout)
            .ok()
            .map(|size| usize::from(size.ws_col))
            .filter(|width| *width > 0);
        Self {
            width,
            colour: !is_dumb() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        }
    }

    /// Labels in one column, values in the next; long values go on below themselves. Values may say anything: they are escaped.
    pub fn rows(self, rows: &[(&str, String)]) -> String {
        let column = rows.iter().map(|(label, _)| label.len()).max().unwrap_or(0) + 2;
        let width = self
            .width
            .map(|width| width.saturating_sub(column))
            .filter(|width| *width >= NARROWEST);
        let mut text = String::new();
        for (label, value) in rows {
            let value = printable(value);
            let mut label = *label;
            for line in wrap(&value, width) {
                let _ = writeln!(text, "{label:column$}{line}");
                label = "";
            }
        }
        text
    }

    /// The text in this colour, if there are colours. Paint what was arranged before: codes would be counted as columns.
    pub fn paint(self, colour: Colour, text: &str) -> String {
        let code = match colour {
            Colour::Green => 32,
            Colour::Red => 31,
            Colour::Yellow => 33,
        };
        if self.colour {
            format!("\u{1b}[1;{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

/// A number of bytes for people, with one decimal. In integers: code for real numbers is larger than all of this file.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut tenths, mut unit) = (u128::from(bytes) * 10, "");
    for name in UNITS {
        if tenths < 10_240 {
            break;
        }
        (tenths, unit) = ((tenths + 512) / 1024, name);
    }
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

/// Whether the terminal says that it cannot move its cursor.
pub fn is_dumb() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term == "dumb")
}

/// Lines of at most `width` characters, broken between words. A longer word stays whole, so that it can be copied.
fn wrap(text: &str, width: Option<usize>) -> Vec<String> {
    let mut lines = vec![String::new()];
    let Some(width) = width else {
        return vec![text.to_owned()];
    };
    let mut used = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > width {
            lines.push(String::new());
            used = 0;
        }
        if let Some(line) = lines.last_mut() {
            if used > 0 {
                line.push(' ');
                used += 1;
            }
            line.push_str(word);
            used += length;
        }
    }
    lines
}

/// Text whose origin is not ours, with everything in it that could steer or deceive a terminal written out.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_deceptive(c) {
            shown.extend(c.escape_debug());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// The same for JSON, where such characters stand within strings only and have one more spelling.
pub fn printable_json(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        if is_deceptive(c) && !matches!(c, '\n' | '\t' | '\r') {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(shown, "\\u{unit:04x}");
            }
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Control characters, and those that hide text or show it in another order.
fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;

    #[test_case("größe ☃.bin" => "größe ☃.bin"; "letters of any script")]
    #[test_case("a\u{1b}[2Jb" => "a\\u{1b}[2Jb"; "an escape sequence")]
    #[test_case("a\nb\tc\r" => "a\\nb\\tc\\r"; "lines")]
    #[test_case("a\u{9b}2J" => "a\\u{9b}2J"; "an escape sequence in one character")]
    #[test_case("exe.\u{202e}xnno" => "exe.\\u{202e}xnno"; "text that runs backwards")]
    #[test_case("a\u{200b}b" => "a\\u{200b}b"; "text that does not show")]
    #[test_case("C:\\x \"y\"" => "C:\\x \"y\""; "what is only text")]
    fn what_a_terminal_gets(text: &str) -> String {
        printable(text)
    }

    #[test]
    fn json_says_the_same_in_another_spelling() {
        for text in [
            "a\u{1b}[2Jb",
            "a\u{9b}2J",
            "exe.\u{202e}xnno",
            "a\nb",
            "größe ☃",
            "\u{7f}",
            "\u{feff}",
        ] {
            let json = printable_json(&serde_json::to_string_pretty(&[text]).unwrap());
            assert!(!json.chars().any(|c| is_deceptive(c) && c != '\n'), "{json:?}");
            assert_eq!(serde_json::from_str::<Vec<String>>(&json).unwrap(), [text]);
        }
    }

    #[test_case(None => vec!["one two three"]; "nobody looks")]
    #[test_case(Some(13) => vec!["one two three"]; "it fits")]
    #[test_case(Some(12) => vec!["one two", "three"]; "it does not")]
    #[test_case(Some(3) => vec!["one", "two", "three"]; "a word is never broken")]
    fn wrapped(width: Option<usize>) -> Vec<String> {
        wrap("one two three", width)
    }

    #[test_case(0 => "0 B"; "nothing")]
    #[test_case(1023 => "1023 B"; "bytes")]
    #[test_case(1024 => "1.0 KiB"; "a kibibyte")]
    #[test_case(600_021 => "586.0 KiB"; "rounded")]
    #[test_case(3 << 30 => "3.0 GiB"; "gibibytes")]
    #[test_case(u64::MAX => "16.0 EiB"; "as much as there can be")]
    fn sizes(bytes: u64) -> String {
        size(bytes)
    }

    #[test]
    fn values_line_up() {
        let screen = Screen {
            width: Some(30),
            colour: false,
        };
        let rows = [
            ("Verdict", "Verified".to_owned()),
            ("Model", "a name of several short words".to_owned()),
        ];
        assert_eq!(
            screen.rows(&rows),
            "Verdict  Verified\nModel    a name of several\n         short words\n"
        );
    }

    #[test]
    fn a_digest_fits_on_eighty_columns() {
        let digest = crate::evidence::Digest::from_bytes([7; 32]).to_string();
        let text = Screen {
            width: Some(80),
            colour: false,
        }
        .rows(&[("Verdict", digest.clone())]);
        assert_eq!(text, format!("Verdict  {digest}\n"));
        assert_eq!(text.trim_end().len(), 80);
    }

    #[test]
    fn colours_only_where_they_are_shown() {
        assert_eq!(Screen::default().paint(Colour::Red, "Refused"), "Refused");
        assert_eq!(
            Screen {
                width: None,
                colour: true
            }
            .paint(Colour::Red, "Refused"),
            "\u{1b}[1;31mRefused\u{1b}[0m"
        );
    }
}
