//! Globs over normalised paths: `*` within a segment, `**` for any number of whole segments.

mod reach;

use std::fmt;
use std::str::FromStr;

use globset::{Glob, GlobBuilder};

use crate::normalise::{self, Refusal};

/// Bytes of the longest glob.
pub const MAX_GLOB: usize = 1024;

/// Why a text is no glob that a path can match.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    /// It is too long.
    #[error("expected at most {MAX_GLOB} bytes")]
    TooLong,
    /// It does not begin with `/`.
    #[error("expected a glob that begins with `/`, such as `/orders/**`")]
    NoPath,
    /// `**` beside other characters.
    #[error("expected `**` as a whole segment, such as `/orders/**`; `*` is what stands for a part of one")]
    PartOfSegment,
    /// `?`, `[…]` or `{…}`.
    #[error("expected no other wildcards than `*` and `**`: no path that is matched holds `{0}`")]
    OtherWildcard(char),
    /// Parameters of a segment.
    #[error("expected no `;`: paths are matched without their parameters as well, so this would match none")]
    Parameters,
    /// No normalised path looks so, whatever the wildcards stand for.
    #[error("no request has such a path: {0}")]
    Refused(Refusal),
    /// Normalised paths are spelled otherwise.
    #[error("expected a path as it is routed, in its one spelling")]
    OtherSpelling(String),
    /// It cannot be compiled.
    #[error("expected a glob: {0}")]
    Other(#[from] globset::Error),
}

/// A glob over normalised paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathGlob {
    text: Box<str>,
    glob: Glob,
}

impl FromStr for PathGlob {
    type Err = GlobError;

    fn from_str(text: &str) -> Result<Self, GlobError> {
        if text.len() > MAX_GLOB {
            return Err(GlobError::TooLong);
        }
        if !text.starts_with('/') {
            return Err(GlobError::NoPath);
        }
        if let Some(other) = text.chars().find(|letter| matches!(letter, '?' | '[' | ']' | '{' | '}')) {
            return Err(GlobError::OtherWildcard(other));
        }
        if text.split('/').any(|segment| segment.contains("**") && segment != "**") {
            return Err(GlobError::PartOfSegment);
        }
        if text.contains(';') || text.contains("%3B") {
            return Err(GlobError::Parameters);
        }
        // `*` may stand in a path, so what is normal as a path has nothing but `*` that means more than itself.
        match normalise::path(text.as_bytes()) {
            Ok(path) if path == text => {}
            Ok(path) => return Err(GlobError::OtherSpelling(path.into_owned())),
            Err(refusal) => return Err(GlobError::Refused(refusal)),
        }
        let glob = GlobBuilder::new(text).literal_separator(true).backslash_escape(false).build()?;
        Ok(PathGlob { text: text.into(), glob })
    }
}

impl PathGlob {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a path matches. Compiles the glob: for the configuration, not for requests.
    fn matches(&self, path: &str) -> bool {
        self.glob.compile_matcher().is_match(path)
    }

    /// The same for `globset`.
    pub fn glob(&self) -> &Glob {
        &self.glob
    }
}

impl fmt::Display for PathGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn glob(text: &str) -> PathGlob {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn matches(text: &str, path: &str) -> bool {
        glob(text).matches(path)
    }

    #[test]
    fn a_star_stays_in_its_segment_and_two_stars_cross_them() {
        for (text, fits, misses) in [
            ("/orders", &["/orders"] as &[&str], &["/orders/", "/ordersx", "/Orders", "/"] as &[&str]),
            ("/orders/*", &["/orders/42", "/orders/"], &["/orders", "/orders/42/items", "/orders/42/"]),
            ("/orders/*.pdf", &["/orders/1.pdf", "/orders/.pdf"], &["/orders/1/x.pdf", "/orders/1.pdfx"]),
            ("/orders/**", &["/orders/", "/orders/42", "/orders/42/items"], &["/orders", "/ordersx/42"]),
            ("/**/public", &["/public", "/a/public", "/a/b/public"], &["/xpublic", "/public/", "/public/a"]),
            ("/a/**/z", &["/a/z", "/a/b/z", "/a/b/c/z"], &["/a/bz", "/az", "/b/a/z"]),
            ("/**", &["/", "/a", "/a/b/", "/a.b/.c"], &[]),
            ("/", &["/"], &["/a", "//"]),
            ("/%C3%A9/*", &["/%C3%A9/x", "/%C3%A9/%C3%A9"], &["/%c3%a9/x"]),
            ("/a+b(c)", &["/a+b(c)"], &["/aab(c)", "/aabc"]),
        ] {
            for path in fits {
                assert!(matches(text, path), "{text} does not match {path}");
            }
            for path in misses {
                assert!(!matches(text, path), "{text} matches {path}");
            }
        }
    }

    #[test]
    fn what_no_path_can_match_is_no_glob() {
        let error = |text: &str| text.parse::<PathGlob>().expect_err(text);
        assert_eq!(error("orders/*"), GlobError::NoPath);
        assert_eq!(error("/orders**"), GlobError::PartOfSegment);
        assert_eq!(error("/***"), GlobError::PartOfSegment);
        assert_eq!(error("/orders/{a,b}"), GlobError::OtherWildcard('{'));
        assert_eq!(error("/orders/?"), GlobError::OtherWildcard('?'));
        assert_eq!(error("/[ab]"), GlobError::OtherWildcard('['));
        assert_eq!(error("/orders;v=1"), GlobError::Parameters);
        assert_eq!(error("/a/../b"), GlobError::OtherSpelling("/b".into()));
        assert_eq!(error("/a//b"), GlobError::OtherSpelling("/a/b".into()));
        assert_eq!(error("/é"), GlobError::OtherSpelling("/%C3%A9".into()));
        assert_eq!(error("/a%2fb"), GlobError::Refused(Refusal::EncodedSeparator));
        assert_eq!(error("/a\\b"), GlobError::Refused(Refusal::Backslash));
        assert_eq!(error(&format!("/{}", "a".repeat(MAX_GLOB))), GlobError::TooLong);
        assert_eq!(error(""), GlobError::NoPath);
    }

    /// What a glob means, in as few words as possible.
    fn model(glob: &[&str], path: &[&str]) -> bool {
        match (glob, path) {
            ([], []) => true,
            // At the end, `**` stands for at least one segment, be it empty.
            (["**"], path) => !path.is_empty(),
            (["**", rest @ ..], path) => (0..=path.len()).any(|skipped| model(rest, &path[skipped..])),
            ([first, rest @ ..], [segment, path @ ..]) => {
                in_segment(first.as_bytes(), segment.as_bytes()) && model(rest, path)
            }
            _ => false,
        }
    }

    fn in_segment(glob: &[u8], segment: &[u8]) -> bool {
        match (glob, segment) {
            ([], []) => true,
            ([b'*', rest @ ..], segment) => {
                (0..=segment.len()).any(|skipped| in_segment(rest, &segment[skipped..]))
            }
            ([byte, rest @ ..], [same, segment @ ..]) => byte == same && in_segment(rest, segment),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn a_glob_matches_what_its_segments_match(
            segments in proptest::collection::vec("\\*\\*|[ab.*]{1,3}", 1..5),
            path in proptest::collection::vec("[ab.*]{1,3}", 1..6),
        ) {
            let text = format!("/{}", segments.join("/"));
            let Ok(glob) = text.parse::<PathGlob>() else { return Ok(()) };
            let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            let whole = format!("/{}", path.join("/"));
            prop_assert_eq!(
                glob.matches(&whole),
                model(&segments, &path),
                "{} and {}", text, whole
            );
        }
    }
}
