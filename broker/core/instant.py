"""Write a time as documents and receipts hold it."""

from datetime import UTC, datetime


def rfc3339(at: datetime) -> str:
    """Write an aware time in UTC, to the microsecond, so that texts sort as times do.

    Source: RFC 3339, with `Z`.
    """
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
