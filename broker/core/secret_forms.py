"""List the ways in which ordinary programs write down a value."""

import base64
import json
import re
from urllib.parse import quote, unquote_to_bytes

from broker.core.secret import LEAST_BYTES

# In a URL, and in a list of options such as libpq's.
_IN_URL = re.compile(rb"\s*[A-Za-z][A-Za-z0-9+.-]*://[^:/?#@\s]*:([^/?#\s]*)@")
_AS_OPTION = re.compile(rb"(?i)\b(?:password|pwd)\s*=\s*('(?:[^'\\]|\\.)*'|(?:[^\s;&'\\]|\\.)+)")
_ESCAPED = re.compile(rb"\\(.)")
_ESCAPE = re.compile("%[0-9A-F]{2}")
# What encoders leave as it is: all of RFC 3986's, paths, JavaScript's encodeURIComponent.
_SAFE = ("", "/", "!'()*")
# Go's encoder, and whatever else writes JSON into HTML.
_HTML_SAFE = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


def forms_of(value: bytes) -> frozenset[bytes]:
    """Give the forms of a value: as it is, base64, hexadecimal, percent-encoded, JSON-escaped.

    Each also without the white space around the value, which programs like to trim. Base64 is
    found inside a longer text too, such as `user:password`. A value that is a connection (a URL, a
    list of options) has a password, which is looked for by itself besides.

    Args:
        value: At least `LEAST_BYTES` besides white space.
    """
    forms: set[bytes] = set()
    for text in {value, value.strip(), *_passwords(value)}:
        forms |= {text, text.hex().encode(), text.hex().upper().encode()}
        forms |= _base64(text) | _percent(text) | _json(text)
    return frozenset(forms)


def _passwords(value: bytes) -> set[bytes]:
    found = {*_IN_URL.findall(value), *_AS_OPTION.findall(value)}
    found |= {_ESCAPED.sub(rb"\1", each.strip(b"'")) for each in found}
    found |= {unquote_to_bytes(each) for each in found}
    return {each for each in found if len(each) >= LEAST_BYTES}


def _base64(text: bytes) -> set[bytes]:
    forms = set()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        whole = encode(text)
        forms |= {whole, whole.rstrip(b"=")}
        for before in range(3):
            # Characters that carry bits of the text alone, with 0 to 2 bytes ahead of it.
            first, last = (8 * before + 5) // 6, 8 * (before + len(text)) // 6
            forms.add(encode(bytes(before) + text)[first:last])
    return forms


def _percent(text: bytes) -> set[bytes]:
    forms = set()
    for safe in _SAFE:
        encoded = quote(text, safe=safe)
        for form in (encoded, _ESCAPE.sub(lambda found: found.group().lower(), encoded)):
            forms |= {form.encode(), form.replace("%20", "+").encode()}
    return forms


def _json(text: bytes) -> set[bytes]:
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError:
        return set()
    forms = set()
    for ascii_only in (True, False):
        escaped = json.dumps(decoded, ensure_ascii=ascii_only)[1:-1]
        for form in (escaped, escaped.translate(_HTML_SAFE)):
            forms |= {form.encode(), form.replace("/", "\\/").encode()}
    return forms
