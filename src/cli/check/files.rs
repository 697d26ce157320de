//! From the paths on the command line to documents: files, folders, standard input; YAML or JSON.
//! It reads and parses only; what a document means is for `decode`.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use serde_json::Value;

/// A file longer than this is no manifest.
const MAX_FILE: u64 = 16 << 20;
/// Folders within folders: deeper ones are a loop, or a mistake.
const MAX_DEPTH: usize = 16;

/// One object as it was written, and where.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Document {
    /// The file, and which of its documents when it has several.
    pub origin: String,
    /// What was written.
    pub value: Value,
}

/// What keeps the files from being checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    /// Where.
    pub origin: String,
    /// What is wrong and what to do.
    pub message: String,
    /// Whether the command line is at fault rather than what the file says.
    pub usage: bool,
}

impl Trouble {
    pub(super) fn content(origin: &str, message: impl Into<String>) -> Self {
        Self {
            origin: origin.to_owned(),
            message: message.into(),
            usage: false,
        }
    }

    pub(super) fn usage(origin: &str, message: impl Into<String>) -> Self {
        Self {
            origin: origin.to_owned(),
            message: message.into(),
            usage: true,
        }
    }
}

/// Reads every path: a file, `-` for standard input, or a folder with everything in it that ends in .yaml, .yml or .json.
pub(super) fn read(paths: &[PathBuf], troubles: &mut Vec<Trouble>) -> Vec<Document> {
    let mut documents = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            read_from(
                "(standard input)",
                &mut std::io::stdin().lock(),
                &mut documents,
                troubles,
            );
        } else if path.is_dir() {
            let before = documents.len() + troubles.len();
            read_folder(path, MAX_DEPTH, &mut documents, troubles);
            if documents.len() + troubles.len() == before {
                troubles.push(Trouble::usage(
                    &path.display().to_string(),
                    "there is no .yaml, .yml or .json file in it",
                ));
            }
        } else {
            read_file(path, &mut documents, troubles);
        }
    }
    documents
}

fn read_folder(folder: &Path, depth: usize, documents: &mut Vec<Document>, troubles: &mut Vec<Trouble>) {
    let origin = folder.display().to_string();
    if depth == 0 {
        troubles.push(Trouble::usage(
            &origin,
            "the folders are nested too deeply: name the files",
        ));
        return;
    }
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut entries = match entries {
        Ok(entries) => entries,
        Err(error) => {
            troubles.push(Trouble::usage(&origin, format!("cannot be read: {error}")));
            return;
        }
    };
    // In the order of names, so that the same folder always gives the same report.
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let hidden = entry.file_name().as_encoded_bytes().first() == Some(&b'.');
        let manifest = path
            .extension()
            .is_some_and(|end| end == "yaml" || end == "yml" || end == "json");
        match entry.file_type() {
            _ if hidden => {}
            // A link to a folder is not followed: it may lead back here.
            Ok(kind) if kind.is_dir() => read_folder(&path, depth - 1, documents, troubles),
            Ok(_) if manifest && path.is_file() => read_file(&path, documents, troubles),
            Ok(_) => {}
            Err(error) => {
                troubles.push(Trouble::usage(
                    &path.display().to_string(),
                    format!("cannot be read: {error}"),
                ));
            }
        }
    }
}

fn read_file(path: &Path, documents: &mut Vec<Document>, troubles: &mut Vec<Trouble>) {
    let origin = path.display().to_string();
    match fs::File::open(path) {
        Ok(mut file) => read_from(&origin, &mut file, documents, troubles),
        Err(error) => troubles.push(Trouble::usage(&origin, format!("cannot be read: {error}"))),
    }
}

fn read_from(
    origin: &str,
    source: &mut dyn std::io::Read,
    documents: &mut Vec<Document>,
    troubles: &mut Vec<Trouble>,
) {
    let mut bytes = Vec::new();
    if let Err(error) = source.take(MAX_FILE + 1).read_to_end(&mut bytes) {
        troubles.push(Trouble::usage(origin, format!("cannot be read: {error}")));
        return;
    }
    if bytes.len() as u64 > MAX_FILE {
        troubles.push(Trouble::content(
            origin,
            format!("is longer than {MAX_FILE} bytes, which no manifest is"),
        ));
        return;
    }
    match String::from_utf8(bytes) {
        Ok(text) => match parse(origin, &text) {
            Ok(found) => documents.extend(found),
            Err(trouble) => troubles.push(trouble),
        },
        Err(_) => troubles.push(Trouble::content(origin, "is not UTF-8 text")),
    }
}

