//! `${VAR}` and `${VAR:-default}` in the values of a configuration.

use std::borrow::Cow;

/// Where variables come from.
pub(super) type Variables<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// Why a value's variables cannot be replaced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum VariableError {
    /// It is not set, and there is no default.
    #[error("the environment variable `{0}` is not set: set it, or give a default by `${{{0}:-default}}`")]
    Unset(String),
    /// `${` that is not followed by a name and `}`.
    #[error("expected `${{NAME}}` or `${{NAME:-default}}`; a literal `${{` is written `$${{`")]
    Malformed,
}

/// The text with every variable replaced, as a shell does it: a default also stands in for what is empty. `$${` stands for a literal `${`; any other `$` stands for itself.
pub(super) fn replace<'t>(text: &'t str, variables: &Variables<'_>) -> Result<Cow<'t, str>, VariableError> {
    if !text.contains("${") {
        return Ok(Cow::Borrowed(text));
    }
    let mut replaced = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, found) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            replaced.push_str(before);
            replaced.push_str("${");
            rest = &found[2..];
            continue;
        }
        replaced.push_str(before);
        let end = found.find('}').ok_or(VariableError::Malformed)?;
        let inner = &found[2..end];
        let (name, default) = match inner.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inner, None),
        };
        if !is_name(name) {
            return Err(VariableError::Malformed);
        }
        match (variables(name), default) {
            (Some(value), Some(default)) if value.is_empty() => replaced.push_str(default),
            (Some(value), _) => replaced.push_str(&value),
            (None, Some(default)) => replaced.push_str(default),
            (None, None) => return Err(VariableError::Unset(name.to_owned())),
        }
        rest = &found[end + 1..];
    }
    replaced.push_str(rest);
    Ok(Cow::Owned(replaced))
}

/// What a shell takes as a variable's name.
fn is_name(text: &str) -> bool {
    let starts = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    starts && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(text: &str) -> Result<String, VariableError> {
        let variables = |name: &str| match name {
            "POD" => Some("gw-7".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        replace(text, &variables).map(Cow::into_owned)
    }

    #[test]
    fn a_variable_is_replaced_wherever_it_stands() {
        assert_eq!(replaced("audit.example.com/${POD}").as_deref(), Ok("audit.example.com/gw-7"));
        assert_eq!(replaced("${POD}${POD}").as_deref(), Ok("gw-7gw-7"));
    }

    #[test]
    fn a_default_stands_in_for_what_is_unset_or_empty() {
        assert_eq!(replaced("${NOPE:-gw-1}").as_deref(), Ok("gw-1"));
        assert_eq!(replaced("${EMPTY:-gw-1}").as_deref(), Ok("gw-1"));
        assert_eq!(replaced("${NOPE:-}").as_deref(), Ok(""));
    }

    #[test]
    fn unset_without_a_default_is_an_error_that_names_it() {
        assert_eq!(replaced("x${NOPE}"), Err(VariableError::Unset("NOPE".into())));
        assert_eq!(replaced("x${EMPTY}").as_deref(), Ok("x"));
    }

    #[test]
    fn a_value_is_not_expanded_again() {
        let nested = |_: &str| Some("${POD}".to_owned());
        assert_eq!(replace("${A}", &nested).as_deref(), Ok("${POD}"));
    }

    #[test]
    fn what_is_no_reference_is_left_or_refused() {
        assert_eq!(replaced("5$ and $POD").as_deref(), Ok("5$ and $POD"));
        assert_eq!(replaced("$${POD}").as_deref(), Ok("${POD}"));
        for malformed in ["${", "${}", "${POD", "${1A}", "${A B}", "${:-x}"] {
            assert_eq!(replaced(malformed), Err(VariableError::Malformed), "{malformed}");
        }
    }
}
