"""The generic plugins, whose schemes routes describe."""

import hashlib

from keys import P256, Ed25519, Rsa
from record import NOW, Sent, b64, b64url, mac, provider, rest, secret_of
from schemes.stamped import iso
from schemes.tokens import jws, misused, sha256

HMAC = {"header": "X-Acme-Signature", "id_pointer": "/id", "type_pointer": "/type"}


@provider("hmac", options=HMAC, event={"id": "evt_1042", "signed": True, "type": "payment.succeeded"})
def hmac(secrets, body, now):
    return Sent([("X-Acme-Signature", mac("sha256", secrets["signing"], body).hex())], body=body)


def hmac_variants():
    recorder, secret = rest("hmac"), secret_of("hmac")

    def add(options, headers, why, event=None, expect="accept", body=b"{}", url=None, now=NOW, **more):
        more = {**more, "event": event} if event is not None else more
        recorder.add(Sent(headers, body=body, url=url), expect, why, options=options, now=now, **more)

    for hash in ["sha1", "sha256", "sha384", "sha512"]:
        for encoding, write in [("hex", bytes.hex), ("base64", b64), ("base64url", b64url)]:
            options = {"header": "x-s", "hash": hash, "encoding": encoding, "prefix": hash + "="}
            add(options, [("x-s", f"{hash}={write(mac(hash, secret, b'{}'))}")], f"{hash} in {encoding} behind a prefix", {})
            add(options, [("x-s", write(mac(hash, secret, b"{}")))], f"{hash} in {encoding} without its prefix", expect="reject")
    timed = {"header": "x-s", "content": "{timestamp}.{body}", "timestamp_header": "x-t"}
    digest = mac("sha256", secret, f"{NOW}.", b"{}").hex()
    add(timed, [("x-s", digest), ("x-t", str(NOW))], "a signed time", {"timestamp": NOW})
    add(timed, [("x-s", digest), ("x-t", str(NOW))], "a signed time, stale", expect="reject", now=NOW + 400)
    add(timed, [("x-s", digest), ("x-t", str(NOW + 1))], "a signed time, changed", expect="reject")
    add(timed, [("x-s", digest)], "no time", expect="reject")
    millis = mac("sha256", secret, f"{NOW}000.", b"{}").hex()
    add({**timed, "timestamp_unit": "milliseconds"}, [("x-s", millis), ("x-t", f"{NOW}000")], "a time in milliseconds", {"timestamp": NOW})
    dated = mac("sha256", secret, iso(NOW) + ".", b"{}").hex()
    add({**timed, "timestamp_unit": "rfc3339"}, [("x-s", dated), ("x-t", iso(NOW))], "a time of RFC 3339", {"timestamp": NOW})
    listed = {"header": "x-s", "content": "{timestamp}.{body}", "separator": ",", "signature_field": "v1", "timestamp_field": "t"}
    add(listed, [("x-s", f"t={NOW},v1={'0' * 64},v1={digest},v0=x")], "a list of fields", {"timestamp": NOW})
    add(listed, [("x-s", f"t={NOW},t={NOW},v1={digest}")], "a list with two times", expect="reject")
    add(listed, [("x-s", f"v1={digest}")], "a list without a time", expect="reject")
    add(listed, [("x-s", f"t={NOW}")], "a list without a signature", expect="reject")
    named = {"header": "x-s", "content": "{id}|{header:X-Shop}|{body}", "id_header": "X-Id", "type_header": "X-Topic"}
    named_digest = mac("sha256", secret, "7|a|", b"{}").hex()
    head = [("x-s", named_digest), ("x-id", "7"), ("x-shop", "a"), ("x-topic", "sold")]
    add(named, head, "id and headers in the content", {"id": "7", "signed": True, "type": "sold"})
    add(named, head[:1] + [("x-id", "8")] + head[2:], "the id changed", expect="reject")
    add(named, head[:2] + head[3:], "a signed header missing", expect="reject")
    add({"header": "x-s", "id_header": "x-id"}, [("x-s", mac("sha256", secret, b"{}").hex()), ("x-id", "7")], "an id beside the signature", {"id": "7", "signed": False})
    whole = {"header": "x-s", "content": "{method}\n{url}\n{target}\n{body}", "public_url": "https://public.example.test/in"}
    text = "POST\nhttps://public.example.test/in?a=1\n/hooks/hmac?a=1\n"
    add(whole, [("x-s", mac("sha256", secret, text, b"{}").hex())], "method, URL and target", {}, url="https://hooks.example.test/hooks/hmac?a=1")
    add(whole, [("x-s", mac("sha256", secret, text, b"{}").hex())], "another query", expect="reject", url="https://hooks.example.test/hooks/hmac?a=2")
    key = {"header": "x-s", "key": "base64", "strip": "whsec_"}
    add(key, [("x-s", mac("sha256", b"key bytes", b"{}").hex())], "a key in base64 behind a prefix", {}, secrets={"signing": ["whsec_" + b64(b"key bytes")]})
    add({**key, "key": "hex", "strip": ""}, [("x-s", mac("sha256", b"key bytes", b"{}").hex())], "a key in hex", {}, secrets={"signing": [b"key bytes".hex()]})
    many = {"header": "x-s", "separator": " ", "prefix": "v1,", "encoding": "base64"}
    add(many, [("x-s", f"v2,x v1,{b64(mac('sha256', secret, b'{}'))}")], "several signatures", {})
    add(many, [("x-s", " ".join(["v1," + b64(b"0" * 32)] * 17))], "seventeen signatures", expect="reject")


