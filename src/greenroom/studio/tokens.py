"""Secrets that are shown once and kept as hashes: of sessions, invitations and API keys. Knows no table."""

from __future__ import annotations

import hashlib
import secrets


def new(prefix: str = "") -> str:
    """A fresh secret of 256 random bits, safe in URLs and headers."""
    return prefix + secrets.token_urlsafe(32)


def sha256(secret: str) -> str:
    """What is kept of a secret. A plain hash will do: nobody guesses 256 random bits."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
