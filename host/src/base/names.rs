//! Validated names. A value of these types came from the configuration and is safe as a label, a file name and a log field.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// Whether `text` is `[a-z0-9][a-z0-9_-]{0,62}`, the form of every name in the configuration.
pub fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let first = bytes.first().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    first
        && bytes.len() <= 63
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'_' || *b == b'-')
}

macro_rules! name {
    ($(#[$about:meta])* $name:ident) => {
        $(#[$about])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name, when `text` is one.
            pub fn new(text: &str) -> Option<Self> {
                is_name(text).then(|| Self(text.into()))
            }

            /// As text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// `[route.NAME]`
    RouteName
);
name!(
    /// `[product.NAME]`
    ProductName
);
name!(
    /// `NAME.wasm` in the plugins directory
    PluginName
);
name!(
    /// `[secret.NAME]`
    SecretName
);
name!(
    /// `[listener.NAME]`
    ListenerName
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_lower_case_words() {
        for good in ["a", "0", "stripe-live", "a_b", &"a".repeat(63)] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "-a", "_a", "A", "a.b", "a b", "ü", &"a".repeat(64)] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
