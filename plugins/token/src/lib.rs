//! Any provider that sends a shared secret as it is: in a header of its own, as `Authorization: Bearer …`, or as user
//! and password (`basic`).
//!
//! The secret is the token; with `basic` it is `user:password`. Nothing of the request is signed: whoever sees one can
//! send another, so prefer a provider's signatures where it has any.
//!
//! Event: id and type from where the options say, neither of them signed. No time is signed.

use tollgate_sdk::scheme::{Source, basic};
use tollgate_sdk::{About, Call, Event, Key, Problems, Refusal, Role, Setting, Settings, Verdict, Verifier};

/// Webhooks of any provider that sends a shared token or credentials.
pub struct Token {
    header: String,
    prefix: String,
    basic: bool,
    id: Source,
    kind: Source,
}

impl Verifier for Token {
    const ABOUT: About = About::new("token", "https://www.rfc-editor.org/rfc/rfc7617")
        .roles(&[Role::required("signing", "the token, or `user:password`")])
        .settings(&[
            Setting::text("header", "the header with the token (default: authorization)"),
            Setting::text("prefix", "what stands before the token, such as `Bearer `"),
            Setting::boolean("basic", "whether it is user and password in `Authorization: Basic`"),
            Setting::text("id_header", "the header with the event's id"),
            Setting::text("id_pointer", "the event's id in the body, as a JSON Pointer"),
            Setting::text("type_header", "the header with the event's type"),
            Setting::text("type_pointer", "the event's type in the body, as a JSON Pointer"),
        ]);

    fn configure(settings: &Settings) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let header = settings.text("header").unwrap_or("authorization");
        if header.is_empty() {
            problems.add("header", "expected a header's name");
        }
        let basic = settings.boolean("basic").unwrap_or(false);
        if basic && (settings.text("header").is_some() || settings.text("prefix").is_some()) {
            problems.add(
                "basic",
                "user and password come in `authorization`, behind `Basic `: leave `header` and `prefix` out",
            );
        }
        let id = Source::of(settings, "id_header", "id_pointer", &mut problems);
        let kind = Source::of(settings, "type_header", "type_pointer", &mut problems);
        let prefix = settings.text("prefix").unwrap_or_default().to_owned();
        if problems.0.is_empty() {
            Ok(Self { header: header.to_owned(), prefix, basic, id, kind })
        } else {
            Err(problems)
        }
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        let token = match self.basic {
            true => basic(call)?,
            false => {
                let written = call.required(&self.header)?;
                let token = written.strip_prefix(self.prefix.as_str());
                token.ok_or_else(|| Refusal::malformed(&self.header))?.as_bytes().to_vec()
            }
        };
        call.check_token(Key::text("signing"), &token)?;
        let id = self.id.read(call)?;
        Ok(Event::new().unsigned_id(id).kind(self.kind.read(call)?).into())
    }
}

tollgate_sdk::verifier!(Token);
