"""Records requests as their providers send them, and as a forger would: the vectors beside each plugin.

Each scheme is written once more here, over Python's own hmac and the `cryptography` package, so that a vector is not
the plugin's opinion of itself. `python3 make.py` writes them, `cargo test -p tollgate-vectors` runs them. What is recorded
with a provider's library, or published with it or by its documentation (ids `NAME/published-…`, the source in `why`), is
not written here and stays as it is.
"""

import base64
import hashlib
import hmac
import json
import pathlib

NOW = 1790000000
BODY = b'{"id":"evt_1042","type":"payment.succeeded","created":1790000000,"data":{"amount":4200,"note":"ok"}}'
OTHER = '{"id": "evt_1043",\t"type":"payment.succeeded", "data":{"note":"Zoë \\"q\\" 😀 % + &"}}\n'.encode()
PLUGINS = pathlib.Path(__file__).resolve().parent.parent


def mac(hash, key, *parts):
    key = key.encode() if isinstance(key, str) else key
    return hmac.new(key, b"".join(bytes_of(part) for part in parts), hash).digest()


def bytes_of(part):
    return part.encode() if isinstance(part, str) else part


def b64(data):
    return base64.b64encode(data).decode()


def b64url(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def secret_of(name):
    """A shared secret that looks like one, the same on every run."""
    return hashlib.sha256(name.encode()).hexdigest()[:32]


class Sent:
    """One request. `headers` is what the scheme needs, in order, the signature first; `extra` may be missing."""

    def __init__(self, headers=(), extra=(), body=BODY, method="POST", url=None):
        self.headers, self.extra = [list(h) for h in headers], [list(h) for h in extra]
        self.body, self.method, self.url = body, method, url

    def copy(self, **changes):
        copy = Sent(self.headers, self.extra, self.body, self.method, self.url)
        for key, value in changes.items():
            setattr(copy, key, value)
        return copy


class Recorder:
    def __init__(self, name, secrets, options=None, tolerance=300):
        self.name, self.secrets, self.options, self.tolerance = name, secrets, options or {}, tolerance
        self.lines = []

    def add(self, sent, expect, why, now=NOW, secrets=None, options=None, **more):
        line = {
            "id": f"{self.name}/own-{len(self.lines) + 1}",
            "secrets": self.secrets if secrets is None else secrets,
            "options": self.options if options is None else options,
            "method": sent.method,
            "url": sent.url or f"https://hooks.example.test/hooks/{self.name}",
            "headers": sent.headers + sent.extra,
            "body_base64": b64(sent.body),
            "now": now,
            **({} if self.tolerance == 300 else {"tolerance": self.tolerance}),
            "expect": expect, "level": "must", "why": why, **more,
        }
        self.lines.append(line)
        return line["id"]

    def write(self):
        path = PLUGINS / self.name / "vectors.jsonl"
        kept = path.read_text().splitlines() if path.exists() else []
        kept = [line for line in kept if "/own-" not in json.loads(line)["id"]]
        lines = kept + [json.dumps(line, ensure_ascii=False) for line in self.lines]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
        return len(lines)


RECORDERS = {}


def provider(name, *, secrets=None, other=None, options=None, stamped=False, body=BODY, second=OTHER, event=None,
             tolerance=300, signature=0, tampered=True, digits=True, rotates=True, repeats=True):
    """Records the usual attempts on the scheme that the decorated function signs by.

    The function takes (secrets by role, body, now) and returns a Sent. `signature` is the index of the signature's
    header; `stamped` says that a time is signed; `event` is what must be found in the plain request.
    """
    secrets = secrets or {"signing": secret_of(name)}
    other = other or {role: secret_of(name + "/other") for role in secrets}

    def record(sign):
        recorder = RECORDERS.setdefault(name, Recorder(name, {}, options, tolerance))
        recorder.secrets = {role: [public(value)] for role, value in secrets.items()}
        recorder.options = options or {}

        def signed(key=secrets, body=body, now=NOW):
            return sign(key, body, now)

        plain = signed()
        found = {**(event or {})}
        if stamped:
            found["timestamp"] = NOW
        first = recorder.add(plain, "accept", "valid", event=found)
        recorder.add(plain, "accept", "the same delivery sent again", duplicate_of=first)
        lower = plain.copy(headers=[[n.lower(), v] for n, v in plain.headers], extra=[[n.lower(), v] for n, v in plain.extra])
        recorder.add(lower, "accept", "header names in lower case (as HTTP/2 carries them)")
        if second is not None:
            recorder.add(signed(body=second), "accept", "another body: non-ASCII text, odd spaces, trailing newline")
        if tampered:
            flipped = bytearray(plain.body)
            flipped[len(flipped) // 2] ^= 1
            recorder.add(plain.copy(body=bytes(flipped)), "reject", "one bit of the body flipped")
            recorder.add(plain.copy(body=plain.body[:-1]), "reject", "body cut by one byte")
            recorder.add(plain.copy(body=plain.body + b" "), "reject", "a space after the body")
            recorder.add(plain.copy(body=b""), "reject", "empty body under the signature of another")
        recorder.add(signed(key=other), "reject", "signed with another secret")
        if rotates:
            both = {role: [public(other[role]), public(secrets[role])] for role in secrets}
            recorder.add(plain, "accept", "signed with the older of two live secrets", secrets=both)
        for nth, (header, value) in enumerate(plain.headers):
            without = plain.headers[:nth] + plain.headers[nth + 1:]
            recorder.add(plain.copy(headers=without), "reject", f"{header} missing")
            empty = plain.headers[:nth] + [[header, ""]] + plain.headers[nth + 1:]
            recorder.add(plain.copy(headers=empty), "reject", f"{header} empty")
            if repeats:
                recorder.add(plain.copy(headers=plain.headers + [[header, value]]), "reject", f"{header} sent twice")
        if plain.headers and signature is not None:
            header, value = plain.headers[signature]

            def written(value):
                return plain.copy(headers=plain.headers[:signature] + [[header, value]] + plain.headers[signature + 1:])

            recorder.add(written(value[:-2]), "reject", "signature cut by two characters")
            recorder.add(written(value + "AA"), "reject", "junk after the signature")
            recorder.add(written("x" + value), "reject", "junk before the signature")
            if digits and value.swapcase() != value:
                recorder.add(written(value.swapcase()), "reject", "signature in the other case")
            twisted = value[:-8] + ("0" if value[-8] != "0" else "1") + value[-7:]
            recorder.add(written(twisted), "reject", "one character of the signature changed")
            if stamped:
                later = signed(now=NOW + 1)
                if later.body == plain.body and len(later.headers) > 1:
                    stale = later.copy(headers=later.headers[:signature] + [[header, value]] + later.headers[signature + 1:])
                    recorder.add(stale, "reject", "time renewed under the old signature", now=NOW + 1)
        if stamped and tolerance:
            recorder.add(plain, "reject", "an old delivery, well signed", now=NOW + tolerance + 10)
            recorder.add(plain, "reject", "from the future, well signed", now=NOW - tolerance - 10)
            recorder.add(plain, "accept", "just inside the tolerance", now=NOW + tolerance - 2)
        return sign

    return record


def public(value):
    """What the gateway is given of a secret: of a key pair, the public half."""
    return value.public if hasattr(value, "public") else value


def rest(name):
    """The recorder of a provider, for what is special to it."""
    return RECORDERS[name]
