//! The change from one pod to another as a JSON Patch (RFC 6902) that only adds: what others put in stays.
//! Pure.

use serde_json::{Value, json};

/// The additions that make `before` into `after`. What `after` lacks is left as it is; list items are told apart by `name`.
pub fn additions(before: &Value, after: &Value, at: &str) -> Vec<Value> {
    let mut patch = Vec::new();
    collect(before, after, at, &mut patch);
    patch
}

fn collect(before: &Value, after: &Value, at: &str, patch: &mut Vec<Value>) {
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in new {
                let at = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
                match old.get(key) {
                    Some(old) => collect(old, value, &at, patch),
                    None => patch.push(add(&at, value)),
                }
            }
        }
        (Value::Array(old), Value::Array(new)) => items(old, new, at, patch),
        _ if before == after => {}
        // `add` puts a value in the place of the one that a member has.
        _ => patch.push(add(at, after)),
    }
}

/// Walks both lists: an item whose name is not the next one's is new.
fn items(old: &[Value], new: &[Value], at: &str, patch: &mut Vec<Value>) {
    let mut left = old.iter().peekable();
    let same_length = old.len() == new.len();
    for (number, item) in new.iter().enumerate() {
        let at = format!("{at}/{number}");
        match left.peek() {
            Some(next) if same_length || next.get("name") == item.get("name") => {
                collect(next, item, &at, patch);
                left.next();
            }
            _ => patch.push(add(&at, item)),
        }
    }
}

fn add(path: &str, value: &Value) -> Value {
    json!({"op": "add", "path": path, "value": value})
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    #[test_case(json!({"a": 1}), json!({"a": 1}) => json!([]); "nothing")]
    #[test_case(json!({}), json!({"a": {"b": 1}}) => json!([{"op": "add", "path": "/spec/a", "value": {"b": 1}}]); "a member")]
    #[test_case(json!({"a": 1}), json!({"a": 2}) => json!([{"op": "add", "path": "/spec/a", "value": 2}]); "a member's value")]
    #[test_case(json!({"a/b": {}}), json!({"a/b": {"~": 2}}) => json!([{"op": "add", "path": "/spec/a~1b/~0", "value": 2}]); "odd names")]
    #[test_case(json!([{"name": "b"}]), json!([{"name": "a"}, {"name": "b", "x": 1}]) => json!([{"op": "add", "path": "/spec/0", "value": {"name": "a"}}, {"op": "add", "path": "/spec/1/x", "value": 1}]); "an item before others")]
    #[test_case(json!([{"name": "a"}]), json!([{"name": "a"}, {"name": "b"}]) => json!([{"op": "add", "path": "/spec/1", "value": {"name": "b"}}]); "an item after others")]
    #[test_case(json!([{"name": "a", "x": 1}]), json!([{"name": "b", "x": 1}]) => json!([{"op": "add", "path": "/spec/0/name", "value": "b"}]); "an item by another name")]
    #[allow(clippy::needless_pass_by_value, reason = "rows of a table are values")]
    fn added(before: Value, after: Value) -> Value {
        Value::Array(additions(&before, &after, "/spec"))
    }
}
