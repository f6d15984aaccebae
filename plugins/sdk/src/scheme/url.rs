//! The URL as the provider called it, for schemes that sign it.

use crate::about::Setting;
use crate::request::Request;
use crate::settings::{Problems, Settings};

/// The URL as the provider called it. A gateway behind another proxy does not see it, so a route may write it down; the
/// query is always the request's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl(Option<String>);

const KEY: &str = "public_url";

impl PublicUrl {
    /// `public_url`, optional.
    pub const SETTING: Setting =
        Setting::text(KEY, "the URL as the provider calls it, without a query (default: the URL as received)");

    /// From a route's options.
    pub fn of(settings: &Settings) -> Result<Self, Problems> {
        let url = settings.text(KEY).map(str::to_owned);
        let whole = |url: &String| {
            let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
            rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/')) && !url.contains(['?', '#', ' '])
        };
        if url.as_ref().is_none_or(whole) {
            Ok(Self(url))
        } else {
            Err(Problems::of(KEY, "expected http:// or https://, a host and a path, without a query"))
        }
    }

    /// The URL as received.
    pub const fn received() -> Self {
        Self(None)
    }

    /// Without the query.
    pub fn base(&self, request: &Request<'_>) -> String {
        let target = request.target();
        let path = target.split_once('?').map_or(target.as_str(), |(path, _)| path);
        match &self.0 {
            Some(url) => url.clone(),
            None => [&request.scheme(), "://", &request.authority(), path].concat(),
        }
    }

    /// The path alone.
    pub fn path(&self, request: &Request<'_>) -> String {
        let base = self.base(request);
        let path = base.split_once("://").and_then(|(_, rest)| rest.get(rest.find('/')?..));
        path.unwrap_or("/").to_owned()
    }

    /// With the query as received.
    pub fn whole(&self, request: &Request<'_>) -> String {
        let target = request.target();
        let query = target.find('?').and_then(|at| target.get(at..)).unwrap_or_default();
        self.base(request) + query
    }
}

#[cfg(all(test, not(target_family = "wasm")))]
mod tests {
    use super::*;
    use crate::About;

    fn of(url: &str) -> Result<PublicUrl, Problems> {
        const ABOUT: About = About::new("test", "none").settings(&[PublicUrl::SETTING]);
        PublicUrl::of(
            &Settings::check(&ABOUT, &serde_json::json!({ "public_url": url }).to_string()).expect("declared settings"),
        )
    }

    #[test]
    fn a_public_url_is_whole_and_has_no_query() {
        assert!(of("https://example.test/hooks").is_ok() && of("http://example.test").is_ok());
        for wrong in
            ["", "example.test", "https://", "https:///hooks", "ftp://example.test", "https://a/b?c", "https://a/#b"]
        {
            assert_eq!(of(wrong).unwrap_err().0[0].key, "public_url", "{wrong}");
        }
    }
}