hmac_variants()


@provider("ed25519", secrets={"public_key": Ed25519("ed25519")}, other={"public_key": Ed25519("ed25519/other")}, stamped=True,
          options={"header": "X-Acme-Signature", "content": "{timestamp}{body}", "timestamp_header": "X-Acme-Time", "id_pointer": "/id"},
          event={"id": "evt_1042", "signed": True})
def ed25519(secrets, body, now):
    signature = secrets["public_key"].sign(str(now).encode() + body).hex()
    return Sent([("X-Acme-Signature", signature), ("X-Acme-Time", str(now))], body=body)


def ed25519_keys():
    pair = Ed25519("ed25519", "base64")
    for write, encoding in [(b64, "base64"), (b64url, "base64url")]:
        sent = Sent([("x-s", write(pair.sign(b"{}")))], body=b"{}")
        options = {"header": "x-s", "key": "base64", "encoding": encoding}
        rest("ed25519").add(sent, "accept", f"key in base64, signature in {encoding}", options=options, secrets={"public_key": [pair.public]})
    listed = Sent([("x-s", f"{'0' * 128},{pair.sign(b'{}').hex()}")], body=b"{}")
    options = {"header": "x-s", "separator": ","}
    rest("ed25519").add(listed, "accept", "several signatures, ours last", options=options)
    flood = listed.copy(headers=[["x-s", ",".join(["0" * 128] * 4 + [pair.sign(b"{}").hex()])]])
    rest("ed25519").add(flood, "reject", "five signatures", options=options)
    rest("ed25519").add(listed.copy(headers=[["x-s", ""]]), "reject", "a list without a signature", options=options)


ed25519_keys()


@provider("token", options={"header": "X-Acme-Token", "id_pointer": "/id", "type_header": "X-Acme-Event"}, second=None, tampered=False,
          event={"id": "evt_1042", "signed": False, "type": "sold"})
def token(secrets, body, now):
    return Sent([("X-Acme-Token", secrets["signing"])], [("X-Acme-Event", "sold")], body=body)


