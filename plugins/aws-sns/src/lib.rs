//! Messages of Amazon SNS: `Signature` in the body is the base64 RSA signature (PKCS #1; SHA-1 for `SignatureVersion`
//! 1, SHA-256 for 2) of the message's fields, each as name and value on lines of their own.
//!
//! Source: <https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html>. The certificate is the one
//! `SigningCertURL` names, downloaded once and configured: nothing is fetched here, whatever the message says. Anybody
//! can have SNS sign a message of a topic of theirs, so `topics` names the topics that count. Raw message delivery is
//! not signed.
//!
//! Event: `MessageId`, signed; type from `Type`, signed. Fresh by `Timestamp`, which is signed: the time of publishing,
//! so a route that wants late retries sets `tolerance`. A `SubscriptionConfirmation` is delivered like any message: the
//! product confirms by its `SubscribeURL`, or do so by hand from the event log.

use tollgate_sdk::scheme::Table;
use tollgate_sdk::{
    About, Algorithm, Call, Event, Key, Part, Problems, Refusal, Role, Setting, Settings, Verdict, Verifier, encoding,
};

/// Messages of Amazon SNS.
pub struct AwsSns {
    topics: Vec<String>,
}

impl Verifier for AwsSns {
    const ABOUT: About =
        About::new("aws-sns", "https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html")
            .roles(&[Role::required("certificate", "the certificate that SigningCertURL names, in PEM")])
            .settings(&[Setting::texts("topics", "the ARNs of the topics whose messages count").required()]);

    fn configure(settings: &Settings) -> Result<Self, Problems> {
        let topics: Vec<String> = settings.texts("topics").unwrap_or_default().into_iter().map(str::to_owned).collect();
        if topics.is_empty() || !topics.iter().all(|topic| topic.starts_with("arn:")) {
            return Err(Problems::of("topics", "expected ARNs, such as \"arn:aws:sns:eu-west-1:123456789012:orders\""));
        }
        Ok(Self { topics })
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        let message = Table::body(call)?;
        let value = |name: &str| message.text(name).ok_or_else(|| Refusal::missing(name));
        let algorithm = match value("SignatureVersion")? {
            "1" => Algorithm::RsaPkcs1Sha1,
            "2" => Algorithm::RsaPkcs1Sha256,
            _ => return Err(Refusal::malformed("SignatureVersion")),
        };
        let kind = value("Type")?;
        let names: &[&str] = match kind {
            "Notification" => &["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"],
            "SubscriptionConfirmation" | "UnsubscribeConfirmation" => {
                &["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
            }
            _ => return Err(Refusal::malformed("Type")),
        };
        if !self.topics.iter().any(|topic| message.text("TopicArn") == Some(topic)) {
            return Err(Refusal::new(401, "topic").detail("a topic that is not among `topics`"));
        }
        let mut content = String::new();
        for name in names {
            match message.text(name) {
                // Only a message may have lines, else a border between fields could be moved.
                Some(text) if *name != "Message" && text.contains('\n') => return Err(Refusal::malformed(name)),
                Some(text) => content.extend([name, "\n", text, "\n"]),
                None if *name == "Subject" => {}
                None => return Err(Refusal::missing(name)),
            }
        }
        let signature = encoding::base64(value("Signature")?).ok_or_else(|| Refusal::malformed("Signature"))?;
        call.check_signature(Key::pem("certificate"), algorithm, &[Part::Text(&content)], &signature)?;
        let timestamp = encoding::rfc3339(value("Timestamp")?).ok_or_else(|| Refusal::malformed("Timestamp"))?;
        Ok(Event::new().signed_id(value("MessageId")?.to_owned()).kind(kind.to_owned()).timestamp(timestamp).into())
    }
}

tollgate_sdk::verifier!(AwsSns);
