//! Every verifier of the pack against its recorded requests.

#![allow(unreachable_pub, missing_docs, reason = "the plugins' sources, each a crate of its own elsewhere")]

include!(concat!(env!("OUT_DIR"), "/pack.rs"));

/// The keys of a route's options that `V` finds fault with.
fn refused<V: tollgate_sdk::Verifier>(options: &str) -> Vec<String> {
    let made = tollgate_sdk::Settings::check(&V::ABOUT, options).and_then(|settings| V::configure(&settings));
    let problems = made.err().unwrap_or_default().0;
    assert!(problems.iter().all(|problem| !problem.message.is_empty()));
    problems.into_iter().map(|problem| problem.key).collect()
}

#[test]
fn options_that_make_no_sense_are_refused_by_their_key() {
    let wrong =
        r#"{"header":"x","hash":"md5","key":"pem","encoding":"octal","content":"{bodi}","type_pointer":"type"}"#;
    assert_eq!(refused::<hmac::Hmac>(wrong), ["encoding", "content", "type_pointer", "hash", "key"]);
    assert_eq!(refused::<hmac::Hmac>(r#"{"hash":"sha1"}"#), ["header"]);
    assert_eq!(refused::<hmac::Hmac>(r#"{"header":"x","headers":"y"}"#), ["headers"]);
    assert_eq!(refused::<ed25519::Ed25519>(r#"{"header":"x","key":"text"}"#), ["key"]);
    assert_eq!(refused::<ed25519::Ed25519>(r#"{"header":"x","hash":"sha256"}"#), ["hash"]);

    let wrong = r#"{"algorithm":"none","key":"hex","body_encoding":"x","issuer":"","header":""}"#;
    assert_eq!(refused::<jwt::Jwt>(wrong), ["algorithm", "key", "body_encoding", "header", "issuer"]);
    assert_eq!(refused::<jwt::Jwt>("{}"), ["algorithm"]);
    assert_eq!(refused::<token::Token>(r#"{"basic":true,"header":"x","id_pointer":"id"}"#), ["basic", "id_pointer"]);
    assert_eq!(refused::<token::Token>(r#"{"header":""}"#), ["header"]);

    assert_eq!(refused::<gitlab::GitLab>(r#"{"scheme":"both"}"#), ["scheme"]);
    assert_eq!(refused::<hubspot::HubSpot>(r#"{"version":"3"}"#), ["version"]);
    assert_eq!(refused::<twilio::Twilio>(r#"{"public_url":"hooks.example.test"}"#), ["public_url"]);
    assert_eq!(refused::<paypal::PayPal>("{}"), ["webhook_id"]);
    assert_eq!(refused::<paypal::PayPal>(r#"{"webhook_id":""}"#), ["webhook_id"]);
    assert_eq!(refused::<aws_sns::AwsSns>(r#"{"topics":[]}"#), ["topics"]);
    assert_eq!(refused::<aws_sns::AwsSns>(r#"{"topics":["orders"]}"#), ["topics"]);
    assert_eq!(refused::<braintree::Braintree>(r#"{"public_key":"a|b"}"#), ["public_key"]);
    assert_eq!(refused::<cloudinary::Cloudinary>(r#"{"hash":"md5"}"#), ["hash"]);
    assert_eq!(refused::<livekit::LiveKit>(r#"{"api_key":""}"#), ["api_key"]);
    assert_eq!(refused::<stripe::Stripe>(r#"{"tolerance":5}"#), ["tolerance"]);
}
