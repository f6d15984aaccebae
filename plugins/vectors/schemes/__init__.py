"""The schemes, one function a provider."""

from . import described, inside, plain, recorded, stamped, tokens, urls  # noqa: F401
