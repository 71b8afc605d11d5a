"""Make the shipped policy a signed bundle with any number."""

import json
from functools import cache

from broker.core.bundle import pack_members, unpack
from broker.core.bundle_json import as_written
from broker.shipped import policies_dir
from tests.activation.bundles import Key

_NAME = "a test's bundle"


class Team:
    """A security team with its key; it makes each bundle once."""

    def __init__(self) -> None:
        self.key = Key()
        self._made: dict[tuple[int, str], bytes] = {}

    def bundle(self, number: int, revision: str = "") -> bytes:
        """Sign a bundle with this number."""
        if (number, revision) not in self._made:
            self._made[number, revision] = self.key.sign(numbered(number, revision))
        return self._made[number, revision]


@cache
def numbered(number: int, revision: str = "") -> bytes:
    """Give the shipped policy a number; nobody signs it."""
    members = dict(unpack((policies_dir() / "bundle.tar.gz").read_bytes(), _NAME))
    manifest = json.loads(members[".manifest"])
    manifest["revision"] = revision or f"test-{number}"
    manifest["metadata"]["number"] = number
    text = as_written(".manifest", json.dumps(manifest).encode())
    return pack_members({**members, ".manifest": text})
