"""Say what may be a label, and how many an agent may have.

Theory of operation. Policy labels a call (say, `untrusted`); from the commit on that lets the call
begin, its agent has the label, in every session, for good. Nothing takes one away, so that the
number of an agent's labels is their version: equal numbers mean equal labels (ADR 17).
"""

import re

LABEL_PATTERN = "^[a-z0-9_.:-]{1,64}$"
"""Words, never content: labels stand in rows and events, which nothing erases."""

MOST_LABELS = 64
"""How many one agent may have: policy that labels by what agents write would never end."""

_LABEL = re.compile(LABEL_PATTERN[1:-1])


def is_label(text: str) -> bool:
    """Tell whether a text has the form of a label."""
    return _LABEL.fullmatch(text) is not None
