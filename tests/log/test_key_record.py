"""A broker's keys change where its log lets them, or it does not start."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from broker.adapters.file_signer import FileSigner
from broker.core.lifecycle import CallState
from broker.core.root_change import Ending, next_version, rotated
from broker.core.trust_root import KeyRole, TrustedKey, TrustRoot
from broker.errors import KeyRefused
from broker.key_record import record_keys
from broker.log import Log
from broker.ports import Store
from tests.log.fakes import MemoryFiles, new_log
from tests.ports.fake_clock import FakeClock
from tests.ports.samples import first, new_call
from tests.ports.shelf import SqliteShelf
from tests.verify.receipts import new_signer

RECEIPT, LOG = KeyRole.RECEIPT, KeyRole.LOG


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A store with its log, keys in use, and those that are to follow."""

    store: Store
    log: Log
    old: dict[KeyRole, FileSigner]
    new: dict[KeyRole, FileSigner]
    root: TrustRoot

    async def start(self, root: TrustRoot, *roles: KeyRole) -> None:
        """Record keys as a start does, the next ones in some roles."""
        signers = {role: (self.new if role in roles else self.old)[role] for role in self.old}
        file = Path("trust-root.json")
        await record_keys(self.store, self.store, FakeClock(), file, root, signers)

    async def refusal(self, root: TrustRoot, *roles: KeyRole) -> str:
        """Start where it must not; give the reason, and see that nothing was recorded."""
        before = len(await self.store.events(after=0, limit=1000))
        with pytest.raises(KeyRefused) as caught:
            await self.start(root, *roles)
        assert len(await self.store.events(after=0, limit=1000)) == before
        return caught.value.reason

    async def end_call(self, number: int) -> None:
        """Let a call end, which no head covers yet."""
        await self.store.commit(first(new_call(number, CallState.DENIED)))

    async def cover(self) -> int:
        """Cover everything, as a broker that is stopped does; give the log's size."""
        await self.log.catch_up()
        return (await self.log.head()).size

    def next_root(self, role: KeyRole, index: int) -> TrustRoot:
        """Let the next key of a role follow at an index."""
        return rotated(self.root, role, _trusted(role, self.new[role]), index)


def _trusted(role: KeyRole, signer: FileSigner) -> TrustedKey:
    return TrustedKey.from_pem(role, signer.public_key_pem)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """A broker that ran, and was stopped."""
    old, new = (
        {role: new_signer(tmp_path / f"{age}-{role.value}") for role in (RECEIPT, LOG)}
        for age in ("old", "new")
    )
    store = await SqliteShelf(tmp_path / "store.db").open()
    log = new_log(store, MemoryFiles(), old[LOG])
    await log.open()
    root = TrustRoot(version=1, keys=tuple(_trusted(role, each) for role, each in old.items()))
    made = Stage(store=store, log=log, old=old, new=new, root=root)
    await made.start(root)
    await made.end_call(1)
    await made.cover()
    yield made
    await store.close()


class TestEnd:
    """A rotation waits for signatures; meanwhile the broker must not have signed on."""

    @pytest.mark.parametrize("role", [RECEIPT, LOG])
    async def test_the_old_key_signed_on(self, stage: Stage, role: KeyRole) -> None:
        """What it signed behind its end would be invalid for ever: the version is not gone by."""
        root = stage.next_root(role, await stage.cover())
        await stage.end_call(2)
        await stage.cover()
        assert await stage.refusal(root, role) == "KEY_ENDED_EARLY"
        await stage.start(stage.next_root(role, await stage.cover()), role)

    async def test_uncovered_receipts_count(self, stage: Stage) -> None:
        """A receipt is signed before a head covers it."""
        root = stage.next_root(RECEIPT, await stage.cover())
        await stage.end_call(2)
        assert await stage.refusal(root, RECEIPT) == "KEY_ENDED_EARLY"

    @pytest.mark.parametrize("role", [RECEIPT, LOG])
    async def test_a_withdrawn_one(self, stage: Stage, role: KeyRole) -> None:
        """Of a key that others may have the end is meant to lie in the past."""
        root = next_version(
            stage.root,
            added=[_trusted(role, stage.new[role])],
            endings=[
                Ending(key_id=stage.old[role].key_id, until_index=1, is_withdrawn=True),
            ],
        )
        await stage.start(root, role)


class TestBeginning:
    @pytest.mark.parametrize("role", [RECEIPT, LOG])
    async def test_uncovered_entries_before_it(self, stage: Stage, role: KeyRole) -> None:
        """What is not covered the next key signs, so it may not begin behind that."""
        covered = await stage.cover()
        for number in range(2, 5):
            await stage.end_call(number)
        added = replace(_trusted(role, stage.new[role]), valid_from_index=covered + 2)
        root = next_version(stage.root, added=[added])
        assert await stage.refusal(root, role) == "KEY_NOT_YET_VALID"
        await stage.cover()
        await stage.start(root, role)
