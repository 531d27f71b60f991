"""What a peer says that its bytes mean: charsets and JSON."""

from __future__ import annotations

import codecs
import json
from typing import Any

__all__ = ["codec_of", "parse_json"]

#: What Python has beside charsets: the first two are quadratic, and the others are no bytes of a text.
_NO_CHARSETS = frozenset({"punycode", "idna", "undefined", "unicode_escape", "raw_unicode_escape"})


def codec_of(charset: str) -> str:
    """Return the name of what decodes *charset*; LookupError where there is none."""
    codec = codecs.lookup(charset).name
    if codec.replace("-", "_") in _NO_CHARSETS:
        raise LookupError(f"{charset!r} is no charset")
    return codec


def parse_json(body: bytes) -> Any:
    """Return what *body* means; ValueError for what is no JSON, or nested too deep to be read."""
    try:
        return json.loads(body)
    except RecursionError:
        raise ValueError("JSON that is nested too deep") from None
