"""Schemes that sign the URL or the head."""

import base64
import hashlib

from record import NOW, Sent, b64, mac, provider, rest, secret_of
from schemes.stamped import iso

HOST = "https://hooks.example.test"
BEHIND = {"public_url": "https://public.example.test/in"}


def behind(name, sign, options=None):
    """The same provider, calling a proxy before the gateway."""
    secret = {"signing": secret_of(name)}
    sent = sign(secret, b"{}", NOW, BEHIND["public_url"] + "?a=1")
    sent.url = "http://10.0.0.1:8080/hooks?a=1"
    rest(name).add(sent, "accept", "behind another proxy: the public URL is signed", options={**(options or {}), **BEHIND})
    rest(name).add(sent, "reject", "behind another proxy, which the route does not say")
    sent = sent.copy(url="http://10.0.0.1:8080/hooks?a=2")
    rest(name).add(sent, "reject", "another query", options={**(options or {}), **BEHIND})


@provider("square", body=b'{"event_id":"6a8f","type":"payment.updated"}', event={"id": "6a8f", "signed": True, "type": "payment.updated"})
def square(secrets, body, now, url=HOST + "/hooks/square"):
    return Sent([("x-square-hmacsha256-signature", b64(mac("sha256", secrets["signing"], url, body)))], body=body)


behind("square", square)


@provider("trello", body=b'{"action":{"id":"4f","type":"updateCard"},"model":{}}', event={"id": "4f", "signed": True, "type": "updateCard"})
def trello(secrets, body, now, url=HOST + "/hooks/trello"):
    return Sent([("X-Trello-Webhook", b64(mac("sha1", secrets["signing"], body, url)))], body=body)


behind("trello", trello)
rest("trello").add(Sent(body=b"", method="HEAD"), "respond", "the HEAD when a webhook is made")


@provider("hubspot", stamped=True, event={}, body=b'[{"eventId":1,"subscriptionType":"contact.creation"}]')
def hubspot(secrets, body, now, url=HOST + "/hooks/hubspot"):
    digest = b64(mac("sha256", secrets["signing"], "POST", url, body, str(now * 1000)))
    return Sent([("X-HubSpot-Signature-v3", digest), ("X-HubSpot-Request-Timestamp", str(now * 1000))], body=body)


behind("hubspot", hubspot)


def hubspot_versions():
    recorder, secret = rest("hubspot"), secret_of("hubspot")
    hashed = lambda *parts: hashlib.sha256("".join(parts).encode()).hexdigest()
    one = Sent([("X-HubSpot-Signature", hashed(secret, "{}"))], body=b"{}")
    two = Sent([("X-HubSpot-Signature", hashed(secret, "POST", HOST + "/hooks/hubspot", "{}"))], body=b"{}")
    for version, sent, other in [("v1", one, two), ("v2", two, one)]:
        options = {"version": version}
        recorder.add(sent, "accept", f"version {version}", options=options, event={})
        recorder.add(other, "reject", f"another version than {version}", options=options)
        recorder.add(sent.copy(body=b"{ }"), "reject", f"version {version}, another body", options=options)
        recorder.add(sent, "reject", f"version {version}, another secret", options=options, secrets={"signing": ["x"]})
        recorder.add(sent.copy(headers=[]), "reject", f"version {version}, no signature", options=options)
        upper = [["X-HubSpot-Signature", sent.headers[0][1].upper()]]
        recorder.add(sent.copy(headers=upper), "reject", f"version {version}, in upper case", options=options)
        recorder.add(sent, "reject", f"version {version} where v3 is configured")
    got = two.copy(method="PUT")
    recorder.add(got, "reject", "version v2, another method", options={"version": "v2"})
    escaped = hubspot({"signing": secret}, b"{}", NOW, HOST + "/hooks/hubspot?to=a@b:c")
    escaped.url = HOST + "/hooks/hubspot?to=a%40b%3Ac"
    recorder.add(escaped, "accept", "escapes of the URL decoded before it was signed, as the page says")
    recorder.add(escaped.copy(url=HOST + "/hooks/hubspot?to=a%40b%3Ad"), "reject", "another query in escapes")


hubspot_versions()


