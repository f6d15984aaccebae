"""JSON Web Tokens."""

import hashlib
import json

from keys import P256
from record import NOW, OTHER, Sent, b64, b64url, mac, provider, rest, secret_of

URL = "https://hooks.example.test/hooks/"
HASHES = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}


def jws(key, claims, algorithm="HS256", **header):
    part = lambda value: b64url(json.dumps(value).encode())
    content = f"{part({'typ': 'JWT', 'alg': algorithm, **header})}.{part(claims)}"
    if algorithm in HASHES:
        return f"{content}.{b64url(mac(HASHES[algorithm], key, content))}"
    return f"{content}.{b64url(key.sign_fixed(content.encode())) if algorithm == 'ES256' else ''}"


def sha256(body, write=bytes.hex):
    return write(hashlib.sha256(body).digest())


def misused(name, header, prefix, key, claims, secrets=None):
    """What is tried on tokens of every kind."""
    recorder = rest(name)
    add = lambda token, why: recorder.add(Sent([(header, prefix + token)], body=b"{}"), "reject", why)
    add(jws(key, claims, "none"), "a token that says it is not signed")
    add(jws(key, claims, "HS384" if name != "messagebird" else "HS1"), "another algorithm than the scheme's")
    add(jws(key, claims, crit=["b64"], b64=False), "a token with extensions that must be understood")
    add(jws(key, claims).rsplit(".", 1)[0], "two parts")
    add(jws(key, claims) + ".AAAA", "four parts")
    add(jws(key, claims) + "=", "padding, which tokens have not")


@provider("netlify", event={"id": "d1:ready", "signed": True, "type": "deploy_created"}, body=b'{"id":"d1","state":"ready"}', digits=False)
def netlify(secrets, body, now, **changes):
    token = jws(secrets["signing"], {"iss": "netlify", "sha256": sha256(body), **changes})
    return Sent([("X-Webhook-Signature", token)], [("X-Netlify-Event", "deploy_created")], body=body)


secret = {"signing": secret_of("netlify")}
rest("netlify").add(netlify(secret, b"{}", NOW, iss="other"), "reject", "another issuer")
rest("netlify").add(netlify(secret, b"{}", NOW, sha256=sha256(b"{}").upper()), "reject", "the digest in upper case")
rest("netlify").add(netlify(secret, b"{}", NOW, sha256=None), "reject", "no digest")
misused("netlify", "X-Webhook-Signature", "", secret["signing"], {"iss": "netlify", "sha256": sha256(b"{}")})


@provider("vonage", stamped=True, event={"id": "c5ba", "signed": True}, digits=False)
def vonage(secrets, body, now, **changes):
    claims = {"iat": now, "jti": "c5ba", "iss": "Vonage", "payload_hash": sha256(body), "api_key": "a1b2c3d", **changes}
    claims = {name: value for name, value in claims.items() if value is not None}
    return Sent([("Authorization", "Bearer " + jws(secrets["signing"], claims))], body=body)


secret = {"signing": secret_of("vonage")}
rest("vonage").add(vonage(secret, b"{}", NOW), "accept", "the account's own API key", options={"api_key": "a1b2c3d"})
rest("vonage").add(vonage(secret, b"{}", NOW), "reject", "another account's API key", options={"api_key": "other"})
rest("vonage").add(vonage(secret, b"{}", NOW, payload_hash=None), "reject", "no digest of the body")
rest("vonage").add(vonage(secret, b"{}", NOW, iat=None), "reject", "no time")
rest("vonage").add(vonage(secret, b"{}", NOW, iat="soon"), "reject", "a time that is none")
misused("vonage", "Authorization", "Bearer ", secret["signing"], {"iat": NOW, "payload_hash": sha256(b"{}")})


@provider("livekit", options={"api_key": "APIabc"}, event={"id": "EV_1", "signed": True, "type": "room_started"}, stamped=True,
          body=b'{"event":"room_started","id":"EV_1","createdAt":"1790000000"}', digits=False)
def livekit(secrets, body, now, **changes):
    claims = {"iss": "APIabc", "nbf": now, "exp": now + 300, "sha256": sha256(body, b64), **changes}
    claims = {name: value for name, value in claims.items() if value is not None}
    return Sent([("Authorization", jws(secrets["signing"], claims))], body=body)


secret = {"signing": secret_of("livekit")}
rest("livekit").add(livekit(secret, b"{}", NOW, iss="APIxyz"), "reject", "another API key")
rest("livekit").add(livekit(secret, b"{}", NOW, exp=None), "reject", "a token that never runs out")
rest("livekit").add(livekit(secret, b"{}", NOW, exp=NOW - 100), "reject", "a token that has run out")
rest("livekit").add(livekit(secret, b"{}", NOW, nbf=None), "accept", "a token without a beginning")
rest("livekit").add(livekit(secret, b"{}", NOW, sha256=sha256(b"{}")), "reject", "the digest in hex")
misused("livekit", "Authorization", "", secret["signing"], {"iss": "APIabc", "exp": NOW + 300, "sha256": sha256(b"{}", b64)})


