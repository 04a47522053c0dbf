//! The JSON Schema of the configuration, made from its types, for editors: `conf/schema.json`.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform as _};
use serde_json::{Value, json};

use super::Config;

/// The schema as it is checked in: JSON, indented, with a newline at its end.
pub fn schema() -> String {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Config>();
    RecursiveTransform(refuse_null).transform(&mut schema);
    schema.insert("title".into(), "Configuration of Sealgate".into());
    format!("{:#}\n", schema.as_value())
}

/// A key that may be left out may not be null instead: the reader wants it to be left out.
fn refuse_null(schema: &mut Schema) {
    let null = json!({ "type": "null" });
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
    }
    if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
        choices.retain(|choice| *choice != null);
        if let [Value::Object(only)] = choices.as_slice() {
            let only = only.clone();
            schema.remove("anyOf");
            for (key, value) in only {
                schema.insert(key, value);
            }
        }
    }
}
