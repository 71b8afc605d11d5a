"""Write a time as documents and receipts hold it."""

from datetime import UTC, datetime

_OFFSET = "+00:00"


def rfc3339(at: datetime) -> str:
    """Write an aware time in UTC, to the microsecond, so that texts sort as times do.

    Source: RFC 3339, with `Z`.
    """
    utc = at if at.tzinfo is UTC else at.astimezone(UTC)
    return f"{utc.isoformat(timespec='microseconds')[: -len(_OFFSET)]}Z"
