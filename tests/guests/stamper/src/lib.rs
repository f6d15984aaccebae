//! A propagator that stamps the request with what its option `stamp` says, takes `x-secret-note` away, and marks the
//! response with the status it saw.

use tollgate_sdk::{About, Edit, Problems, Propagator, Refusal, Request, Response, Setting, Settings};

struct Stamper {
    stamp: String,
}

impl Propagator for Stamper {
    const ABOUT: About = About::new("stamper", "none: it exists for the gateway's tests").settings(&[Setting::text(
        "stamp",
        "the value of `x-stamp`",
    )
    .required()]);

    fn configure(settings: &Settings) -> Result<Self, Problems> {
        Ok(Self { stamp: settings.text("stamp").unwrap_or_default().to_owned() })
    }

    fn on_request(&self, request: &Request<'_>) -> Result<Vec<Edit>, Refusal> {
        if request.header("x-unwanted").is_some() {
            return Err(Refusal::new(403, "unwanted"));
        }
        Ok(vec![Edit::set("x-stamp", self.stamp.as_str()), Edit::remove("x-secret-note")])
    }

    fn on_response(&self, _: &Request<'_>, response: &Response<'_>) -> Vec<Edit> {
        vec![Edit::append("x-stamped", response.status().to_string())]
    }
}

tollgate_sdk::propagator!(Stamper);

#[cfg(test)]
mod tests {
    use tollgate_sdk::testing::{FakeRequest, FakeResponse};

    use super::*;

    const OPTIONS: &str = r#"{"stamp":"blue"}"#;

    #[test]
    fn it_stamps_requests_and_marks_responses() {
        let request = FakeRequest::post("/");
        let edits = request.on_request::<Stamper>(OPTIONS).unwrap();
        assert_eq!(edits, [Edit::set("x-stamp", "blue"), Edit::remove("x-secret-note")]);
        let edits = request.on_response::<Stamper>(&FakeResponse::new(204), OPTIONS);
        assert_eq!(edits, [Edit::append("x-stamped", "204")]);
    }

    #[test]
    fn it_refuses_what_is_unwanted() {
        let refused = FakeRequest::post("/").header("x-unwanted", "1").on_request::<Stamper>(OPTIONS).unwrap_err();
        assert_eq!((refused.status, refused.code), (403, "unwanted"));
    }
}
