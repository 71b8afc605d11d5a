"""Replace values in a stream of bytes, however it is cut into pieces.

Theory of operation. Of the bytes that came, those up to the first *doubt* are settled: a doubt is a
place from which on everything so far is the beginning of some value. Whether a value begins before
the doubt is known, so that part is given out with every stretch that a value covers masked; the
rest, shorter than the longest value, waits for more. A stretch that values cover together, because
they overlap or one holds the other, is one marker: that of the value that begins first, of several
the longest. So the output is the same for every cutting of the input, and between two markers
there is never a value.
"""

from collections.abc import Iterable, Mapping

from broker.core.secret import Secret
from broker.core.secret_forms import forms_of

# Enough to tell most places apart before anything is copied.
_GLANCE_BYTES = 16


class Redaction:
    """What is replaced by what.

    Args:
        markers: Value, not empty, with what stands in its place.
    """

    def __init__(self, markers: Mapping[bytes, bytes]) -> None:
        self.markers = dict(markers)

    @classmethod
    def of(cls, secrets: Iterable[Secret]) -> "Redaction":
        """Replace every form of these secrets by `[secret NAME]`."""
        return cls({form: each.marker for each in secrets for form in forms_of(each.value)})

    def apply(self, data: bytes) -> tuple[bytes, int]:
        """Give bytes that are whole with their values replaced, and how many were."""
        redactor = Redactor(self)
        redacted = redactor.feed(data) + redactor.end()
        return redacted, redactor.count


class Redactor:
    """Redact one stream. Keeps fewer bytes back than the longest value has."""

    def __init__(self, redaction: Redaction) -> None:
        self._markers = redaction.markers
        self._pending = b""
        # So many of the pending bytes are covered by a value whose marker was given already.
        self._covered = 0
        self.count = 0
        """How many markers were given."""

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes; give what is settled now."""
        if not self._markers:
            return data
        text = self._pending + data
        return self._settle(text, self._first_doubt(text))

    def end(self, *, cut: bool = False) -> bytes:
        """Give what is left; nothing is fed after it.

        Args:
            cut: The stream did not come to its own end. What may be the beginning of a value is
                then masked too: the rest of it was only not read.
        """
        text, self._pending = self._pending, b""
        rest = text[self._covered :]
        if cut and rest and not self._covered:
            self.count += 1
            return next(self._markers[form] for form in self._markers if form.startswith(text))
        if cut:
            return b""
        return self._settle(text, len(text))

    def _first_doubt(self, text: bytes) -> int:
        first = len(text)
        for form in self._markers:
            at = max(0, len(text) - len(form) + 1) - 1
            while (at := text.find(form[:1], at + 1, first)) >= 0:
                glance = text[at : at + _GLANCE_BYTES]
                if form.startswith(glance) and form.startswith(text[at:]):
                    first = at
                    break
        return first

    def _settle(self, text: bytes, until: int) -> bytes:
        """Give the text up to a place, masked; keep the rest."""
        parts = []
        masked_to = self._covered
        for start, minus_size, marker in sorted(self._hits(text, until)):
            if start >= masked_to:
                parts += [text[masked_to:start], marker]
                self.count += 1
            masked_to = max(masked_to, start - minus_size)
        parts.append(text[masked_to:until])
        self._pending = text[until:]
        self._covered = max(0, masked_to - until)
        return b"".join(parts)

    def _hits(self, text: bytes, until: int) -> Iterable[tuple[int, int, bytes]]:
        """List where values begin, overlapping ones too, of one place the longest first."""
        for form, marker in self._markers.items():
            at = -1
            while (at := text.find(form, at + 1, until + len(form) - 1)) >= 0:
                yield at, -len(form), marker