@provider("messagebird", event={"id": "e8a9", "signed": True}, stamped=True, digits=False)
def messagebird(secrets, body, now, url=URL + "messagebird", algorithm="HS256", **changes):
    claims = {"iss": "MessageBird", "nbf": now, "exp": now + 600, "jti": "e8a9", "url_hash": sha256(url.encode()), "payload_hash": sha256(body), **changes}
    claims = {name: value for name, value in claims.items() if value is not None}
    return Sent([("MessageBird-Signature-JWT", jws(secrets["signing"], claims, algorithm))], body=body)


secret = {"signing": secret_of("messagebird")}
for algorithm in ["HS384", "HS512"]:
    rest("messagebird").add(messagebird(secret, b"{}", NOW, algorithm=algorithm), "accept", f"{algorithm}, which the library allows")
got = messagebird(secret, b"", NOW, URL + "messagebird?id=1", payload_hash=None).copy(method="GET", url=URL + "messagebird?id=1")
rest("messagebird").add(got, "accept", "GET: the query is signed, there is no body")
rest("messagebird").add(got.copy(url=URL + "messagebird?id=2"), "reject", "GET: another query")
rest("messagebird").add(got.copy(body=b"{}"), "reject", "a body that is not signed")
rest("messagebird").add(messagebird(secret, b"{}", NOW, iss="other"), "reject", "another issuer")
rest("messagebird").add(messagebird(secret, b"{}", NOW, exp=None), "reject", "a token that never runs out")
rest("messagebird").add(messagebird(secret, b"{}", NOW, exp=NOW - 100), "reject", "a token that has run out")
rest("messagebird").add(messagebird(secret, b"{}", NOW, jti=None), "reject", "no jti")
rest("messagebird").add(messagebird(secret, b"{}", NOW - 400, nbf=None, iat=NOW - 400), "reject", "an old token that says when it was issued")
sent = messagebird(secret, b"{}", NOW, "https://public.example.test/in")
rest("messagebird").add(sent, "accept", "behind another proxy", options={"public_url": "https://public.example.test/in"})
rest("messagebird").add(sent, "reject", "behind another proxy, which the route does not say")
misused("messagebird", "MessageBird-Signature-JWT", "", secret["signing"],
        {"iss": "MessageBird", "exp": NOW + 60, "jti": "a", "url_hash": sha256((URL + "messagebird").encode()), "payload_hash": sha256(b"{}")})


@provider("qstash", event={"id": "jwt_1", "signed": True}, stamped=True, digits=False, secrets={"signing": "sig_" + secret_of("qstash")},
          other={"signing": "sig_" + secret_of("qstash/other")})
def qstash(secrets, payload, now, url=URL + "qstash", **changes):
    claims = {"iss": "Upstash", "sub": url, "iat": now, "nbf": now, "exp": now + 300, "jti": "jwt_1", "body": sha256(payload, b64url) + "=", **changes}
    claims = {name: value for name, value in claims.items() if value is not None}
    return Sent([("Upstash-Signature", jws(secrets["signing"], claims))], body=payload)


secret = {"signing": "sig_" + secret_of("qstash")}
rest("qstash").add(qstash(secret, b"{}", NOW, body=sha256(b"{}", b64url)), "accept", "the digest without padding, which the library allows")
rest("qstash").add(qstash(secret, b"{}", NOW, sub=URL + "other"), "reject", "another URL")
rest("qstash").add(qstash(secret, b"{}", NOW, iss="other"), "reject", "another issuer")
rest("qstash").add(qstash(secret, b"{}", NOW, exp=None), "reject", "a token that never runs out")
rest("qstash").add(qstash(secret, b"{}", NOW, exp=NOW - 100), "reject", "a token that has run out")
rest("qstash").add(qstash(secret, b"{}", NOW, nbf=NOW + 100), "reject", "a token that does not hold yet")
misused("qstash", "Upstash-Signature", "", secret["signing"],
        {"iss": "Upstash", "sub": URL + "qstash", "iat": NOW, "exp": NOW + 300, "body": sha256(b"{}", b64url)})

PLAID, STRANGER = P256("plaid", "jwk"), P256("plaid/other", "jwk")


@provider("plaid", secrets={"public_key": PLAID}, other={"public_key": STRANGER}, stamped=True, digits=False,
          event={"type": "TRANSACTIONS.SYNC_UPDATES_AVAILABLE"}, body=b'{"webhook_type":"TRANSACTIONS","webhook_code":"SYNC_UPDATES_AVAILABLE"}')
def plaid(secrets, body, now, **changes):
    claims = {"iat": now, "request_body_sha256": sha256(body), **changes}
    claims = {name: value for name, value in claims.items() if value is not None}
    return Sent([("Plaid-Verification", jws(secrets["public_key"], claims, "ES256", kid="plaid"))], body=body)


rest("plaid").add(plaid({"public_key": PLAID}, b"{}", NOW, iat=None), "reject", "no time")
rest("plaid").add(plaid({"public_key": PLAID}, b"{}", NOW, request_body_sha256=None), "reject", "no digest of the body")
confused = jws(PLAID.public, {"iat": NOW, "request_body_sha256": sha256(b"{}")})
rest("plaid").add(Sent([("Plaid-Verification", confused)], body=b"{}"), "reject", "HS256 with the public key as its secret")
