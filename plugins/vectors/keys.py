"""Key pairs for vectors, the same on every run: a signature scheme with public keys needs both halves."""

import base64
import hashlib
import pathlib

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, utils

HERE = pathlib.Path(__file__).resolve().parent


class Ed25519:
    """The public half in hex, or in base64."""

    def __init__(self, name, form="hex"):
        self.key = ed25519.Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())
        raw = self.key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        self.public = raw.hex() if form == "hex" else base64.b64encode(raw).decode()

    def sign(self, content):
        return self.key.sign(content)


class P256:
    """The public half as SubjectPublicKeyInfo in base64, or as JWK."""

    def __init__(self, name, form="spki"):
        number = int.from_bytes(hashlib.sha256(name.encode()).digest(), "big") >> 1
        self.key = ec.derive_private_key(number, ec.SECP256R1())
        public = self.key.public_key()
        spki = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        numbers = public.public_numbers()
        url = lambda number: base64.urlsafe_b64encode(number.to_bytes(32, "big")).decode().rstrip("=")
        jwk = f'{{"alg":"ES256","crv":"P-256","kid":"{name}","kty":"EC","use":"sig","x":"{url(numbers.x)}","y":"{url(numbers.y)}"}}'
        self.public = base64.b64encode(spki).decode() if form == "spki" else jwk

    def sign(self, content):
        return self.key.sign(content, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))

    def sign_fixed(self, content):
        r, s = utils.decode_dss_signature(self.sign(content))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


class Rsa:
    """A certificate for tests, kept in this folder because making one takes chance."""

    def __init__(self, name, form="certificate"):
        self.key = serialization.load_pem_private_key((HERE / f"{name}.key.pem").read_bytes(), None)
        self.public = (HERE / f"{name}.certificate.pem").read_text()

    def sign(self, content, hash=hashes.SHA256()):
        return self.key.sign(content, padding.PKCS1v15(), hash)