def token_variants():
    recorder, secret = rest("token"), secret_of("token")
    bearer = {"prefix": "Bearer "}
    recorder.add(Sent([("Authorization", "Bearer " + secret)]), "accept", "a bearer token", options=bearer)
    recorder.add(Sent([("Authorization", "bearer " + secret)]), "reject", "a bearer token in another case", options=bearer)
    recorder.add(Sent([("Authorization", secret)]), "reject", "a bearer token without its prefix", options=bearer)
    pair = {"signing": ["acme:open sesame"]}
    basic = lambda text: Sent([("Authorization", "Basic " + b64(text))])
    recorder.add(basic(b"acme:open sesame"), "accept", "user and password", options={"basic": True}, secrets=pair)
    recorder.add(basic(b"acme:open sesam"), "reject", "another password", options={"basic": True}, secrets=pair)
    recorder.add(basic(b":"), "reject", "empty credentials", options={"basic": True}, secrets=pair)
    recorder.add(Sent([("Authorization", "Basic !")]), "reject", "credentials that are not base64", options={"basic": True}, secrets=pair)
    recorder.add(Sent(), "reject", "no credentials", options={"basic": True}, secrets=pair)


token_variants()

JWT = {"algorithm": "HS256", "issuer": "acme", "audience": "us", "body_claim": "sha256", "type_pointer": "/type"}


@provider("jwt", options=JWT, stamped=True, digits=False, event={"id": "j1", "signed": True, "type": "payment.succeeded"})
def jwt(secrets, body, now, **changes):
    claims = {"iss": "acme", "aud": ["them", "us"], "iat": now, "jti": "j1", "sha256": sha256(body), **changes}
    claims = {name: value for name, value in claims.items() if value is not None}
    return Sent([("Authorization", "Bearer " + jws(secrets["signing"], claims))], body=body)


def jwt_variants():
    recorder, secret = rest("jwt"), {"signing": secret_of("jwt")}
    for name, value, why in [("iss", "other", "another issuer"), ("aud", "them", "another audience"), ("aud", None, "no audience"),
                             ("sha256", None, "no digest"), ("exp", NOW - 100, "a token that has run out"), ("nbf", NOW + 100, "a token that does not hold yet")]:
        recorder.add(jwt(secret, b"{}", NOW, **{name: value}), "reject", why)
    misused("jwt", "Authorization", "Bearer ", secret["signing"], {"iss": "acme", "aud": "us", "sha256": sha256(b"{}")})
    bare = {"algorithm": "HS256", "header": "X-Token"}
    ticket = jws(secret["signing"], {"exp": NOW + 60})
    recorder.add(Sent([("X-Token", ticket)]), "accept", "a header of its own, nothing of the body signed", options=bare)
    recorder.add(Sent([("X-Token", jws(secret["signing"], {}))]), "reject", "nothing of the body signed, and never over", options=bare)
    pair = P256("jwt", "jwk")
    claims = {"exp": NOW + 60, "sub": "https://a"}
    options = {"algorithm": "ES256", "key": "jwk", "subject": "https://a"}
    sent = Sent([("Authorization", "Bearer " + jws(pair, claims, "ES256"))])
    recorder.add(sent, "accept", "ES256 with a JWK", options=options, secrets={"public_key": [pair.public]})
    recorder.add(sent, "reject", "another subject", options={**options, "subject": "https://b"}, secrets={"public_key": [pair.public]})
    spki = {"algorithm": "ES256", "key": "spki"}
    recorder.add(sent, "accept", "ES256 with a SubjectPublicKeyInfo", options=spki, secrets={"public_key": [P256("jwt").public]})
    confused = Sent([("Authorization", "Bearer " + jws(pair.public, claims))])
    recorder.add(confused, "reject", "HS256 with the public key as its secret", options=options, secrets={"public_key": [pair.public]})
    rsa = Rsa("rsa")
    header = b64url(b'{"alg":"RS256"}') + "." + b64url(b'{"exp":1790000060}')
    sent = Sent([("Authorization", f"Bearer {header}.{b64url(rsa.sign(header.encode()))}")])
    recorder.add(sent, "accept", "RS256 with a certificate", options={"algorithm": "RS256"}, secrets={"public_key": [rsa.public]})


jwt_variants()
