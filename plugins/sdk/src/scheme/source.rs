//! Where a route's options say that a value of the event is.

use crate::request::Call;
use crate::settings::{Problems, Settings};
use crate::verdict::Refusal;

/// Where a value of the event is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// There is none.
    Nowhere,
    /// A header.
    Header(String),
    /// A JSON Pointer into the body.
    Pointer(String),
}

impl Source {
    /// From two options, of which a route gives one or none.
    pub fn of(settings: &Settings, header: &str, pointer: &str, problems: &mut Problems) -> Self {
        match (settings.text(header), settings.text(pointer)) {
            (Some(_), Some(_)) => {
                problems.add(pointer, ["`", header, "` is given already"].concat());
                Self::Nowhere
            }
            (Some(name), None) => {
                if name.is_empty() {
                    problems.add(header, "expected a header's name");
                }
                Self::Header(name.to_owned())
            }
            (None, Some(path)) => {
                if !path.starts_with('/') {
                    problems.add(pointer, "expected a JSON Pointer, such as `/id`");
                }
                Self::Pointer(path.to_owned())
            }
            (None, None) => Self::Nowhere,
        }
    }

    /// The value in a request, if it has it.
    pub fn read(&self, call: &Call<'_>) -> Result<Option<String>, Refusal> {
        match self {
            Self::Nowhere => Ok(None),
            Self::Header(name) => call.optional(name),
            Self::Pointer(pointer) => Ok(call.json(pointer)),
        }
    }
}
