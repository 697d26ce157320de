//! Just enough Rust to see which paths a file names: tokens without comments and texts, then `use` trees and paths.
//! It resolves no names and expands no macros; what it cannot see, it does not guess.

/// A token that matters here. Lifetimes and comments are dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    Word(String),
    /// `::`
    Join,
    Sign(char),
    /// A text, character or number: that there is one matters, not which.
    Literal,
}

impl Token {
    pub fn word(&self) -> Option<&str> {
        match self {
            Self::Word(word) => Some(word),
            _ => None,
        }
    }

    fn is(&self, text: &str) -> bool {
        self.word() == Some(text)
    }
}

/// The tokens of a file, each with its line.
pub fn tokens(text: &str) -> Vec<(usize, Token)> {
    let chars: Vec<char> = text.chars().collect();
    let at = |index: usize| chars.get(index).copied().unwrap_or('\0');
    let mut tokens = Vec::new();
    let (mut i, mut line) = (0, 1);
    while i < chars.len() {
        let start = i;
        let token = match at(i) {
            '/' if at(i + 1) == '/' => {
                while i < chars.len() && at(i) != '\n' {
                    i += 1;
                }
                None
            }
            '/' if at(i + 1) == '*' => {
                i = end_of_comment(&chars, i);
                None
            }
            '"' => {
                i = end_of_text(&chars, i);
                Some(Token::Literal)
            }
            '\'' => {
                let end = end_of_char(&chars, i);
                i = end.unwrap_or_else(|| end_of_word(&chars, i + 1));
                // Otherwise a lifetime.
                end.map(|_| Token::Literal)
            }
            c if c.is_ascii_digit() => {
                i = end_of_word(&chars, i);
                Some(Token::Literal)
            }
            c if is_word(c) => {
                i = end_of_word(&chars, i);
                let word: String = chars[start..i].iter().collect();
                match (word.as_str(), at(i)) {
                    ("r" | "br" | "cr", '"' | '#') if opens_raw(&chars, i) => {
                        i = end_of_raw(&chars, i);
                        Some(Token::Literal)
                    }
                    ("b" | "c", '"') => {
                        i = end_of_text(&chars, i);
                        Some(Token::Literal)
                    }
                    ("b", '\'') => {
                        i = end_of_char(&chars, i).unwrap_or(i + 1);
                        Some(Token::Literal)
                    }
                    // r#word
                    ("r", '#') => {
                        i += 1;
                        None
                    }
                    _ => Some(Token::Word(word)),
                }
            }
            ':' if at(i + 1) == ':' => {
                i += 2;
                Some(Token::Join)
            }
            c => {
                i += 1;
                (!c.is_whitespace()).then_some(Token::Sign(c))
            }
        };
        tokens.extend(token.map(|token| (line, token)));
        line += chars[start..i].iter().filter(|c| **c == '\n').count();
    }
    tokens
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn end_of_word(chars: &[char], start: usize) -> usize {
    start + chars[start..].iter().take_while(|c| is_word(**c)).count()
}

/// Comments of this kind nest.
fn end_of_comment(chars: &[char], start: usize) -> usize {
    let (mut i, mut depth) = (start, 0);
    while i < chars.len() {
        match (chars[i], chars.get(i + 1)) {
            ('/', Some('*')) => (depth, i) = (depth + 1, i + 2),
            ('*', Some('/')) => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            break;
        }
    }
    i
}

fn end_of_text(chars: &[char], start: usize) -> usize {
    let mut i = start + 1;
    while i < chars.len() && chars[i] != '"' {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    (i + 1).min(chars.len())
}

fn opens_raw(chars: &[char], hashes: usize) -> bool {
    chars[hashes..].iter().find(|c| **c != '#') == Some(&'"')
}

fn end_of_raw(chars: &[char], hashes: usize) -> usize {
    let count = chars[hashes..].iter().take_while(|c| **c == '#').count();
    let mut i = hashes + count + 1;
    while i < chars.len() {
        if chars[i] == '"' && chars[i + 1..].iter().take_while(|c| **c == '#').count() >= count {
            return i + 1 + count;
        }
        i += 1;
    }
    chars.len()
}

/// The end of a character in quotes; none when the quote begins a lifetime.
fn end_of_char(chars: &[char], start: usize) -> Option<usize> {
    if chars.get(start + 1) == Some(&'\\') {
        let close = chars[start + 3..].iter().position(|c| *c == '\'')?;
        return Some(start + 3 + close + 1);
    }
    (chars.get(start + 2) == Some(&'\'')).then_some(start + 3)
}

/// A path that a file names, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub line: usize,
    pub path: Vec<String>,
    /// From a `use`, and not where it stands in an expression, a type or a visibility.
    pub imported: bool,
    /// The modules written out in this file around it.
    pub within: Vec<String>,
}

/// Every path that the tokens name; one of a single word too.
pub fn paths(tokens: &[(usize, Token)]) -> Vec<Named> {
    let mut named = Vec::new();
    let mut depth = 0;
    let mut modules: Vec<(String, usize)> = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        let within = || modules.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        let after = |offset: usize| tokens.get(i + offset).map(|(_, token)| token);
        match &tokens[i].1 {
            Token::Sign('{') => depth += 1,
            Token::Sign('}') => {
                depth -= usize::from(depth > 0);
                modules.retain(|(_, opened)| *opened < depth + 1);
            }
            token if token.is("mod") && after(2) == Some(&Token::Sign('{')) => {
                if let Some(name) = after(1).and_then(Token::word) {
                    modules.push((name.to_owned(), depth + 1));
                }
                // The brace is counted when its turn comes.
                i += 1;
            }
            // `use<…>` in a bound captures, it imports nothing.
            token if token.is("use") && after(1) != Some(&Token::Sign('<')) => {
                let within = within();
                let mut leaves = Vec::new();
                i = tree(tokens, i + 1, &[], &mut leaves);
                named.extend(leaves.into_iter().map(|(line, path)| Named {
                    line,
                    path,
                    imported: true,
                    within: within.clone(),
                }));
            }
            Token::Word(first) if !follows_path_or_dot(tokens, i) => {
                let (line, mut path) = (tokens[i].0, vec![first.clone()]);
                while let (Some(Token::Join), Some(Token::Word(word))) =
                    (tokens.get(i + 1).map(|t| &t.1), tokens.get(i + 2).map(|t| &t.1))
                {
                    path.push(word.clone());
                    i += 2;
                }
                named.push(Named {
                    line,
                    path,
                    imported: false,
                    within: within(),
                });
            }
            _ => {}
        }
        i += 1;
    }
    named
}

