//! Updates of Telegram bots: `X-Telegram-Bot-Api-Secret-Token` is the secret itself.
//!
//! Source: <https://core.telegram.org/bots/api#setwebhook>. The secret is the `secret_token` given to `setWebhook`: 1
//! to 256 of `A-Z`, `a-z`, `0-9`, `_` and `-`.
//!
//! Event: `/update_id` of the body, which nothing signs; what kind of update it is says which key the body has, so
//! there is no type. No time is signed.

use tollgate_sdk::{About, Call, Event, Key, Problems, Refusal, Role, Settings, Verdict, Verifier};

/// Updates of Telegram bots.
pub struct Telegram;

impl Verifier for Telegram {
    const ABOUT: About = About::new("telegram", "https://core.telegram.org/bots/api#setwebhook")
        .roles(&[Role::required("signing", "the secret_token given to setWebhook")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        let token = call.required("x-telegram-bot-api-secret-token")?;
        call.check_token(Key::text("signing"), token.as_bytes())?;
        Ok(Event::new().unsigned_id(call.json("/update_id")).into())
    }
}

tollgate_sdk::verifier!(Telegram);
