//! Sends a share of the requests to another product, and with it those that ask for it.
//!
//! `percent` of the keys go `to` the other product; the key is what `sticky` says, the client's address unless it says
//! otherwise, so that one client sees one version. A larger `percent` only adds keys: whoever was sent there stays. A
//! request's own field `header` comes first: `always` and `never`, or the value `header_value` alone.

use tollgate_sdk::{About, Problems, Refusal, Request, Router, Setting, Settings};

struct Canary {
    to: String,
    percent: u64,
    header: Option<String>,
    header_value: Option<String>,
    sticky: Sticky,
}

/// What is the same for requests that belong together.
enum Sticky {
    Client,
    Request,
    Header(String),
    Cookie(String),
}

impl Router for Canary {
    const ABOUT: About = About::new("canary", "https://martinfowler.com/bliki/CanaryRelease.html").settings(&[
        Setting::text("to", "the product that some requests go to, one of the candidates").required(),
        Setting::integer("percent", "of the keys, 0 to 100; 0 where absent"),
        Setting::text("header", "a field that decides for its request: `always` or `never`"),
        Setting::text("header_value", "the one value of `header` that goes there, instead of `always`"),
        Setting::text("sticky", "the key: `client` (default), `request`, `header:NAME` or `cookie:NAME`"),
    ]);

    fn configure(settings: &Settings) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let percent = settings.integer("percent").unwrap_or(0);
        if !(0..=100).contains(&percent) {
            problems.add("percent", "expected 0 to 100");
        }
        let owned = |key| settings.text(key).map(str::to_owned);
        if settings.text("header_value").is_some() && settings.text("header").is_none() {
            problems.add("header_value", "expected `header` beside it");
        }
        let sticky = Sticky::parse(settings.text("sticky").unwrap_or("client"));
        match sticky {
            Some(sticky) if problems.0.is_empty() => Ok(Self {
                to: owned("to").unwrap_or_default(),
                percent: percent.unsigned_abs(),
                header: owned("header"),
                header_value: owned("header_value"),
                sticky,
            }),
            Some(_) => Err(problems),
            None => {
                problems.add("sticky", "expected `client`, `request`, `header:NAME` or `cookie:NAME`");
                Err(problems)
            }
        }
    }

    fn choose(&self, request: &Request<'_>, candidates: &[String]) -> Result<Vec<String>, Refusal> {
        // Said with every request, not with the few that would go there.
        assert!(candidates.contains(&self.to), "`to` is {}, which is not among the candidates", self.to);
        let goes = match self.asked(request)? {
            Some(asked) => asked,
            None => share(&self.to, &self.key(request)?) < self.percent,
        };
        Ok(if goes { vec![self.to.clone()] } else { Vec::new() })
    }
}

impl Canary {
    /// What the request itself asks for.
    fn asked(&self, request: &Request<'_>) -> Result<Option<bool>, Refusal> {
        let Some(header) = &self.header else { return Ok(None) };
        let said = request.text(header).map_err(|_| Refusal::new(400, "repeated").detail(header))?;
        Ok(match (said.as_deref(), &self.header_value) {
            (Some(said), Some(value)) if said == value => Some(true),
            (Some("always"), None) => Some(true),
            (Some("never"), None) => Some(false),
            _ => None,
        })
    }

    /// Where the key was not sent, the client's address stands for it.
    fn key(&self, request: &Request<'_>) -> Result<Vec<u8>, Refusal> {
        let sent = match &self.sticky {
            Sticky::Client => None,
            Sticky::Request => Some(request.id().into_bytes()),
            Sticky::Header(name) => request.header(name),
            Sticky::Cookie(name) => request.cookie(name)?.map(String::into_bytes),
        };
        Ok(sent.unwrap_or_else(|| request.client_address().into_bytes()))
    }
}

impl Sticky {
    fn parse(text: &str) -> Option<Self> {
        let named = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        match text.split_once(':') {
            None if text == "client" => Some(Self::Client),
            None if text == "request" => Some(Self::Request),
            Some(("header", name)) => named(&name.to_ascii_lowercase()).map(Self::Header),
            Some(("cookie", name)) => named(name).map(Self::Cookie),
            _ => None,
        }
    }
}

/// Where a key lies, 0 to 99, the same at every gateway; by product, so that two canaries do not share their subjects.
fn share(to: &str, key: &[u8]) -> u64 {
    // FNV-1a, its bits then mixed as in MurmurHash3: the low ones of FNV alone are uneven.
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in to.bytes().chain([0]).chain(key.iter().copied()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    (hash ^ (hash >> 33)) % 100
}

tollgate_sdk::router!(Canary);

#[cfg(test)]
mod tests {
    use tollgate_sdk::testing::{FakeRequest, run_router_vectors};

    use super::*;

    #[test]
    fn vectors() {
        run_router_vectors::<Canary>("vectors.jsonl");
    }

    #[test]
    fn a_share_is_what_it_says_and_only_grows() {
        let there = |percent: u64| -> Vec<u64> {
            (0..10_000).filter(|user: &u64| share("next", user.to_string().as_bytes()) < percent).collect()
        };
        for percent in [1, 5, 50] {
            let (few, expected) = (there(percent), percent as f64 * 100.0);
            assert!((few.len() as f64 - expected).abs() < expected.mul_add(0.1, 30.0), "{percent}: {}", few.len());
            let more = there(percent + 1);
            assert!(few.iter().all(|user| more.contains(user)), "{percent}");
        }
        assert_eq!((there(0).len(), there(100).len()), (0, 10_000));
    }

    #[test]
    fn a_key_stays_where_it_is() {
        let ask = |user: &str, sticky: &str| {
            let options = format!(r#"{{"to":"next","percent":50,"sticky":"{sticky}"}}"#);
            let request = FakeRequest::post("/").header("x-user", user).header("cookie", &*format!("sid={user}"));
            request.choose::<Canary>(&["app", "next"], &options).unwrap()
        };
        for sticky in ["header:X-User", "cookie:sid"] {
            let users: Vec<String> = (0..100).map(|user| user.to_string()).collect();
            let there = users.iter().filter(|user| !ask(user, sticky).is_empty()).count();
            assert!((30..70).contains(&there), "{sticky}: {there}");
            assert!(users.iter().all(|user| ask(user, sticky) == ask(user, sticky)));
        }
        // All from one address go one way.
        assert_eq!(ask("1", "client"), ask("2", "client"));
    }

    #[test]
    #[should_panic(expected = "`to` is next, which is not among the candidates")]
    fn a_product_that_is_no_candidate_is_a_fault_at_once() {
        let _ = FakeRequest::post("/").choose::<Canary>(&["app"], r#"{"to":"next"}"#);
    }

    #[test]
    fn options_are_checked() {
        let problem = |options: &str| {
            let settings = Settings::check(&Canary::ABOUT, options).unwrap();
            let Problems(problems) = Canary::configure(&settings).map(|_| ()).unwrap_err();
            (problems[0].key.clone(), problems.len())
        };
        assert_eq!(problem(r#"{"to":"a","percent":101}"#), ("percent".into(), 1));
        assert_eq!(problem(r#"{"to":"a","sticky":"moon"}"#), ("sticky".into(), 1));
        assert_eq!(problem(r#"{"to":"a","header_value":"x"}"#), ("header_value".into(), 1));
    }
}
