//! What keeps events in line: `order_by`.

use http::HeaderMap;

use crate::base::digest::Digest;
use crate::base::payload::Payload;
use crate::config::plan::OrderBy;
use crate::plugin::json_scalar;
use crate::plugin::verdict::Verified;

/// The longest key that is kept as it is; of a longer one the digest is.
const KEY_MAX: usize = 256;

/// The event's order key; `None` leaves it out of every line.
pub(super) async fn key(
    order_by: Option<&OrderBy>,
    headers: &HeaderMap,
    body: &Payload,
    verified: &Verified,
) -> Option<String> {
    let key = match order_by? {
        OrderBy::Plugin => verified.order_key.clone(),
        OrderBy::Header(name) => headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()),
        OrderBy::Pointer(pointer) => pointed_at(pointer, body).await,
    };
    key.filter(|key| !key.is_empty()).map(bounded)
}

async fn pointed_at(pointer: &str, body: &Payload) -> Option<String> {
    match body {
        Payload::Memory(_) => json_scalar(body, pointer),
        Payload::File(_) => {
            let (body, pointer) = (body.clone(), pointer.to_owned());
            tokio::task::spawn_blocking(move || json_scalar(&body, &pointer)).await.ok().flatten()
        }
    }
}

fn bounded(key: String) -> String {
    if key.len() <= KEY_MAX { key } else { format!("sha256:{}", Digest::of(key.as_bytes())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn of(order_by: OrderBy) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert("x-account", "acct_1".parse().expect("a value"));
        headers.insert("x-empty", "".parse().expect("a value"));
        headers.insert("x-long", "a".repeat(1000).parse().expect("a value"));
        let verified = Verified { order_key: Some("acct_2".into()), ..Verified::default() };
        key(Some(&order_by), &headers, &Payload::Memory(r#"{"data":{"account":3}}"#.into()), &verified).await
    }

    #[tokio::test]
    async fn a_key_comes_from_where_the_route_says() {
        assert_eq!(of(OrderBy::Plugin).await.as_deref(), Some("acct_2"));
        assert_eq!(of(OrderBy::Header(http::HeaderName::from_static("x-account"))).await.as_deref(), Some("acct_1"));
        assert_eq!(of(OrderBy::Pointer("/data/account".into())).await.as_deref(), Some("3"));
    }

    #[tokio::test]
    async fn an_event_without_the_key_is_in_no_line() {
        assert_eq!(of(OrderBy::Header(http::HeaderName::from_static("x-empty"))).await, None);
        assert_eq!(of(OrderBy::Header(http::HeaderName::from_static("x-other"))).await, None);
        assert_eq!(of(OrderBy::Pointer("/data".into())).await, None);
    }

    #[tokio::test]
    async fn a_long_key_is_kept_as_its_digest() {
        let key = of(OrderBy::Header(http::HeaderName::from_static("x-long"))).await.expect("a key");
        assert_eq!(key, format!("sha256:{}", Digest::of(&[b'a'; 1000])));
    }
}