/// The documents of one text, lists taken apart. JSON is read as the YAML it is, so that a key written twice is refused
/// in both.
pub(super) fn parse(origin: &str, text: &str) -> Result<Vec<Document>, Trouble> {
    let options = serde_saphyr::options! { with_snippet: false };
    let values: Vec<Value> = serde_saphyr::from_multiple_with_options(text, options)
        .map_err(|error| Trouble::content(origin, error.to_string()))?;
    let several = values.len() > 1;
    let mut documents = Vec::new();
    for (at, value) in values.into_iter().enumerate() {
        let origin = if several {
            format!("{origin}#{}", at + 1)
        } else {
            origin.to_owned()
        };
        match items(value) {
            Ok(items) => documents.extend(items.into_iter().enumerate().map(|(at, value)| Document {
                origin: format!("{origin}[{at}]"),
                value,
            })),
            Err(value) => documents.push(Document { origin, value }),
        }
    }
    Ok(documents)
}

/// The items of a `List`, as `kubectl get -o yaml` writes them; anything else is given back.
fn items(mut value: Value) -> Result<Vec<Value>, Value> {
    let list = value
        .get("kind")
        .and_then(Value::as_str)
        .is_some_and(|kind| kind.ends_with("List"));
    match value.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) if list => Ok(items),
        Some(other) => {
            value["items"] = other;
            Err(value)
        }
        None => Err(value),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use test_case::test_case;

    use super::*;

    fn origins(text: &str) -> Vec<(String, Value)> {
        parse("a.yaml", text)
            .unwrap()
            .into_iter()
            .map(|document| (document.origin, document.value))
            .collect()
    }

    #[test]
    fn one_document_is_its_file() {
        assert_eq!(origins("a: 1"), [("a.yaml".to_owned(), json!({"a": 1}))]);
    }

    #[test]
    fn several_documents_are_numbered_and_empty_ones_left_out() {
        let found = origins("---\na: 1\n---\n# nothing\n---\na: 'x'\n");
        assert_eq!(
            found,
            [
                ("a.yaml#1".to_owned(), json!({"a": 1})),
                ("a.yaml#2".to_owned(), json!({"a": "x"}))
            ]
        );
    }

    #[test]
    fn a_list_is_taken_apart() {
        let found = origins(r#"{"apiVersion": "v1", "kind": "List", "items": [{"a": 1}, {"a": 2}]}"#);
        assert_eq!(
            found,
            [
                ("a.yaml[0]".to_owned(), json!({"a": 1})),
                ("a.yaml[1]".to_owned(), json!({"a": 2}))
            ]
        );
    }

    #[test]
    fn items_of_anything_else_are_kept() {
        assert_eq!(
            origins("{kind: ConfigMap, items: [1]}")[0].1,
            json!({"kind": "ConfigMap", "items": [1]})
        );
    }

    #[test]
    fn a_number_is_no_string() {
        assert_eq!(
            origins("{a: 1, b: '1', c: \"true\", d: true}")[0].1,
            json!({"a": 1, "b": "1", "c": "true", "d": true})
        );
    }

    #[test_case("a: 1\na: 2"; "yaml")]
    #[test_case(r#"{"a": {"b": 1, "b": 2}}"#; "json")]
    fn a_key_written_twice_is_refused(text: &str) {
        let trouble = parse("a.yaml", text).unwrap_err();
        assert!(trouble.message.contains("duplicate"), "{}", trouble.message);
        assert!(!trouble.usage);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the names are the test's own")]
    fn a_folder_is_searched_in_the_order_of_names() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("b.yml", "a: 2");
        write("a.yaml", "a: 1");
        write("deeper/c.json", r#"{"a": 3}"#);
        write("README.md", "# not: yaml: at all");
        write(".hidden/d.yaml", "a: 4");
        std::os::unix::fs::symlink(folder.path(), folder.path().join("loop")).unwrap();
        let mut troubles = Vec::new();
        let found = read(&[folder.path().to_owned()], &mut troubles);
        assert_eq!(troubles, []);
        assert_eq!(
            found
                .iter()
                .map(|document| &document.value["a"])
                .collect::<Vec<_>>(),
            [&json!(1), &json!(2), &json!(3)]
        );
    }

    #[test]
    fn what_is_not_there_is_said() {
        let mut troubles = Vec::new();
        assert_eq!(read(&["/nowhere/at-all.yaml".into()], &mut troubles), []);
        assert!(
            troubles[0].usage && troubles[0].message.contains("No such file"),
            "{troubles:?}"
        );
    }

    #[test]
    fn an_empty_folder_is_a_mistake() {
        let folder = tempfile::tempdir().unwrap();
        let mut troubles = Vec::new();
        read(&[folder.path().to_owned()], &mut troubles);
        assert_eq!(troubles.len(), 1);
    }
}
