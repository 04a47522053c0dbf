//! JSON that can be read in one way only: an object in which a member occurs twice is refused.
//!
//! Which of two members counts differs between readers (RFC 8259, section 4; RFC 7515, section 4 lets a reader refuse
//! them), so that what was checked here could be another thing to a server behind. Names are compared as they read,
//! whatever escapes spell them.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The object that these bytes are, and nothing else.
pub(super) fn object(bytes: &[u8]) -> Option<Map<String, Value>> {
    match serde_json::from_slice(bytes) {
        Ok(Strict(Value::Object(object))) => Some(object),
        _ => None,
    }
}

/// A value in which no object has a member twice.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Strict)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without a member that occurs twice")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a number"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((name, Strict(value))) = members.next_entry::<String, Strict>()? {
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom("a member occurs twice"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_occurs_once_however_it_is_spelled() {
        assert!(object(br#"{"sub":"a","x":{"sub":"b"},"y":[{"sub":1.5},{"sub":-2},null,true]}"#).is_some());
        for twice in [
            r#"{"sub":"a","sub":"b"}"#,
            r#"{"sub":"a","sub":"a"}"#,
            r#"{"sub":"a","\u0073ub":"b"}"#,
            r#"{"\u0073\u0075\u0062":"a","sub":"b"}"#,
            r#"{"x":{"a":1,"a":2}}"#,
            r#"{"x":[0,{"a":1,"\u0061":1}]}"#,
        ] {
            assert!(object(twice.as_bytes()).is_none(), "{twice}");
        }
    }

    #[test]
    fn what_is_no_object_alone_is_refused() {
        for other in [
            "",
            "null",
            "[]",
            "\"{}\"",
            "{} {}",
            "{}x",
            "{'a':1}",
            "{\"a\":1e999}",
            "\u{feff}{}",
            "{\"a\":\"\\ud800\"}",
        ] {
            assert!(object(other.as_bytes()).is_none(), "{other}");
        }
        assert!(object(b"{\"a\":\"\xff\"}").is_none());
        assert!(object("{\"a\":".repeat(100_000).as_bytes()).is_none(), "as deep as one likes");
        assert_eq!(object(b" { } ").map(|object| object.len()), Some(0));
    }
}