@provider("contentful", stamped=True, event={"type": "ContentManagement.Entry.publish"})
def contentful(secrets, body, now, path="/hooks/contentful", method="POST", headers=None):
    headers = headers or {"x-contentful-timestamp": str(now * 1000), "x-contentful-topic": "ContentManagement.Entry.publish"}
    listed = ",".join(sorted([*headers, "x-contentful-signed-headers"]))
    headers = {**headers, "x-contentful-signed-headers": listed}
    lines = ";".join(f"{name}:{headers[name]}" for name in sorted(headers))
    digest = mac("sha256", secrets["signing"], "\n".join([method, path, lines, ""]), body).hex()
    return Sent([("x-contentful-signature", digest), *headers.items()], body=body, method=method)


def contentful_extra():
    recorder, secret = rest("contentful"), {"signing": secret_of("contentful")}
    untimed = contentful(secret, b"{}", NOW, headers={"x-contentful-topic": "t"})
    untimed.headers.append(["x-contentful-timestamp", str(NOW * 1000)])
    recorder.add(untimed, "reject", "a time that is not among the signed headers")
    topic = contentful(secret, b"{}", NOW)
    topic.headers[2][1] = "ContentManagement.Entry.delete"
    recorder.add(topic, "reject", "a signed header changed")
    query = contentful(secret, b"{}", NOW, "/hooks/contentful?a=1")
    query.url = HOST + "/hooks/contentful?a=1"
    recorder.add(query, "reject", "a URL with a query")
    recorder.add(contentful(secret, b"", NOW, method="DELETE"), "accept", "another method, no body")
    recorder.add(contentful(secret, b"", NOW, method="DELETE").copy(method="PUT"), "reject", "the method changed")
    sent = contentful(secret, b"{}", NOW, "/in")
    sent.url = "http://10.0.0.1/hooks/contentful"
    recorder.add(sent, "accept", "behind another proxy", options=BEHIND)


contentful_extra()

VOICE = {"key": "669E367E-6BBA-48AB-AF15-266871C28135"}


@provider("sinch-voice", secrets={"signing": "BeIukql3pTKJ8RGL5zo0DA=="}, other={"signing": "AAIukql3pTKJ8RGL5zo0DA=="}, options=VOICE,
          stamped=True, event={"type": "ace"}, body=b'{"event":"ace","callid":"822aa4b7","version":1}')
def sinch_voice(secrets, body, now, path="/hooks/sinch-voice", scheme="application", time=None):
    time = time or iso(now)
    content = "\n".join(["POST", b64(hashlib.md5(body).digest()), "application/json", "x-timestamp:" + time, path])
    digest = b64(mac("sha256", base64.b64decode(secrets["signing"]), content))
    return Sent([("Authorization", f"{scheme} {VOICE['key']}:{digest}"), ("x-timestamp", time), ("Content-Type", "application/json")], body=body)


def sinch_voice_published():
    recorder, secret = rest("sinch-voice"), {"signing": "BeIukql3pTKJ8RGL5zo0DA=="}
    # The example of Sinch's own page, signature and all.
    body = (b'{"event":"ace","callid":"822aa4b7-05b4-4d83-87c7-1f835ee0b6f6_257",'
            b'"timestamp":"2014-09-24T10:59:41Z","version":1}')
    sent = sinch_voice(secret, body, NOW, "/sinch/callback/ace", time="2014-09-24T10:59:41Z")
    sent.url = "https://callbacks.yourdomain.com/sinch/callback/ace"
    assert b64(hashlib.md5(body).digest()) == "REWF+X220L4/Gw1spXOU7g=="
    assert sent.headers[0][1].split(":")[1].startswith("Tg6fMyo8mj9pYfWQ9"), sent.headers
    recorder.add(sent, "accept", "the example of Sinch's page", now=1411556381)
    plain = sinch_voice(secret, b"{}", NOW, scheme="Application")
    recorder.add(plain, "accept", "the scheme's name in upper case, as other pages write it")
    recorder.add(plain, "reject", "another application", options={"key": "669E367E"})
    recorder.add(plain.copy(headers=[plain.headers[0], plain.headers[1], ["Content-Type", "text/plain"]]), "reject", "another content type")


sinch_voice_published()
