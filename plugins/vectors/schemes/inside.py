"""Schemes whose signature is inside the body, or is not the body's."""

import base64
import hashlib
import json
import zlib

from cryptography.hazmat.primitives import hashes
from keys import Rsa
from record import NOW, Sent, b64, mac, provider, public, rest, secret_of
from schemes.stamped import iso
from urllib.parse import urlencode

RSA, OTHER = Rsa("rsa"), Rsa("rsa-other")


@provider("paypal", secrets={"certificate": RSA}, other={"certificate": OTHER}, options={"webhook_id": "9XL90610J3647323C"},
          stamped=True, body=b'{"id":"WH-9UG","event_type":"PAYMENT.SALE.COMPLETED"}',
          event={"id": "d938e770", "signed": True, "type": "PAYMENT.SALE.COMPLETED"})
def paypal(secrets, body, now, webhook="9XL90610J3647323C", id="d938e770"):
    content = f"{id}|{iso(now)}|{webhook}|{zlib.crc32(body)}"
    name = "PAYPAL-TRANSMISSION-"
    return Sent([(name + "SIG", b64(secrets["certificate"].sign(content.encode()))), (name + "ID", id), (name + "TIME", iso(now)),
                 ("PAYPAL-AUTH-ALGO", "SHA256withRSA")], [("PAYPAL-CERT-URL", "https://evil.example.test/cert")], body=body)


rest("paypal").add(paypal({"certificate": RSA}, b"{}", NOW, webhook="OTHER"), "reject", "another webhook's id")
rest("paypal").add(paypal({"certificate": RSA}, b"{}", NOW, id="a|b"), "reject", "an id that could move the border")


def adyen_item(secret, **changes):
    item = {
        "additionalData": {}, "amount": {"currency": "EUR", "value": 1130}, "pspReference": "7914073381342284", "eventCode": "AUTHORISATION",
        "eventDate": "2019-05-06T17:15:34.121+02:00", "merchantAccountCode": "TestMerchant", "merchantReference": "TestPayment-1407325143704",
        "paymentMethod": "visa", "success": "true", **changes,
    }
    value = lambda name: str(item.get(name, ""))
    names = ["pspReference", "originalReference", "merchantAccountCode", "merchantReference"]
    content = [*map(value, names), str(item["amount"]["value"]), item["amount"]["currency"], value("eventCode"), value("success")]
    item["additionalData"]["hmacSignature"] = b64(mac("sha256", bytes.fromhex(secret), ":".join(content)))
    return {"NotificationRequestItem": item}


def adyen_body(*items):
    return json.dumps({"live": "false", "notificationItems": list(items)}).encode()


ADYEN = "DFB1EB5485895CFA84146406857104ABB4CBCABDC8AAF103A624C8F6A3EAAB00"


@provider("adyen", secrets={"signing": ADYEN}, other={"signing": ADYEN[::-1]}, second=None, tampered=False,
          event={"id": "7914073381342284:AUTHORISATION:true", "signed": True, "type": "AUTHORISATION"})
def adyen(secrets, body, now):
    return Sent(body=adyen_body(adyen_item(secrets["signing"])))


def adyen_extra():
    recorder, good = rest("adyen"), adyen_item(ADYEN)
    item = good["NotificationRequestItem"]
    # Published with Adyen's own library for PHP.
    assert item["additionalData"]["hmacSignature"] == "Ny9gS2veKo5E4w8/OL6xz1/wvT/hYkAXy1xNc/QvO4I="
    add = lambda body, expect, why: recorder.add(Sent(body=body), expect, why)
    for name in ["pspReference", "merchantAccountCode", "merchantReference", "eventCode", "success"]:
        add(adyen_body({"NotificationRequestItem": {**item, name: "other"}}), "reject", f"{name} changed")
    add(adyen_body({"NotificationRequestItem": {**item, "amount": {"currency": "EUR", "value": 1}}}), "reject", "the amount changed")
    add(adyen_body({"NotificationRequestItem": {**item, "originalReference": "1"}}), "reject", "a reference added")
    add(adyen_body({"NotificationRequestItem": {**item, "additionalData": {}}}), "reject", "no signature")
    add(adyen_body({"NotificationRequestItem": {**item, "additionalData": {"hmacSignature": ""}}}), "reject", "an empty signature")
    add(adyen_body(good, good), "reject", "two items")
    add(adyen_body(good, {"NotificationRequestItem": {"eventCode": "AUTHORISATION"}}), "reject", "an unsigned item behind a signed one")
    add(adyen_body(), "reject", "no item")
    twice = adyen_body(good).replace(b'"success": "true"', b'"success": "true", "success": "false"')
    add(twice, "reject", "a key twice, of which a product might read the other")
    add(adyen_body(good)[:-1], "reject", "a body that is no JSON")
    add(b"", "reject", "no body")
    add(adyen_body(adyen_item(ADYEN, merchantReference="a:b\\c")), "accept", "colons and backslashes are signed as they are")
    add(adyen_body(adyen_item(ADYEN, originalReference="7913")), "accept", "a modification, with its original reference")
    moved = {**adyen_item(ADYEN, merchantReference="a:b")["NotificationRequestItem"], "merchantAccountCode": "TestMerchant:a", "merchantReference": "b"}
    add(adyen_body({"NotificationRequestItem": moved}), "reject", "the border between account and reference moved")
    for name in ["pspReference", "originalReference", "merchantAccountCode", "eventCode", "success"]:
        add(adyen_body(adyen_item(ADYEN, **{name: "a:b"})), "reject", f"a colon in {name}, which could move a border")


