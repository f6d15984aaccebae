//! What a plugin says about itself, known before any traffic: `check`, `inspect` and the docs read it.

/// The plugin's declaration. A constant, so that it costs an instance nothing.
#[derive(Debug, Clone, Copy)]
pub struct About {
    /// The plugin's name, usually the provider's.
    pub name: &'static str,
    /// The page or library that defines what the plugin implements.
    pub source: &'static str,
    /// The secrets it uses.
    pub roles: &'static [Role],
    /// The keys it takes in `options`. Any other key is a problem.
    pub settings: &'static [Setting],
    /// Methods beside POST that the provider uses on a webhook route.
    pub methods: &'static [&'static str],
    /// Whether it answers handshakes with [`hmac`](crate::Request::hmac).
    pub handshake: bool,
}

impl About {
    /// A plugin without secrets, settings or handshake.
    pub const fn new(name: &'static str, source: &'static str) -> Self {
        Self { name, source, roles: &[], settings: &[], methods: &[], handshake: false }
    }

    /// With these secrets.
    pub const fn roles(self, roles: &'static [Role]) -> Self {
        Self { roles, ..self }
    }

    /// With these settings.
    pub const fn settings(self, settings: &'static [Setting]) -> Self {
        Self { settings, ..self }
    }

    /// With these methods beside POST.
    pub const fn methods(self, methods: &'static [&'static str]) -> Self {
        Self { methods, ..self }
    }

    /// With handshakes answered by [`hmac`](crate::Request::hmac). The gateway then guards the key against being used
    /// to sign anything else.
    pub const fn handshake(self) -> Self {
        Self { handshake: true, ..self }
    }
}

/// The name under which a route hands a secret to the plugin. The plugin never sees its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Role {
    /// The name, as in `secrets = { signing = "…" }`.
    pub name: &'static str,
    /// Whether a route must give it.
    pub required: bool,
    /// What it is and where the provider shows it.
    pub about: &'static str,
}

impl Role {
    /// A secret every route must give.
    pub const fn required(name: &'static str, about: &'static str) -> Self {
        Self { name, required: true, about }
    }

    /// A secret a route may give.
    pub const fn optional(name: &'static str, about: &'static str) -> Self {
        Self { name, required: false, about }
    }
}

/// What a setting's value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `"text"`
    Text,
    /// `42`, within 2^53.
    Integer,
    /// `true` or `false`
    Boolean,
    /// `["text", "text"]`
    Texts,
    /// `{ name = "text" }`
    Table,
}

impl Kind {
    /// The kind in words, as problems and `inspect` say it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Integer => "integer",
            Self::Boolean => "boolean",
            Self::Texts => "list of strings",
            Self::Table => "table of strings",
        }
    }
}

/// One key of a route's `options`.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The key.
    pub key: &'static str,
    /// What its value must be.
    pub kind: Kind,
    /// Whether a route must give it.
    pub required: bool,
    /// What it does.
    pub about: &'static str,
}

impl Setting {
    const fn optional(key: &'static str, kind: Kind, about: &'static str) -> Self {
        Self { key, kind, required: false, about }
    }

    /// A string.
    pub const fn text(key: &'static str, about: &'static str) -> Self {
        Self::optional(key, Kind::Text, about)
    }

    /// An integer.
    pub const fn integer(key: &'static str, about: &'static str) -> Self {
        Self::optional(key, Kind::Integer, about)
    }

    /// A boolean.
    pub const fn boolean(key: &'static str, about: &'static str) -> Self {
        Self::optional(key, Kind::Boolean, about)
    }

    /// A list of strings.
    pub const fn texts(key: &'static str, about: &'static str) -> Self {
        Self::optional(key, Kind::Texts, about)
    }

    /// A table of strings.
    pub const fn table(key: &'static str, about: &'static str) -> Self {
        Self::optional(key, Kind::Table, about)
    }

    /// The same, and every route must give it.
    pub const fn required(self) -> Self {
        Self { required: true, ..self }
    }
}
