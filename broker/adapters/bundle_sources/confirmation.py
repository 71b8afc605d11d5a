"""Keep beside the store when a bundle was last confirmed."""

import asyncio
import json
from datetime import datetime, timedelta
from pathlib import Path

from broker.core.ids import Sha256
from broker.core.instant import rfc3339
from broker.ports import Confirmation
from broker.whole_file import replace_file

_MOST_BYTES = 4096


class ConfirmationFile:
    """The `ConfirmationKeeper` of one small JSON file, replaced whole.

    Whoever could change it could change the store that it lies beside.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    async def read(self) -> Confirmation | None:
        """Give the last one; see `ConfirmationKeeper`."""
        return await asyncio.to_thread(self.read_now)

    def read_now(self) -> Confirmation | None:
        """Give the last one, blocking."""
        try:
            with self._file.open("rb") as file:
                fields = json.loads(file.read(_MOST_BYTES))
            at = datetime.fromisoformat(fields["confirmed_at"])
            sha256 = Sha256(str(fields["bundle_sha256"]))
        # Damaged or missing it says nothing, and the policy counts as never confirmed.
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return Confirmation(bundle_sha256=sha256, at=at) if at.utcoffset() == timedelta(0) else None

    async def write(self, confirmation: Confirmation) -> None:
        """Keep this one; see `ConfirmationKeeper`."""
        await asyncio.to_thread(self._write, confirmation)

    def _write(self, confirmation: Confirmation) -> None:
        text = json.dumps(
            {
                "bundle_sha256": confirmation.bundle_sha256,
                "confirmed_at": rfc3339(confirmation.at),
            }
        )
        replace_file(self._file, f"{text}\n".encode())