adyen_extra()

TOKEN = "8fa1c0a5b2d94f0f9e7b1c4d6a3e5f70b8c2d1e0f9a8b7c6d5"


@provider("mailgun", second=None, tampered=False, stamped=True, event={"id": TOKEN, "signed": True, "type": "delivered"})
def mailgun(secrets, body, now, token=TOKEN):
    digest = mac("sha256", secrets["signing"], str(now), token).hex()
    part = {"timestamp": str(now), "token": token, "signature": digest}
    return Sent(body=json.dumps({"signature": part, "event-data": {"event": "delivered", "id": "CPgf"}}).encode())


def mailgun_extra():
    recorder, secret = rest("mailgun"), {"signing": secret_of("mailgun")}
    good = mailgun(secret, b"", NOW).body
    change = lambda old, new, why: recorder.add(Sent(body=good.replace(old, new)), "reject", why)
    change(TOKEN.encode(), TOKEN[::-1].encode(), "another token")
    change(str(NOW).encode(), str(NOW + 1).encode(), "time renewed under the old signature")
    change(b'"signature": "', b'"signature": "0', "a signature of another length")
    change(b'"token"', b'"tokem"', "no token")
    change(b'"timestamp"', b'"timestamq"', "no time")
    change(b'{"signature": {', b'{"signature": {}, "signature": {', "a key twice")
    recorder.add(mailgun(secret, b"", NOW, "1" + TOKEN), "reject", "a token that could move the border")
    recorder.add(Sent(body=b"timestamp=1"), "reject", "a body that is no JSON")
    parent = json.loads(mailgun({"signing": "the subaccount's"}, b"", NOW).body)
    parent["signature"]["parent-signature"] = json.loads(good)["signature"]["signature"]
    recorder.add(Sent(body=json.dumps(parent).encode()), "accept", "a subaccount's event, by the key of the primary account")


mailgun_extra()

TOPIC = "arn:aws:sns:us-west-2:123456789012:MyTopic"


def sns_body(key, kind, now, version="1", **changes):
    message = {
        "Type": kind, "MessageId": "22b80b92-fdea", "TopicArn": TOPIC, "Subject": "My First Message", "Message": "Hello\nworld! Zoë",
        "Timestamp": iso(now, ".123Z"), "SignatureVersion": version, "SigningCertURL": "https://evil.example.test/a.pem",
    }
    names = ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"]
    if kind != "Notification":
        del message["Subject"]
        message |= {"Token": "2336412f37", "SubscribeURL": "https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription"}
        names = ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
    message = {name: value for name, value in {**message, **changes}.items() if value is not None}
    content = "".join(f"{name}\n{message[name]}\n" for name in names if name in message)
    hash = hashes.SHA1() if version == "1" else hashes.SHA256()
    message["Signature"] = b64(key.sign(content.encode(), hash))
    return json.dumps(message, indent=2).encode()


@provider("aws-sns", secrets={"certificate": RSA}, other={"certificate": OTHER}, options={"topics": [TOPIC]}, stamped=True,
          second=None, tampered=False, event={"id": "22b80b92-fdea", "signed": True, "type": "Notification"})
def aws_sns(secrets, body, now):
    return Sent(extra=[("x-amz-sns-message-type", "Notification")], body=sns_body(secrets["certificate"], "Notification", now, "2"))


