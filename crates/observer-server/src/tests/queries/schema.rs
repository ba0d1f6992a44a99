//! Validation of JSON by the part of JSON Schema that the OpenAPI document uses.

use serde_json::Value;

/// Returns how a value violates a schema, stricter than JSON Schema in one way: each member of an
/// object must be listed.
pub(in crate::tests) fn violations(
    document: &Value,
    schema: &Value,
    value: &Value,
    at: &str,
) -> Vec<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document.pointer(reference.trim_start_matches('#'));
        let target = target.unwrap_or_else(|| panic!("{reference} is missing"));
        return violations(document, target, value, at);
    }
    for key in ["oneOf", "anyOf"] {
        if let Some(alternatives) = schema[key].as_array() {
            let found = alternatives.iter().map(|one| violations(document, one, value, at));
            return found.min_by_key(Vec::len).unwrap();
        }
    }
    if let Some(parts) = schema["allOf"].as_array() {
        return all_of(document, parts, value, at);
    }
    let mut found = Vec::new();
    if !has_type(&schema["type"], value) {
        found.push(format!("{at}: {value} is no {}", schema["type"]));
    }
    if let Some(names) = schema["enum"].as_array()
        && !names.contains(value)
    {
        found.push(format!("{at}: {value} is none of {names:?}"));
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        found.extend(violations(document, &schema["items"], item, &format!("{at}[{index}]")));
    }
    found.extend(members(document, schema, value, at));
    found
}

/// Validates a value by several schemas, each of which knows some of its members.
fn all_of(document: &Value, parts: &[Value], value: &Value, at: &str) -> Vec<String> {
    let found: Vec<_> = parts.iter().map(|part| violations(document, part, value, at)).collect();
    let is_unlisted = |violation: &&String| violation.ends_with(UNLISTED);
    let (first, others) = found.split_first().expect("there is a part");
    let everywhere = first
        .iter()
        .filter(is_unlisted)
        .filter(|violation| others.iter().all(|part| part.contains(violation)));
    let others = found.iter().flatten().filter(|violation| !is_unlisted(violation));
    everywhere.chain(others).cloned().collect()
}

const UNLISTED: &str = "is not listed";

fn members(document: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let Some(object) = value.as_object() else { return Vec::new() };
    let mut found = Vec::new();
    for required in schema["required"].as_array().into_iter().flatten() {
        if !object.contains_key(required.as_str().unwrap()) {
            found.push(format!("{at}: {required} is missing"));
        }
    }
    let additional = &schema["additionalProperties"];
    for (name, member) in object {
        let at = format!("{at}.{name}");
        match &schema["properties"][name] {
            Value::Null if additional.is_object() => {
                found.extend(violations(document, additional, member, &at));
            }
            // The schema of an object with any content.
            Value::Null if schema.get("properties").is_none() => {}
            Value::Null => found.push(format!("{at} {UNLISTED}")),
            schema => found.extend(violations(document, schema, member, &at)),
        }
    }
    found
}

fn has_type(types: &Value, value: &Value) -> bool {
    let is = |name: &Value| match name.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        name => panic!("unknown type {name}"),
    };
    match types {
        Value::Null => true,
        Value::Array(names) => names.iter().any(is),
        name => is(name),
    }
}

#[test]
fn validation_finds_each_kind_of_violation() {
    let document = serde_json::json!({"components": {"schemas": {"A": {
        "type": "object",
        "required": ["n"],
        "properties": {"n": {"type": ["integer", "null"]}, "list": {"items": {"enum": ["x"]}}},
    }}}});
    let schema = serde_json::json!({"$ref": "#/components/schemas/A"});
    for (value, expected) in [
        (r#"{"n":1,"list":["x"]}"#, vec![]),
        (r#"{"n":null}"#, vec![]),
        (r#"{"n":1.5}"#, vec![r#"$.n: 1.5 is no ["integer","null"]"#]),
        (r#"{"list":[]}"#, vec![r#"$: "n" is missing"#]),
        (r#"{"n":1,"m":1}"#, vec!["$.m is not listed"]),
        (r#"{"n":1,"list":["x","y"]}"#, vec![r#"$.list[1]: "y" is none of [String("x")]"#]),
        ("7", vec![r#"$: 7 is no "object""#]),
    ] {
        let value: Value = serde_json::from_str(value).unwrap();
        assert_eq!(violations(&document, &schema, &value, "$"), expected);
    }
}
