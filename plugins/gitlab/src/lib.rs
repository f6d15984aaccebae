//! GitLab webhooks, by one of two schemes. `token`, which every version knows: `X-Gitlab-Token` is the secret token itself.
//! `signing`, of newer versions: Standard Webhooks, the HMAC-SHA256 of `id.timestamp.body` in `webhook-signature`.
//!
//! Source: <https://docs.gitlab.com/user/project/integrations/webhooks/>. The secret is the secret token as typed, or the
//! signing token, `whsec_` and base64.
//!
//! Event: type from `X-Gitlab-Event`. With `token` the id is `Idempotency-Key`, which no one signs; nothing of the body is
//! signed either, so prefer `signing`: there the id and the time are signed.

use tollgate_sdk::scheme::StandardWebhooks;
use tollgate_sdk::{About, Call, Event, Key, Problems, Refusal, Role, Setting, Settings, Verdict, Verifier};

/// GitLab's webhooks.
pub struct GitLab {
    token: bool,
}

impl Verifier for GitLab {
    const ABOUT: About = About::new("gitlab", "https://docs.gitlab.com/user/project/integrations/webhooks/")
        .roles(&[Role::required("signing", "the webhook's secret token, or its signing token")])
        .settings(&[Setting::text("scheme", "`token` (default) or `signing`")]);

    fn configure(settings: &Settings) -> Result<Self, Problems> {
        match settings.text("scheme").unwrap_or("token") {
            "token" => Ok(Self { token: true }),
            "signing" => Ok(Self { token: false }),
            _ => Err(Problems::of("scheme", "expected `token` or `signing`")),
        }
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        if self.token {
            let token = call.required("x-gitlab-token")?;
            call.check_token(Key::text("signing"), token.as_bytes())?;
            let id = call.optional("idempotency-key")?;
            return Ok(Event::new().unsigned_id(id).kind(call.optional("x-gitlab-event")?).into());
        }
        let message = StandardWebhooks::PLAIN.check(call, Key::base64("signing").strip("whsec_"))?;
        Ok(message.event().kind(call.optional("x-gitlab-event")?).into())
    }
}

tollgate_sdk::verifier!(GitLab);
