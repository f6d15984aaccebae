//! Trello webhooks: `X-Trello-Webhook` is the base64 HMAC-SHA1 of the body and the callback URL, as it was given when
//! the webhook was made.
//!
//! Source: <https://developer.atlassian.com/cloud/trello/guides/rest-api/webhooks/#webhook-signatures>. The secret is
//! the application's (the API key's) secret, used as text.
//!
//! Event: `/action/id` and `/action/type` of the body, both signed. No time is signed. The HEAD that Trello sends when
//! a webhook is made gets 200.

use tollgate_sdk::scheme::{Mac, PublicUrl};
use tollgate_sdk::{About, Call, Event, Hash, Key, Part, Problems, Refusal, Reply, Role, Settings, Verdict, Verifier};

/// Trello's webhooks.
pub struct Trello {
    url: PublicUrl,
}

const SIGNATURE: Mac = Mac::base64("x-trello-webhook", Hash::Sha1);

impl Verifier for Trello {
    const ABOUT: About = About::new("trello", "https://developer.atlassian.com/cloud/trello/guides/rest-api/webhooks/")
        .roles(&[Role::required("signing", "the application's secret, beside its API key")])
        .settings(&[PublicUrl::SETTING])
        .methods(&["HEAD"]);

    fn configure(settings: &Settings) -> Result<Self, Problems> {
        Ok(Self { url: PublicUrl::of(settings)? })
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        if call.method() == "HEAD" {
            return Ok(Reply::new(200).into());
        }
        SIGNATURE.check(call, Key::text("signing"), &[Part::Body, Part::Text(&self.url.whole(call))])?;
        Ok(Event::new().signed_id(call.json("/action/id")).kind(call.json("/action/type")).into())
    }
}

tollgate_sdk::verifier!(Trello);
