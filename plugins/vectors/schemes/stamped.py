"""Schemes that sign a time with the body."""

import base64
import datetime

from keys import Ed25519
from record import NOW, Sent, b64, b64url, mac, provider, rest, secret_of


def iso(now, zone="Z"):
    return datetime.datetime.fromtimestamp(now, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S") + zone


def stamped(name, header, *, write=bytes.hex, unit=1, space="", **more):
    """A provider that sends `t=…,v1=…`."""

    def sign(secrets, body, now):
        digest = write(mac("sha256", secrets["signing"], f"{now * unit}.", body))
        return Sent([(header, f"t={now * unit},{space}v1={digest}")], more.get("extra", ()), body=body)

    provider(name, stamped=True, **{key: value for key, value in more.items() if key != "extra"})(sign)
    return sign


stamped("calendly", "Calendly-Webhook-Signature", event={"type": "invitee.created"}, body=b'{"event":"invitee.created","payload":{}}')
stamped("mux", "Mux-Signature", event={"id": "evt_1042", "signed": True, "type": "payment.succeeded"})
stamped("sanity", "sanity-webhook-signature", write=b64url, unit=1000, digits=False,
        extra=[("idempotency-key", "i-1"), ("sanity-operation", "update")], event={"id": "i-1", "signed": False, "type": "update"})
workos = stamped("workos", "WorkOS-Signature", unit=1000, space=" ", body=b'{"id":"wh_1","event":"dsync.user.created"}',
                 event={"id": "wh_1", "signed": True, "type": "dsync.user.created"})
close = workos({"signing": secret_of("workos")}, b"{}", NOW)
close.headers[0][1] = close.headers[0][1].replace(" ", "")
rest("workos").add(close, "accept", "without a space after the comma")
close = close.copy(headers=[["WorkOS-Signature", close.headers[0][1].replace(",", ",  ")]])
rest("workos").add(close, "reject", "with two spaces after the comma")

for name, header in [("calendly", "Calendly-Webhook-Signature"), ("mux", "Mux-Signature")]:
    digest = mac("sha256", secret_of(name), f"{NOW}.", b"{}").hex()
    for value, why in [
        (f"v1={digest}", "no time"), (f"t={NOW},t={NOW},v1={digest}", "two times"), (f"t=+{NOW},v1={digest}", "a time with a sign"),
        (f"t={NOW}", "no signature"), (f"t={NOW},v0={digest}", "another version"), (f"t={NOW};v1={digest}", "another separator"),
    ]:
        rest(name).add(Sent([(header, value)], body=b"{}"), "reject", why)


def whsec(name):
    return "whsec_" + b64(secret_of(name).encode())


def standard(name, prefix, body, kind, options=None, extra=()):
    @provider(name, secrets={"signing": whsec(name)}, other={"signing": whsec(name + "/other")}, stamped=True, body=body,
              options=options, event={"id": "msg_1", "signed": True, "type": kind})
    def sign(secrets, body, now):
        key = base64.b64decode(secrets["signing"].removeprefix("whsec_"))
        digest = b64(mac("sha256", key, f"msg_1.{now}.", body))
        headers = [(f"{prefix}-signature", f"v1,{digest}"), (f"{prefix}-id", "msg_1"), (f"{prefix}-timestamp", str(now))]
        return Sent(headers, extra, body=body)

    bare = sign({"signing": whsec(name)}, b"{}", NOW)
    recorder = rest(name)
    dotted = bare.copy(headers=[bare.headers[0], [f"{prefix}-id", "msg.1"], bare.headers[2]])
    recorder.add(dotted, "reject", "an id with a dot, which could move the border")
    twice = [f"{prefix}-signature", "v1a,AA== " + bare.headers[0][1]]
    recorder.add(bare.copy(headers=[twice] + bare.headers[1:]), "accept", "a signature of another version first")


standard("clerk", "svix", b'{"type":"user.created","data":{"id":"user_1"},"object":"event"}', "user.created")
standard("openai", "webhook", b'{"object":"event","id":"evt_1","type":"response.completed","data":{}}', "response.completed")
standard("gitlab", "webhook", b'{"object_kind":"push"}', "Push Hook", {"scheme": "signing"}, [("X-Gitlab-Event", "Push Hook")])


def gitlab_token():
    recorder, secrets = rest("gitlab"), {"signing": ["glsec-1"]}
    sent = Sent([("X-Gitlab-Token", "glsec-1")], [("X-Gitlab-Event", "Push Hook"), ("Idempotency-Key", "f5e5")], body=b"{}")
    found = {"id": "f5e5", "signed": False, "type": "Push Hook"}
    recorder.add(sent, "accept", "the token, which is the default", secrets=secrets, options={}, event=found)
    recorder.add(sent, "accept", "the token by name", secrets=secrets, options={"scheme": "token"}, event=found)
    recorder.add(sent, "reject", "another token", secrets={"signing": ["glsec-2"]}, options={})
    for value, why in [("", "empty"), ("glsec-", "cut short"), ("glsec-1 ", "followed by a space"), ("GLSEC-1", "in another case")]:
        recorder.add(sent.copy(headers=[["X-Gitlab-Token", value]]), "reject", f"the token {why}", secrets=secrets, options={})
    recorder.add(sent.copy(headers=[]), "reject", "no token", secrets=secrets, options={})
    recorder.add(sent.copy(headers=sent.headers * 2), "reject", "two tokens", secrets=secrets, options={})
    recorder.add(sent, "reject", "a token where a signature is configured", secrets={"signing": [whsec("gitlab")]})


gitlab_token()


@provider("zendesk", stamped=True, body=b'{"id":"1f2e","type":"zen:event-type:ticket.created"}',
          event={"id": "1f2e", "signed": True, "type": "zen:event-type:ticket.created"})
def zendesk(secrets, body, now):
    digest = b64(mac("sha256", secrets["signing"], iso(now), body))
    return Sent([("X-Zendesk-Webhook-Signature", digest), ("X-Zendesk-Webhook-Signature-Timestamp", iso(now))], body=body)


@provider("zoom", stamped=True, body=b'{"event":"meeting.started","payload":{}}', event={"type": "meeting.started"})
def zoom(secrets, body, now):
    digest = mac("sha256", secrets["signing"], f"v0:{now}:", body).hex()
    return Sent([("x-zm-signature", "v0=" + digest), ("x-zm-request-timestamp", str(now))], body=body)


def zoom_validation():
    recorder, secret = rest("zoom"), {"signing": secret_of("zoom")}
    ask = lambda token: b'{"payload":{"plainToken":"%s"},"event":"endpoint.url_validation"}' % token
    proof = mac("sha256", secret["signing"], "qgg8vlvZRS6UYooatFL8Aw").hex()
    reply = '{"plainToken":"qgg8vlvZRS6UYooatFL8Aw","encryptedToken":"%s"}' % proof
    recorder.add(zoom(secret, ask(b"qgg8vlvZRS6UYooatFL8Aw"), NOW), "respond", "the validation of the URL", reply=reply)
    forged = zoom({"signing": "x"}, ask(b"qgg8vlvZRS6UYooatFL8Aw"), NOW)
    recorder.add(forged, "reject", "a validation that Zoom did not sign")
    # Were this answered, its answer would be the signature of an event.
    recorder.add(zoom(secret, ask(b"v0:1790000000:{}"), NOW), "reject", "a token that looks like signed content")
    recorder.add(zoom(secret, ask(b"a" * 300), NOW), "reject", "a token that is too long")


zoom_validation()


@provider("telnyx", secrets={"public_key": Ed25519("telnyx", "base64")}, other={"public_key": Ed25519("telnyx/other", "base64")},
          stamped=True, body=b'{"data":{"id":"0ccc","event_type":"message.received"}}',
          event={"id": "0ccc", "signed": True, "type": "message.received"})
def telnyx(secrets, body, now):
    signature = b64(secrets["public_key"].sign(f"{now}|".encode() + body))
    return Sent([("telnyx-signature-ed25519", signature), ("telnyx-timestamp", str(now))], body=body)


@provider("sinch", stamped=True, event={})
def sinch(secrets, body, now):
    digest = b64(mac("sha256", secrets["signing"], body, f".01FJA8B4A7BM43YGWSG9GBV067.{now}"))
    name = "x-sinch-webhook-signature"
    return Sent([(name, digest), (name + "-nonce", "01FJA8B4A7BM43YGWSG9GBV067"), (name + "-timestamp", str(now)),
                 (name + "-algorithm", "HmacSHA256")], body=body)


@provider("box", stamped=True, body=b'{"type":"webhook_event","id":"eb0c","trigger":"FILE.UPLOADED"}',
          event={"id": "eb0c", "signed": True, "type": "FILE.UPLOADED"})
def box(secrets, body, now, zone=("Z", 0)):
    time = iso(now + zone[1], zone[0])
    digest = b64(mac("sha256", secrets["signing"], body, time))
    return Sent([("BOX-SIGNATURE-PRIMARY", digest), ("BOX-DELIVERY-TIMESTAMP", time), ("BOX-SIGNATURE-VERSION", "1"),
                 ("BOX-SIGNATURE-ALGORITHM", "HmacSHA256")], body=body)


def box_keys():
    recorder, secret = rest("box"), {"signing": secret_of("box")}
    there = box(secret, b"{}", NOW, ("-07:00", -7 * 3600))
    recorder.add(there, "accept", "a time with an offset", event={"timestamp": NOW})
    other = there.copy(headers=[["BOX-SIGNATURE-PRIMARY", b64(b"\0" * 32)], ["BOX-SIGNATURE-SECONDARY", there.headers[0][1]]] + there.headers[1:])
    recorder.add(other, "accept", "the secondary signature is ours")
    recorder.add(there.copy(headers=there.headers[:2] + [["BOX-SIGNATURE-VERSION", "2"], there.headers[3]]), "reject", "another version")


box_keys()


@provider("cloudinary", stamped=True, event={"type": "upload"}, body=b'{"notification_type":"upload","public_id":"a"}')
def cloudinary(secrets, body, now, hash="sha1"):
    import hashlib
    digest = hashlib.new(hash, body + str(now).encode() + secrets["signing"].encode()).hexdigest()
    return Sent([("X-Cld-Signature", digest), ("X-Cld-Timestamp", str(now))], body=body)


wide = cloudinary({"signing": secret_of("cloudinary")}, b"{}", NOW, "sha256")
rest("cloudinary").add(wide, "accept", "SHA-256, as the route says", options={"hash": "sha256"})
rest("cloudinary").add(wide, "reject", "SHA-256, where the route says nothing")
