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

/// The last cell of a provider's row in docs/providers.md, by the provider's name.
fn checked() -> Vec<(String, String)> {
    let page = include_str!("../../../docs/providers.md");
    let (_, table) = page.split_once("| fresh by | checked |").expect("the table of providers");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let cell = |row: &str| {
        let name = row.split('`').nth(1)?;
        Some((name.to_owned(), row.trim_end_matches(" |").rsplit("| ").next()?.to_owned()))
    };
    rows.map(|row| cell(row).unwrap_or_else(|| panic!("a row without a name or an end: {row}"))).collect()
}

#[test]
fn the_providers_page_says_how_each_was_checked_and_whose_vectors_it_has() {
    let known =
        ["official library", "official documentation", "third-party implementation", "not found: written from memory"];
    let rows = checked();
    assert_eq!(rows.len(), 67, "providers in the table");
    for (name, cell) in rows {
        let (how, vectors) =
            cell.split_once(", ").map_or((cell.as_str(), false), |(how, rest)| (how, rest == "vectors"));
        assert!(known.contains(&how), "{name}: {cell:?}");
        let path = format!("{}/../{name}/vectors.jsonl", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let others = text.lines().any(|line| !line.contains(&format!("\"id\": \"{name}/own-")));
        assert_eq!(vectors, others, "{name}: {cell:?}, and its vectors");
    }
}
