"""Providers whose requests were recorded with their official libraries; here is only what those leave out."""

import hashlib

from keys import P256, Ed25519
from record import NOW, Sent, b64, mac, provider, rest, secret_of


@provider("discord", secrets={"public_key": Ed25519("discord")}, other={"public_key": Ed25519("discord/other")},
          stamped=True, event={"id": "evt_1042", "signed": True, "type": "payment.succeeded"})
def discord(secrets, body, now):
    signature = secrets["public_key"].sign(str(now).encode() + body).hex()
    return Sent([("X-Signature-Ed25519", signature), ("X-Signature-Timestamp", str(now))], body=body)


recorder = rest("discord")
ping = discord({"public_key": Ed25519("discord")}, b'{"version":1,"application_id":"12","type":0}', NOW)
recorder.add(ping, "respond", "the ping of webhook events")
pong = discord({"public_key": Ed25519("discord")}, b'{"id":"1","application_id":"12","token":"t","type":1}', NOW)
recorder.add(pong, "accept", "the ping of interactions", event={"id": "1", "signed": True, "type": "1", "timestamp": NOW})
event = discord({"public_key": Ed25519("discord")},
                b'{"version":1,"application_id":"12","type":1,"event":{"type":"ENTITLEMENT_CREATE"}}', NOW)
recorder.add(event, "accept", "a webhook event", event={"type": "ENTITLEMENT_CREATE", "timestamp": NOW})


@provider("paddle", stamped=True, tolerance=5, body=b'{"event_id":"evt_1","event_type":"transaction.paid"}',
          event={"id": "evt_1", "signed": True, "type": "transaction.paid"})
def paddle(secrets, body, now):
    digest = mac("sha256", secrets["signing"], f"{now}:", body).hex()
    return Sent([("Paddle-Signature", f"ts={now};h1={digest}")], body=body)


@provider("sendgrid", secrets={"public_key": P256("sendgrid")}, other={"public_key": P256("sendgrid/other")},
          stamped=True, event={})
def sendgrid(secrets, body, now):
    signature = b64(secrets["public_key"].sign(str(now).encode() + body))
    name = "X-Twilio-Email-Event-Webhook-"
    return Sent([(name + "Signature", signature), (name + "Timestamp", str(now))], body=body)


@provider("shopify", event={"id": "98880550", "signed": False, "type": "orders/create"})
def shopify(secrets, body, now):
    return Sent([("X-Shopify-Hmac-SHA256", b64(mac("sha256", secrets["signing"], body)))],
                [("X-Shopify-Topic", "orders/create"), ("X-Shopify-Event-Id", "98880550")], body=body)


@provider("svix", secrets={"signing": "whsec_" + b64(secret_of("svix").encode())},
          other={"signing": "whsec_" + b64(secret_of("svix/other").encode())}, stamped=True,
          event={"id": "msg_1", "signed": True, "type": "payment.succeeded"})
def svix(secrets, body, now, prefix="svix", id="msg_1"):
    import base64
    key = base64.b64decode(secrets["signing"].removeprefix("whsec_"))
    digest = b64(mac("sha256", key, f"{id}.{now}.", body))
    return Sent([(f"{prefix}-signature", f"v1,{digest}"), (f"{prefix}-id", id), (f"{prefix}-timestamp", str(now))], body=body)


URL = "https://hooks.example.test/hooks/twilio"
FORM = b"CallSid=CA12&From=%2B14158675309&Body=Zo%C3%AB+%26+co"


def twilio_digest(secret, url, pairs):
    return b64(mac("sha1", secret, url, "".join(name + value for name, value in sorted(set(pairs)))))


@provider("twilio", body=FORM, second=None, event={"id": "a1c2", "signed": False})
def twilio(secrets, body, now):
    from urllib.parse import parse_qsl
    digest = twilio_digest(secrets["signing"], URL, parse_qsl(body.decode(), keep_blank_values=True))
    return Sent([("X-Twilio-Signature", digest)], [("I-Twilio-Idempotency-Token", "a1c2")], body=body)


def twilio_extra():
    recorder, secret = rest("twilio"), secret_of("twilio")
    behind = {"public_url": "https://public.example.test/in"}
    sent = Sent([("X-Twilio-Signature", twilio_digest(secret, "https://public.example.test/in?x=1", [("a", "b")]))],
                body=b"a=b", url="http://10.0.0.1/hooks/twilio?x=1")
    recorder.add(sent, "accept", "behind another proxy: the public URL is signed", options=behind)
    recorder.add(sent, "reject", "behind another proxy, which the route does not say")
    got = Sent([("X-Twilio-Signature", twilio_digest(secret, URL + "?a=b", []))], body=b"", method="GET", url=URL + "?a=b")
    recorder.add(got, "accept", "GET: the parameters are in the URL")
    port = Sent([("X-Twilio-Signature", twilio_digest(secret, URL.replace(".test", ".test:443"), [("a", "b")]))], body=b"a=b")
    recorder.add(port, "accept", "signed with the port written out, as Twilio does for some URLs")
    twice = Sent([("X-Twilio-Signature", twilio_digest(secret, URL, [("a", "c"), ("a", "b"), ("a", "c")]))], body=b"a=c&a=b&a=c")
    recorder.add(twice, "accept", "a parameter with several values: each counts once, in order")
    json = b'{"a":1}'
    signed = URL + "?bodySHA256=" + hashlib.sha256(json).hexdigest()
    whole = Sent([("X-Twilio-Signature", twilio_digest(secret, signed, []))], body=json, url=signed)
    recorder.add(whole, "accept", "a JSON body by its digest in the URL")
    recorder.add(whole.copy(body=b'{"a":2}'), "reject", "another JSON body under that digest")
    bare = Sent([("X-Twilio-Signature", twilio_digest(secret, URL, []))], body=json)
    recorder.add(bare, "reject", "a JSON body that nothing signs")
    broken = Sent([("X-Twilio-Signature", twilio_digest(secret, URL, [("a", "%zz")]))], body=b"a=%zz")
    recorder.add(broken, "reject", "a form with a broken escape")


twilio_extra()
