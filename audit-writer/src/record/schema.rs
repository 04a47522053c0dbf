//! The closed JSON Schema of every record, generated from the types.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::{Ended, Gap, Heartbeat, Received, Rejected, SegmentBegin, Start, Stop, Stored};

/// Fields that every gateway writes now, and that the first ones did not: the schema holds for their logs too.
const LATER: [(&str, &str); 1] = [("Counters", "refused")];

/// The JSON Schema (draft 2020-12) of a line of the log: exactly one of its kinds, and for `lifecycle` of its
/// events, without any other field.
pub fn record() -> Value {
    let mut generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let kinds = [
        part::<Ended<'_>>(&mut generator),
        part::<Received<'_>>(&mut generator),
        part::<Rejected<'_>>(&mut generator),
        part::<Gap<'_>>(&mut generator),
        part::<SegmentBegin<'_>>(&mut generator),
        part::<Start<'_>>(&mut generator),
        part::<Heartbeat<'_>>(&mut generator),
        part::<Stored<'_>>(&mut generator),
        part::<Stop<'_>>(&mut generator),
    ];
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A record of a Sealgate audit log, version 1",
        "oneOf": kinds,
        "$defs": generator.take_definitions(true).into_iter().map(|(name, part)| { let part = definition(&name, part); (name, part) }).collect::<Map<_, _>>(),
    })
}

fn definition(name: &str, mut schema: Value) -> Value {
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|field| !LATER.iter().any(|(of, later)| *of == name && field == later));
    }
    without_null(schema)
}

/// A field without a value is left out: where a property is optional, null is none of its values.
fn without_null(mut schema: Value) -> Value {
    let required: Vec<Value> = schema["required"].as_array().cloned().unwrap_or_default();
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    for (name, property) in properties.into_iter().flatten() {
        if required.iter().any(|required| required == name) {
            continue;
        }
        if let Some([kind, Value::String(null)]) = property["type"].as_array().map(Vec::as_slice)
            && null == "null"
        {
            property["type"] = kind.clone();
        }
        if let Some([reference, Value::Object(null)]) = property["anyOf"].as_array().map(Vec::as_slice)
            && null["type"] == "null"
        {
            let mut one = reference.clone();
            if let Some(description) = property.get("description") {
                one["description"] = description.clone();
            }
            *property = one;
        }
    }
    schema
}

fn part<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

#[cfg(test)]
mod tests {
    /// Regenerate with `UPDATE_GOLDEN=1 cargo test -p audit-writer schema`.
    #[test]
    fn the_checked_in_schema_is_the_one_of_the_types() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/record.v1.json");
        let generated = format!("{:#}\n", super::record());
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, &generated).expect("the schema can be written");
        }
        let checked_in = std::fs::read_to_string(path).expect("the schema is checked in");
        assert!(checked_in == generated, "{path} differs from the types: regenerate it");
    }
}
