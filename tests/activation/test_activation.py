"""A bundle decides from one moment to the next, or not at all."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from broker.activation import MAX_BUNDLE_BYTES, Activator
from broker.core.bundle import Bundle, pack_members, unpack
from broker.core.trust_root import TrustRoot
from broker.errors import PolicyUnavailable, StoreUnavailable
from broker.ports import PolicyEngine
from tests.activation.bundles import Key, read, variant
from tests.activation.rig import BY, Rig, SlowEngine, load
from tests.policy.samples import compiled
from tests.policy.test_engine_faults import OPEN_DOOR, UNDEFINED
from tests.ports.memory_store import Fault, MemoryDisk


@pytest.fixture
async def rig(probe: bytes, root: TrustRoot) -> AsyncIterator[Rig]:
    """A broker on a bundle of number 5."""
    made = await Rig(MemoryDisk(), root, read(variant(probe, 5, {"rule": "probe.n5"}))).start()
    yield made
    await made.stop()


@pytest.fixture
def nth(probe: bytes, key: Key):
    """Make a signed bundle whose number its rule names."""
    return lambda number: key.sign(variant(probe, number, {"rule": f"probe.n{number}"}))


@pytest.fixture(scope="module")
def wrong(opa: str, probe: bytes, key: Key, tmp_path_factory: pytest.TempPathFactory):
    """Signed bundles that no broker may decide by."""
    folder = tmp_path_factory.mktemp("wrong")
    undefined = {"broker/decision/main.rego": UNDEFINED}
    made = {
        "BUNDLE_UNDEFINED": compiled(folder / "a", opa, undefined, shipped=False).archive,
        "BUNDLE_CANARY_WRONG": compiled(
            folder / "b", opa, {"teams/open/o.rego": OPEN_DOOR}
        ).archive,
        "BUNDLE_UNUSABLE": _with(variant(probe, 9), "policy.wasm", b"\0asm\1\0\0\0"),
    }
    return {reason: key.sign(variant(archive, 9)) for reason, archive in made.items()}


class TestActivated:
    async def test_the_next_decision_is_its(self, rig, nth):
        """It decides at once; memory, premise and what is kept say the same."""
        assert await rig.rule() == "probe.n5"
        done = await rig.activate(nth(6))
        assert await rig.rule() == "probe.n6"
        assert (done.is_new, done.number, done.previous_number) == (True, 6, 5)
        assert await rig.stands() == (6, done.sha256, done.sha256, done.sha256)

    async def test_who_did_it_is_recorded(self, rig, nth):
        """By a pseudonym, with the revision and digest before and after; a source by its name."""
        done = await rig.activate(nth(6))
        await rig.activate(nth(7), Activator(source="folder /srv/policy"))
        first, second = (e for e in rig.disk.events if e.data.get("number") in (6, 7))
        assert first.type == second.type == "policy.activated"
        assert first.data["by"] == rig.disk.people["security-person"]
        assert second.data["source"] == "folder /srv/policy"
        assert second.data["previous_revision"] == first.data["revision"] == done.revision
        assert second.data["previous_bundle"] == first.data["bundle"] == done.sha256

    async def test_the_same_again_changes_nothing(self, rig, nth):
        """The same bytes, or the same files signed anew, are active already."""
        await rig.activate(nth(6))
        events = rig.types()
        again = await rig.activate(nth(6))
        assert (again.is_new, again.number, again.previous) == (False, 6, again.revision)
        assert rig.types() == events

    async def test_nobody_known(self, rig, nth):
        """Who is not configured activates nothing."""
        with pytest.raises(Exception, match="not known"):
            await rig.activate(nth(6), Activator(identity="mallory"))
        assert (await rig.stands())[0] == 5


class TestRefused:
    """Each by its own reason, which stands in the record; what was active still is."""

    async def check(self, rig: Rig, archive: bytes, reason: str) -> None:
        """Activate what is refused."""
        before = await rig.stands()
        assert await rig.refused(archive) == reason
        assert await rig.stands() == before
        assert await rig.rule() == "probe.n5"
        assert (rig.disk.events[-1].type, rig.disk.events[-1].data["reason"]) == (
            "policy.refused",
            reason,
        )

    async def test_unsigned(self, rig, probe):
        """Whatever the configuration takes at the start."""
        await self.check(rig, variant(probe, 6), "BUNDLE_UNSIGNED")

    async def test_older(self, rig, nth):
        """A number below the active one's."""
        await self.check(rig, nth(4), "BUNDLE_OLDER")

    async def test_the_number_again(self, rig, probe, key):
        """The active one's number, with other content."""
        await self.check(rig, key.sign(variant(probe, 5)), "BUNDLE_NUMBER_TAKEN")

    async def test_no_number(self, rig, shipped, key):
        """A bundle that has no place in the order, such as the shipped one."""
        await self.check(rig, key.sign(shipped), "BUNDLE_UNNUMBERED")

    @pytest.mark.parametrize("text", [b"", b"garbage", b"\x1f\x8b\x08", b"\0" * 1024])
    async def test_garbage(self, rig, text):
        """No gzipped tar."""
        await self.check(rig, text, "BUNDLE_BROKEN")

    async def test_huge(self, rig):
        """More than is read."""
        await self.check(rig, b"\0" * (MAX_BUNDLE_BYTES + 1), "BUNDLE_TOO_LARGE")

    async def test_a_bomb(self, rig, probe, key):
        """Few bytes that come to many."""
        bomb = key.sign(_with(variant(probe, 6), "policy.wasm", b"\0" * 2**27))
        assert len(bomb) < MAX_BUNDLE_BYTES
        await self.check(rig, bomb, "BUNDLE_BROKEN")

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            (".manifest", b'{"revision":"x","metadata":{"schema":"other/v1"}}'),
            ("policy.wasm", None),
            ("teams__x__data.json", b"{}"),
            ("run.sh", b"#!"),
        ],
    )
    async def test_another_form(self, rig, probe, key, name, text):
        """Signed, but no bundle of this broker's."""
        await self.check(rig, key.sign(_with(variant(probe, 6), name, text)), "BUNDLE_BROKEN")

    @pytest.mark.parametrize(
        "reason", ["BUNDLE_UNDEFINED", "BUNDLE_CANARY_WRONG", "BUNDLE_UNUSABLE"]
    )
    async def test_what_cannot_decide(self, rig, wrong, reason):
        """It defines nothing, lets a call of nobody pass, or is no module."""
        await self.check(rig, wrong[reason], reason)

    async def test_external(self, rig, nth, root, probe):
        """Where an OPA server of the operator's own decides the broker pushes nothing."""
        other = await Rig(MemoryDisk(), root, rig.policy.bundle, external="https://opa").start()
        await self.check(other, nth(6), "POLICY_ENGINE_EXTERNAL")
        await other.stop()