fn follows_path_or_dot(tokens: &[(usize, Token)], i: usize) -> bool {
    let before = i.checked_sub(1).map(|before| &tokens[before].1);
    match before {
        Some(Token::Sign('.')) => true,
        // `::kube::Client` begins a path, `Vec::new` continues one.
        Some(Token::Join) => i
            .checked_sub(2)
            .is_some_and(|b| matches!(tokens[b].1, Token::Word(_) | Token::Sign('>'))),
        _ => false,
    }
}

/// Reads one branch of a `use` tree and returns the index of what ends it.
fn tree(
    tokens: &[(usize, Token)],
    mut i: usize,
    prefix: &[String],
    leaves: &mut Vec<(usize, Vec<String>)>,
) -> usize {
    let mut path = prefix.to_vec();
    let mut line = tokens.get(i).map_or(0, |token| token.0);
    while let Some((here, token)) = tokens.get(i) {
        match token {
            // The name behind it is this file's own.
            Token::Word(word) if word == "as" => i += 1,
            Token::Word(word) => {
                line = *here;
                path.push(word.clone());
            }
            Token::Sign('*') => path.push("*".to_owned()),
            Token::Sign('{') => {
                i += 1;
                while i < tokens.len() && tokens[i].1 != Token::Sign('}') {
                    i = tree(tokens, i, &path, leaves);
                    if tokens.get(i).is_some_and(|token| token.1 == Token::Sign(',')) {
                        i += 1;
                    }
                }
                return i + 1;
            }
            Token::Sign(',' | '}' | ';') => break,
            _ => {}
        }
        i += 1;
    }
    if path.len() > prefix.len() {
        leaves.push((line, path));
    }
    i
}