def sns_extra():
    recorder = rest("aws-sns")
    add = lambda body, expect, why, **more: recorder.add(Sent(body=body), expect, why, **more)
    add(sns_body(RSA, "Notification", NOW), "accept", "version 1 of the signature")
    add(sns_body(RSA, "Notification", NOW, Subject=None), "accept", "a message without a subject")
    for kind in ["SubscriptionConfirmation", "UnsubscribeConfirmation"]:
        add(sns_body(RSA, kind, NOW, "2"), "accept", kind, event={"id": "22b80b92-fdea", "signed": True, "type": kind, "timestamp": NOW})
    good = sns_body(RSA, "Notification", NOW, "2")
    for old, new, why in [
        (b"Hello", b"Hullo", "the message changed"), (b"22b80b92", b"22b80b93", "the id changed"), (b"My First", b"My Last", "the subject changed"),
        (b'"Subject": "My First Message",', b"", "the subject taken away"), (b"13:20.123", b"13:21.123", "the time changed"),
        (b'"SignatureVersion": "2"', b'"SignatureVersion": "1"', "the version changed"), (b'"Notification"', b'"SubscriptionConfirmation"', "the type changed"),
        (b'"Message": ', b'"Message": "x", "Message": ', "a key twice"), (b'"Signature": "', b'"Signature": "AAAA', "a longer signature"),
    ]:
        assert old in good, old
        add(good.replace(old, new), "reject", why)
    add(sns_body(RSA, "Notification", NOW, TopicArn="arn:aws:sns:us-west-2:666666666666:Theirs"), "reject", "a topic of someone else, well signed")
    add(sns_body(RSA, "Notification", NOW, Subject="a\nTimestamp\nb"), "reject", "a subject with lines, which could move a border")
    add(b"Hello", "reject", "raw message delivery, which is not signed")


sns_extra()

PUBLIC = "integration2public3key"


def braintree_body(secret, payload, key=PUBLIC):
    digest = mac("sha1", hashlib.sha1(secret.encode()).digest(), payload).hex()
    return urlencode({"bt_signature": f"other|{'0' * 40}&{key}|{digest}", "bt_payload": payload}).encode()


def braintree_payload(kind):
    xml = f"<notification><timestamp type=\"datetime\">2026-09-21T14:13:20Z</timestamp><kind>{kind}</kind><subject>{'x' * 200}</subject></notification>"
    return base64.encodebytes(xml.encode()).decode()


@provider("braintree", options={"public_key": PUBLIC}, second=None, tampered=False, event={"type": "subscription_went_past_due"})
def braintree(secrets, body, now):
    return Sent(body=braintree_body(secrets["signing"], braintree_payload("subscription_went_past_due")))


def braintree_extra():
    recorder, secret = rest("braintree"), secret_of("braintree")
    payload = braintree_payload("check")
    good = Sent(body=braintree_body(secret, payload))
    recorder.add(Sent(body=braintree_body(secret, payload).replace(urlencode({"": payload})[1:].encode(), urlencode({"": payload.rstrip()})[1:].encode())),
                 "accept", "the payload's last line feed lost on the way")
    recorder.add(good, "reject", "another key pair", options={"public_key": "another"})
    tampered = braintree_payload("other")
    recorder.add(Sent(body=good.body.replace(urlencode({"": payload})[1:].encode(), urlencode({"": tampered})[1:].encode())), "reject", "another payload")
    recorder.add(Sent(body=good.body.split(b"&bt_payload")[0]), "reject", "no payload")
    recorder.add(Sent(body=b"bt_payload" + good.body.split(b"bt_payload")[1]), "reject", "no signature")
    recorder.add(Sent(body=good.body + b"&bt_payload=x"), "reject", "two payloads")
    ask = Sent(body=b"", method="GET", url="https://hooks.example.test/hooks/braintree?bt_challenge=20f9f8ed05f77439fe955c977e4c8a53")
    proof = mac("sha1", hashlib.sha1(secret.encode()).digest(), "20f9f8ed05f77439fe955c977e4c8a53").hex()
    recorder.add(ask, "respond", "the challenge", reply=f"{PUBLIC}|{proof}")
    for value, why in [("", "empty"), ("20f9", "short"), ("20F9F8ED05F77439FE955C977E4C8A53", "in upper case"), ("20f9f8ed05f77439fe955c977e4c8a53" * 2, "long")]:
        recorder.add(ask.copy(url=f"https://hooks.example.test/hooks/braintree?bt_challenge={value}"), "reject", f"a challenge that is {why}")
    # Were a challenge accepted as a payload, its answer would be the signature of an event.
    oracle = Sent(body=urlencode({"bt_signature": f"{PUBLIC}|{proof}", "bt_payload": "20f9f8ed05f77439fe955c977e4c8a53"}).encode())
    recorder.add(oracle, "reject", "a challenge's answer as a signature")


braintree_extra()