class TestFaults:
    @pytest.mark.parametrize("fault", Fault)
    async def test_the_store_fails(self, rig, nth, fault):
        """Not written: the old one stays, and it can be tried again. Written: the new one is it."""
        rig.disk.fail_next(fault)
        if fault is Fault.BEFORE:
            with pytest.raises(StoreUnavailable):
                await rig.activate(nth(6))
            assert (await rig.stands())[0] == 5
        await rig.activate(nth(6))
        number, memory, premise, kept = await rig.stands()
        assert number == 6
        assert memory == premise == kept
        assert await rig.rule() == "probe.n6"

    @pytest.mark.parametrize(("fault", "number"), [(Fault.BEFORE, 6), (Fault.AFTER, 7)])
    async def test_killed_at_its_write(self, rig, nth, fault, number):
        """The next life has the old one or the new one, whole, and goes on from there."""
        await rig.activate(nth(6))
        rig.disk.fail_next(fault)
        rig.disk.blinding = True
        # Whether it was written cannot be found out before the store answers: it waits for that.
        waiting = asyncio.create_task(rig.activate(nth(7)))
        await rig.alarms.any.wait()
        survivor = await rig.crash()
        waiting.cancel()
        found, memory, premise, kept = await survivor.stands()
        assert found == number
        assert memory == premise == kept
        assert await survivor.rule() == f"probe.n{number}"
        assert (await survivor.activate(nth(9))).number == 9
        await survivor.stop()

    async def test_restart_goes_on_with_the_last(self, rig, nth):
        """Not with what is configured, which is older by now; and never goes back."""
        await rig.activate(nth(6))
        next_life = await rig.crash()
        assert await next_life.rule() == "probe.n6"
        assert await next_life.refused(nth(5)) == "BUNDLE_OLDER"
        await next_life.stop()

    async def test_cancelled(self, rig, nth):
        """Who stops waiting stops nothing."""
        waiting = asyncio.create_task(rig.activate(nth(6)))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert (await rig.activate(nth(6))).is_new is False

    async def test_two_at_once(self, rig, nth):
        """One after the other: the newer stays, in whichever order."""
        done = await asyncio.gather(
            *(rig.activate(nth(number)) for number in (8, 6, 7, 9)), return_exceptions=True
        )
        assert [getattr(each, "reason", "") for each in done] == [
            "",
            "BUNDLE_OLDER",
            "BUNDLE_OLDER",
            "",
        ]
        assert (await rig.stands())[0] == 9


class TestUnderWay:
    async def test_each_is_its_engines(self, probe, root, nth):
        """What began before is the old bundle's to its end; then its engine is closed."""
        made: list[SlowEngine] = []

        async def slowly(bundle: Bundle) -> PolicyEngine:
            made.append(SlowEngine(await load(bundle)))
            return made[-1]

        configured = read(variant(probe, 5, {"rule": "probe.n5"}))
        rig = await Rig(MemoryDisk(), root, configured, load=slowly).start()
        first = asyncio.create_task(rig.policy.evaluate(b"{}"))
        await asyncio.sleep(0)
        await rig.activate(nth(6))
        second = asyncio.create_task(rig.policy.evaluate(b"{}"))
        await asyncio.sleep(0)
        assert not made[0].closed.is_set()
        made[1].may_answer.set()
        assert (await second).bundle_revision.startswith("probe-6-")
        made[0].may_answer.set()
        assert (await first).bundle_revision == configured.revision
        await made[0].closed.wait()
        assert not made[1].closed.is_set()
        await rig.stop()

    async def test_closing(self, rig, nth):
        """After the end nothing decides, exchanged or not."""
        await rig.activate(nth(6))
        await rig.policy.close()
        with pytest.raises(PolicyUnavailable):
            await rig.rule()


class TestActivator:
    @pytest.mark.parametrize("names", [{}, {"identity": "a", "source": "b"}])
    def test_exactly_one(self, names):
        """Nobody, or two at once, activate nothing."""
        with pytest.raises(ValueError, match="exactly one"):
            Activator(**names)
        assert BY.identity


def _with(archive: bytes, name: str, text: bytes | None) -> bytes:
    """Change a member, or take it out."""
    members = unpack(archive, "it")
    if text is None:
        members.pop(name)
    else:
        members[name.replace("__", "/")] = text
    return pack_members(members)
