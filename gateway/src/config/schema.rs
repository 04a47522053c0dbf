//! The JSON Schema of the configuration, made from its types, for editors: `conf/schema.json`.

use schemars::generate::SchemaSettings;

use super::Config;

/// The schema as it is checked in: JSON, indented, with a newline at its end.
pub fn schema() -> String {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Config>();
    schema.insert("title".into(), "Configuration of Sealgate".into());
    format!("{:#}\n", schema.as_value())
}
