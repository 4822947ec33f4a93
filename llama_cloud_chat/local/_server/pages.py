"""Tokens of pages: where the next page begins, in a form that nobody takes for a number to count with."""

from __future__ import annotations

import base64
import binascii


class BadPageTokenError(Exception):
    """The token was not given out by this service."""


def encode_token(number: int) -> str:
    """Return the token of the page before (or after) `number`."""
    return base64.urlsafe_b64encode(f"page:{number}".encode()).decode()


def decode_token(token: str) -> int:
    """Return the number that a token was made of.

    Raises:
        BadPageTokenError: It was not made here.
    """
    try:
        word, _, number = base64.b64decode(token, altchars=b"-_", validate=True).decode("ascii").partition(":")
    except (binascii.Error, ValueError):
        raise BadPageTokenError from None
    if word != "page" or not number.isdecimal() or len(number) > 18:
        raise BadPageTokenError
    return int(number)
