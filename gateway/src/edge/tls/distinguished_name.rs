//! Distinguished names as text (RFC 4514): one spelling for each name, which no value of it can imitate.

use x509_parser::der_parser::asn1_rs::{Any, Oid, Tag};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use super::client::hexadecimal;

/// The types of attributes that have a short name (RFC 4514, section 3).
const SHORT: [(&str, &str); 9] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
];

/// A name as text: the last part first, as `CN=svc-billing,OU=payments,O=Example`.
pub(super) fn text(name: &X509Name<'_>) -> String {
    let parts: Vec<_> = name.iter_rdn().collect();
    let mut text = String::new();
    for (index, part) in parts.iter().rev().enumerate() {
        if index > 0 {
            text.push(',');
        }
        for (index, attribute) in part.iter().enumerate() {
            if index > 0 {
                text.push('+');
            }
            push_attribute(&mut text, attribute);
        }
    }
    text
}

fn push_attribute(text: &mut String, attribute: &AttributeTypeAndValue<'_>) {
    let value = attribute.attr_value();
    match (short(attribute.attr_type()), string(value)) {
        (Some(name), Some(value)) => {
            text.push_str(name);
            text.push('=');
            push_escaped(text, &value);
        }
        // Section 2.4: the value's encoding stands for what has no text of its own.
        (name, _) => {
            let id = attribute.attr_type().to_id_string();
            text.push_str(name.unwrap_or(&id));
            text.push_str("=#");
            text.push_str(&encoded(value));
        }
    }
}

fn short(id: &Oid<'_>) -> Option<&'static str> {
    let id = id.to_id_string();
    SHORT.iter().find(|(known, _)| *known == id).map(|(_, name)| *name)
}

/// The text of a value that is one.
fn string(value: &Any<'_>) -> Option<String> {
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::NumericString => {
            std::str::from_utf8(value.data).ok().map(str::to_owned)
        }
        Tag::BmpString => {
            let units = value.data.chunks(2).map(|unit| unit.try_into().ok().map(u16::from_be_bytes));
            String::from_utf16(&units.collect::<Option<Vec<u16>>>()?).ok()
        }
        _ => None,
    }
}

/// Escapes what has a meaning in such a text, and control characters (section 2.4).
fn push_escaped(text: &mut String, value: &str) {
    let last = value.chars().count().saturating_sub(1);
    for (index, c) in value.chars().enumerate() {
        match c {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => text.extend(['\\', c]),
            ' ' if index == 0 || index == last => text.push_str("\\ "),
            '#' if index == 0 => text.push_str("\\#"),
            c if c.is_control() => {
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    text.push('\\');
                    text.push_str(&hexadecimal(&[byte]));
                }
            }
            c => text.push(c),
        }
    }
}

/// The encoding of a value (X.690, section 8.1), with definite length, as hexadecimal digits.
fn encoded(value: &Any<'_>) -> String {
    let header = &value.header;
    let tag =
        (header.class() as u8) << 6 | u8::from(header.constructed()) << 5 | (header.tag().0 & 0x1f) as u8;
    let length = value.data.len();
    let mut bytes = vec![tag];
    if length < 0x80 {
        bytes.push(length as u8);
    } else {
        let all = length.to_be_bytes();
        let significant = &all[all.iter().take_while(|byte| **byte == 0).count()..];
        bytes.push(0x80 | significant.len() as u8);
        bytes.extend(significant);
    }
    bytes.extend(value.data);
    hexadecimal(&bytes)
}

#[cfg(test)]
mod tests {
    use rcgen::string::{BmpString, TeletexString};
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair};
    use x509_parser::certificate::X509Certificate;
    use x509_parser::prelude::FromDer;

    use super::*;

    fn told(parts: Vec<(DnType, DnValue)>) -> String {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in parts {
            params.distinguished_name.push(kind, value);
        }
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        text(X509Certificate::from_der(certificate.der()).unwrap().1.subject())
    }

    fn common_name(name: &str) -> String {
        told(vec![(DnType::CommonName, name.into())])
    }

    #[test]
    fn the_last_part_comes_first() {
        let name = vec![
            (DnType::CountryName, "DE".into()),
            (DnType::OrganizationName, "Example".into()),
            (DnType::CommonName, "svc-billing".into()),
        ];
        assert_eq!(told(name), "CN=svc-billing,O=Example,C=DE");
        assert_eq!(told(vec![]), "");
    }

    #[test]
    fn no_value_looks_like_another_part() {
        for (value, expected) in [
            ("a,O=Example", "CN=a\\,O=Example"),
            ("a+UID=root", "CN=a\\+UID=root"),
            ("#00", "CN=\\#00"),
            ("a#b", "CN=a#b"),
            (" a ", "CN=\\ a\\ "),
            (" ", "CN=\\ "),
            ("a\"b;c<d>e\\f", "CN=a\\\"b\\;c\\<d\\>e\\\\f"),
            ("a\nb\0c\u{7f}", "CN=a\\0ab\\00c\\7f"),
            ("J\u{fc}rgen", "CN=J\u{fc}rgen"),
            ("", "CN="),
        ] {
            assert_eq!(common_name(value), expected);
        }
    }

    #[test]
    fn what_has_no_text_is_told_by_its_encoding() {
        let wide = DnValue::BmpString(BmpString::try_from("B\u{fc}ro").unwrap());
        assert_eq!(told(vec![(DnType::CommonName, wide)]), "CN=B\u{fc}ro");
        let old = DnValue::TeletexString(TeletexString::try_from("ab").unwrap());
        assert_eq!(told(vec![(DnType::CommonName, old)]), "CN=#14026162");
        let own = DnType::CustomDnType(vec![1, 3, 6, 1, 4, 1, 99999, 1]);
        assert_eq!(told(vec![(own.clone(), "ab".into())]), "1.3.6.1.4.1.99999.1=#0c026162");
        let long = told(vec![(own, "x".repeat(300).into())]);
        assert!(long.starts_with("1.3.6.1.4.1.99999.1=#0c82012c7878"), "{long}");
    }
}
