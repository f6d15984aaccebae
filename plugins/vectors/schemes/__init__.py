"""The schemes, one function a provider."""

from . import recorded  # noqa: F401
