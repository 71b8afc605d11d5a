"""Replace values in a stream of bytes, however it is cut into pieces.

Theory of operation. Of the bytes that came, a part at the end is not settled: a value may begin
there whose rest is still to come. That part is kept back, and *how much* it is says nothing of the
values but how long the longest is, and whether one holds a line end: where none does, whole lines
are settled. Were only that kept back which looks like the beginning of a value, then whoever makes
a tool repeat a text could learn a value byte by byte, from what comes late, or is missing where a
stream is cut.

In the part that is settled every stretch that values cover is masked. A stretch that values cover
together, because they overlap or one holds the other, is one marker: that of the value that begins
first, of several the longest. So the output is the same for every cutting of the input, and between
two markers there is never a value.
"""

from collections.abc import Iterable, Mapping

from broker.core.secret import Secret
from broker.core.secret_forms import forms_of

_LINE_END = b"\n"
# Settling looks at all that is kept back again, so it waits for so much of the longest value.
_WORTH = 4


class Redaction:
    """What is replaced by what.

    Args:
        markers: Value, not empty, with what stands in its place.
    """

    def __init__(self, markers: Mapping[bytes, bytes]) -> None:
        self.markers = dict(markers)
        self.longest_bytes = max(map(len, markers), default=0)
        self.is_within_lines = not any(_LINE_END in value for value in markers)

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
    """Redact one stream. Keeps back less than one and a quarter of the longest value."""

    def __init__(self, redaction: Redaction) -> None:
        self._redaction = redaction
        self._pending = bytearray()
        # So many of the pending bytes are covered by a value whose marker was given already.
        self._covered = 0
        self.count = 0
        """How many markers were given."""

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes; give what is settled now."""
        longest = self._redaction.longest_bytes
        if not longest:
            return data
        line_end = data.rfind(_LINE_END) if self._redaction.is_within_lines else -1
        until = len(self._pending) + line_end + 1 if line_end >= 0 else 0
        self._pending += data
        sure = len(self._pending) - longest + 1
        if sure > longest // _WORTH:
            until = max(until, sure)
        return self._settle(until) if until else b""

    def end(self) -> bytes:
        """Give what is left of a stream that came to its own end; nothing is fed after it."""
        return self._settle(len(self._pending))

    def drop(self) -> int:
        """Forget what is left of a stream that was cut; tell how many bytes that was.

        A value may have begun there, whose rest was only not read.
        """
        dropped_bytes = len(self._pending)
        self._pending.clear()
        self._covered = 0
        return dropped_bytes

    def _settle(self, until: int) -> bytes:
        """Give the pending bytes up to a place, masked; keep the rest."""
        text = bytes(self._pending)
        parts = []
        masked_to = self._covered
        for start, minus_size, marker in sorted(self._hits(text, until)):
            if start >= masked_to:
                parts += [text[masked_to:start], marker]
                self.count += 1
            masked_to = max(masked_to, start - minus_size)
        parts.append(text[masked_to:until])
        del self._pending[:until]
        self._covered = max(0, masked_to - until)
        return b"".join(parts)

    def _hits(self, text: bytes, until: int) -> Iterable[tuple[int, int, bytes]]:
        """List where values begin, overlapping ones too, of one place the longest first."""
        for value, marker in self._redaction.markers.items():
            at = -1
            while (at := text.find(value, at + 1, until + len(value) - 1)) >= 0:
                yield at, -len(value), marker
