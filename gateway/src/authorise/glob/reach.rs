//! What globs reach: whether one can match any path of a route, and whether one matches all that another does.
//!
//! Both look at the globs' segments. [`PathGlob::covers`] may fail to see that one glob is as wide as another, and
//! never sees it wrongly.

use super::PathGlob;
use crate::config::PathMatch;

impl PathGlob {
    /// Whether a path that a route takes can match.
    pub fn meets(&self, route: PathMatch<'_>) -> bool {
        match route {
            PathMatch::Exact(path) => self.matches(path),
            PathMatch::Prefix("/") => true,
            PathMatch::Prefix(prefix) => meets(&segments(self.as_str()), &segments(prefix)),
        }
    }

    /// Whether this matches every path that `other` matches.
    pub fn covers(&self, other: &PathGlob) -> bool {
        covers(&segments(self.as_str()), &segments(other.as_str()))
    }
}

fn segments(text: &str) -> Vec<&str> {
    text.split('/').skip(1).collect()
}

/// Whether something at or below a prefix can match.
fn meets(glob: &[&str], prefix: &[&str]) -> bool {
    match (glob, prefix) {
        (_, []) | (["**", ..], _) => true,
        ([first, glob @ ..], [segment, prefix @ ..]) => {
            in_segment(first.as_bytes(), segment.as_bytes()) && meets(glob, prefix)
        }
        ([], _) => false,
    }
}

fn covers(wide: &[&str], narrow: &[&str]) -> bool {
    match (wide, narrow) {
        ([], []) => true,
        // At the end, `**` stands for at least one segment.
        (["**"], narrow) => !narrow.is_empty(),
        (["**", wide @ ..], narrow) => (0..=narrow.len()).any(|taken| covers(wide, &narrow[taken..])),
        ([_, ..], ["**", ..]) => false,
        ([first, wide @ ..], [segment, narrow @ ..]) => {
            in_segment(first.as_bytes(), segment.as_bytes()) && covers(wide, narrow)
        }
        _ => false,
    }
}

/// Whether a segment of a glob matches a segment, be that of a path or of a glob: then only a `*` takes what a `*`
/// stands for.
fn in_segment(glob: &[u8], segment: &[u8]) -> bool {
    match (glob, segment) {
        ([], []) => true,
        ([b'*', rest @ ..], segment) => (0..=segment.len()).any(|taken| in_segment(rest, &segment[taken..])),
        ([byte, rest @ ..], [same, segment @ ..]) => byte == same && in_segment(rest, segment),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn glob(text: &str) -> PathGlob {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_glob_meets_a_route_where_some_path_of_it_can_match() {
        for (text, prefix, meets) in [
            ("/orders", "/orders", true),
            ("/orders/**", "/orders", true),
            ("/*/42", "/orders", true),
            ("/**/public", "/orders", true),
            ("/", "/", true),
            ("/order/**", "/orders", false),
            ("/orders", "/orders/archive", false),
            ("/*", "/orders/archive", false),
            ("/or*/a*", "/orders/archive", true),
        ] {
            assert_eq!(glob(text).meets(PathMatch::Prefix(prefix)), meets, "{text} below {prefix}");
        }
        assert!(glob("/a*").meets(PathMatch::Exact("/abc")));
        assert!(!glob("/a*/**").meets(PathMatch::Exact("/abc")));
    }

    #[test]
    fn a_glob_covers_what_is_narrower() {
        for (wide, narrow, covers) in [
            ("/**", "/a/*/b", true),
            ("/a/**", "/a/b/c", true),
            ("/a/*", "/a/b*", true),
            ("/a/b*", "/a/*", false),
            ("/a/*", "/a/**", false),
            ("/a/**", "/a", false),
            ("/**/c", "/a/**/c", true),
            ("/*.css", "/a*b.css", true),
            ("/a*", "/*a", false),
        ] {
            assert_eq!(glob(wide).covers(&glob(narrow)), covers, "{wide} and {narrow}");
        }
    }

    fn text() -> impl Strategy<Value = String> {
        proptest::collection::vec("\\*\\*|[ab*]{1,3}", 1..4)
            .prop_map(|segments| format!("/{}", segments.join("/")))
            .prop_filter("a glob", |text| text.parse::<PathGlob>().is_ok())
    }

    proptest! {
        #[test]
        fn nothing_is_covered_or_out_of_reach_that_is_not(
            wide in text(), narrow in text(), prefix in "(/[ab]{1,2}){1,2}", below in "(/[ab]{1,3}){0,3}",
        ) {
            let (wide, narrow) = (glob(&wide), glob(&narrow));
            let path = format!("{prefix}{below}");
            if narrow.matches(&path) {
                prop_assert!(narrow.meets(PathMatch::Prefix(&prefix)), "{} below {}", narrow, prefix);
                prop_assert!(wide.matches(&path) || !wide.covers(&narrow), "{} {} {}", wide, narrow, path);
            }
        }
    }
}
