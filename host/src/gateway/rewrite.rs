//! The path that a product sees.

use std::borrow::Cow;

use crate::config::plan::{Rewrite, Segment};

impl Rewrite {
    /// `path`, which is in normal form, as the product sees it: in normal form too, and beginning with a slash.
    pub fn apply<'a>(&self, path: &'a str) -> Cow<'a, str> {
        let left = strip(&self.strip, path);
        match (left, self.add.as_str()) {
            ("", "") => Cow::Borrowed("/"),
            ("", add) => Cow::Owned(add.to_owned()),
            (left, add) => match add.trim_end_matches('/') {
                "" => Cow::Borrowed(left),
                add => Cow::Owned(format!("{add}{left}")),
            },
        }
    }
}

/// What follows these segments in `path`: nothing, or text that begins with a slash. A path that does not begin with
/// all of them is left whole.
fn strip<'a>(segments: &[Segment], path: &'a str) -> &'a str {
    let mut left = path;
    for want in segments {
        let Some(rest) = left.strip_prefix('/') else { return path };
        let (has, rest) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let fits = match want {
            Segment::Literal(text) => text == has,
            Segment::Any(_) => !has.is_empty(),
        };
        if !fits {
            return path;
        }
        left = rest;
    }
    left
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::path::normalise;

    fn rewrite(strip: &str, add: &str) -> Rewrite {
        let segment = |text: &str| match text.strip_prefix('{') {
            Some(_) => Segment::Any("x".into()),
            None => Segment::Literal(text.into()),
        };
        Rewrite { strip: strip.split('/').skip(1).map(segment).collect(), add: add.into() }
    }

    #[test]
    fn a_prefix_is_stripped_by_segments_and_another_put_in_its_place() {
        for (strip, add, path, seen) in [
            ("/v1", "/", "/v1/users", "/users"),
            ("/v1", "", "/v1/users/", "/users/"),
            ("/v1", "", "/v1", "/"),
            ("/v1", "", "/v1/", "/"),
            ("/v1", "", "/v12/users", "/v12/users"),
            ("/v1", "", "/v1//users", "//users"),
            ("/v1", "/api", "/v1/users", "/api/users"),
            ("/v1", "/api", "/v1", "/api"),
            ("/v1", "/api/", "/v1", "/api/"),
            ("/v1", "/api/", "/v1/", "/api/"),
            ("/v1", "/api/", "/v1/users", "/api/users"),
            ("", "/api", "/users", "/api/users"),
            ("", "/api", "/", "/api/"),
            ("/v1/{tenant}", "/t", "/v1/acme/a%2Fb", "/t/a%2Fb"),
            ("/{tenant}", "", "/acme", "/"),
            ("/{tenant}", "", "//x", "//x"),
            ("/a/b", "/c", "/a", "/c/a"),
        ] {
            assert_eq!(rewrite(strip, add).apply(path), seen, "{strip:?} {add:?} {path}");
        }
    }

    proptest! {
        #[test]
        fn what_a_product_sees_is_a_path_in_normal_form(
            strip in prop_oneof![Just(""), Just("/a"), Just("/a/b"), Just("/{x}"), Just("/a%2Fb")],
            add in prop_oneof![Just(""), Just("/"), Just("/c"), Just("/c/"), Just("/c/d")],
            raw in "/([ab./%~;]|%[0-9a-fA-F]{2}|%2[eEfF]|\\.\\.?/){0,24}",
        ) {
            if let Ok(path) = normalise(&raw) {
                let seen = rewrite(strip, add).apply(&path).into_owned();
                prop_assert!(seen.starts_with('/'));
                let normal = normalise(&seen);
                prop_assert_eq!(normal.as_deref(), Ok(seen.as_str()));
            }
        }
    }
}
