"""A bundle decides from one moment to the next, or not at all."""

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from broker.activation import MAX_BUNDLE_BYTES, Activator
from broker.adapters.opa_wasm import WasmEngine
from broker.core.bundle import Bundle, pack_members, unpack
from broker.core.trust_root import KeyStatus, TrustRoot
from broker.errors import BundleInvalid, PolicyUnavailable, StoreUnavailable
from broker.ports import PolicyEngine
from tests.activation.bundles import Key, read, variant
from tests.activation.rig import BY, Rig, SlowEngine, load
from tests.policy.samples import compiled, compiled_folder, without_teams
from tests.policy.test_engine_faults import OPEN_DOOR, UNDEFINED
from tests.ports.memory_store import Fault, MemoryDisk

# It searches one text again and again: whatever takes memory as well may be out of it first.
ENDLESS = """
package teams.open

text := concat("", [part | some _ in numbers.range(1, 20000); part := "aaaaaaaaab"])

deny contains {"rule": "open.loop", "message": "m"} if {
    some i in numbers.range(1, 20000)
    contains(text, "aaaaaaaaaaaaaaaaaaab")
    i == -1
}
"""
ENDS_S = 30.0


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


def of_teams(folder: Path, opa: str, rego: str) -> bytes:
    """Compile the shipped policy with this text for its only team."""
    (without_teams(folder) / "teams" / "open").mkdir(parents=True)
    (folder / "teams" / "open" / "open.rego").write_text(rego)
    return compiled_folder(folder, opa).archive


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
        assert second.data["previous"] == first.data["bundle"] == done.sha256

    async def test_the_same_again_changes_nothing(self, rig, nth):
        """The same bytes, or the same files signed anew, are active already."""
        await rig.activate(nth(6))
        events = rig.types()
        again = await rig.activate(nth(6))
        assert (again.is_new, again.number, again.previous_revision) == (False, 6, again.revision)
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
        event = rig.disk.events[-1]
        assert (event.type, event.data["reason"]) == ("policy.refused", reason)

    async def test_what_nobody_signed_so(self, rig, probe, key):
        """Whatever the configuration takes at the start."""
        unsigned = variant(probe, 6)
        await self.check(rig, unsigned, "BUNDLE_UNSIGNED")
        await self.check(rig, Key().sign(unsigned), "BUNDLE_KEY_UNKNOWN")
        tampered = _with(key.sign(unsigned), "data.json", b"{}")
        await self.check(rig, tampered, "BUNDLE_TAMPERED")

    async def test_what_is_no_step_forward(self, rig, nth, shipped, probe, key):
        """An older number, the active one with other content, none at all."""
        await self.check(rig, nth(4), "BUNDLE_OLDER")
        await self.check(rig, key.sign(variant(probe, 5)), "BUNDLE_NUMBER_TAKEN")
        await self.check(rig, key.sign(shipped), "BUNDLE_UNNUMBERED")

    async def test_what_is_no_bundle(self, rig):
        """No gzipped tar, or more than is read."""
        for text in (b"", b"garbage", b"\x1f\x8b\x08", b"\0" * 1024):
            await self.check(rig, text, "BUNDLE_BROKEN")
        await self.check(rig, b"\0" * (MAX_BUNDLE_BYTES + 1), "BUNDLE_TOO_LARGE")

    async def test_a_bomb(self, rig, probe, key):
        """Few bytes that come to many; nobody could have signed them as they are."""
        bomb = _with(key.sign(variant(probe, 6)), "policy.wasm", b"\0" * 2**26)
        assert len(bomb) < MAX_BUNDLE_BYTES
        await self.check(rig, bomb, "BUNDLE_BROKEN")

    async def test_what_has_another_form(self, rig, probe, key):
        """Signed, but no bundle of this broker's."""
        plain = variant(probe, 6)
        other = (
            b'{"revision":"x","metadata":{"schema":"o/v1","entrypoint":"broker/decision/result"}}'
        )
        for broken in (
            _with(plain, ".manifest", other),
            _with(plain, ".manifest", b'{"revision":"x"}'),
            _with(plain, "policy.wasm", None),
            _with(plain, "teams/x/data.json", b"{}"),
            _with(plain, "run.sh", b"#!"),
            variant(probe, -1),
            variant(probe, 2**53),
        ):
            await self.check(rig, key.sign(broken), "BUNDLE_BROKEN")

    async def test_what_defines_nothing(self, rig, opa, key, tmp_path):
        """Its entry point has no value."""
        sources = {"broker/decision/main.rego": UNDEFINED}
        silent = compiled(tmp_path / "p", opa, sources, shipped=False).archive
        await self.check(rig, key.sign(variant(silent, 6)), "BUNDLE_UNDEFINED")

    async def test_what_lets_nobody_pass(self, rig, opa, key, tmp_path):
        """It allows the canary, a call of nobody to nothing."""
        wide_open = of_teams(tmp_path / "p", opa, OPEN_DOOR)
        threads = set(threading.enumerate())
        await self.check(rig, key.sign(variant(wide_open, 6)), "BUNDLE_CANARY_WRONG")
        left = [each for each in threading.enumerate() if each not in threads]
        for each in left:
            # That of the event loop's own pool goes on, and is nobody's in particular.
            if each.name.startswith("policy-"):
                each.join(timeout=ENDS_S)
                assert not each.is_alive()

    async def test_what_computes_for_ever(self, probe, root, nth, opa, key, tmp_path):
        """It is stopped, and the next bundle is not kept waiting."""

        async def hurried(bundle: Bundle) -> PolicyEngine:
            return await asyncio.to_thread(WasmEngine, bundle, timeout_s=0.1, threads=1)

        endless = of_teams(tmp_path / "p", opa, ENDLESS)
        configured = read(variant(probe, 5, {"rule": "probe.n5"}))
        rig = await Rig(MemoryDisk(), root, configured, load=hurried).start()
        with pytest.raises(BundleInvalid, match="did not answer in time") as caught:
            await rig.activate(key.sign(variant(endless, 6)))
        assert caught.value.reason == "BUNDLE_CANARY_WRONG"
        assert (await rig.activate(nth(6))).is_new
        await rig.stop()

    async def test_what_is_no_module(self, rig, probe, key):
        """Neither garbage nor a module of something else."""
        for wasm in (b"\0asm\1\0\0\0", b"", b"no wasm"):
            broken = _with(variant(probe, 6), "policy.wasm", wasm)
            await self.check(rig, key.sign(broken), "BUNDLE_UNUSABLE")

    async def test_no_engine_can_be_had(self, probe, root, nth):
        """Not the bundle's fault: it can be sent again."""
        is_full = False

        async def from_disk(bundle: Bundle) -> PolicyEngine:
            if is_full:
                raise OSError(28, "No space left on device")
            return await load(bundle)

        configured = read(variant(probe, 5, {"rule": "probe.n5"}))
        rig = await Rig(MemoryDisk(), root, configured, load=from_disk).start()
        is_full = True
        await self.check(rig, nth(6), "UNAVAILABLE")
        is_full = False
        assert (await rig.activate(nth(6))).is_new
        await rig.stop()

    async def test_the_machine_is_at_its_end(self, probe, root, nth):
        """In an engine's words, which do not tell whose fault it is: it can be sent again."""
        lacking: list[Exception] = []

        async def on_a_poor_machine(bundle: Bundle) -> PolicyEngine:
            if lacking:
                raise lacking[0]
            return await load(bundle)

        configured = read(variant(probe, 5, {"rule": "probe.n5"}))
        rig = await Rig(MemoryDisk(), root, configured, load=on_a_poor_machine).start()
        for error in (
            PolicyUnavailable("the bundle's policy.wasm does not compile: Too many open files"),
            MemoryError(),
            RuntimeError("can't start new thread"),
        ):
            lacking.append(error)
            await self.check(rig, nth(6), "UNAVAILABLE")
            lacking.clear()
        assert (await rig.activate(nth(6))).is_new
        await rig.stop()

    async def test_the_machine_stumbled(self, probe, root, nth):
        """A failure that has passed by the second attempt is no refusal."""
        failures = [PolicyUnavailable("the OPA server was not ready in time")]

        async def stumbling(bundle: Bundle) -> PolicyEngine:
            if bundle.number == 6 and failures:
                raise failures.pop()
            return await load(bundle)

        configured = read(variant(probe, 5, {"rule": "probe.n5"}))
        rig = await Rig(MemoryDisk(), root, configured, load=stumbling).start()
        assert (await rig.activate(nth(6))).is_new
        assert await rig.rule() == "probe.n6"
        await rig.stop()

    async def test_what_is_written_in_another_way(self, rig, probe, key):
        """The same values under the same signature, with another digest of the bundle."""
        signed = key.sign(variant(probe, 6, {"rule": "probe.n6"}))
        for name in ("data.json", ".manifest"):
            text = unpack(signed, "it")[name]
            other = _with(signed, name, b" " + text)
            assert read(other).sha256 != read(signed).sha256
            await self.check(rig, other, "BUNDLE_NOT_CANONICAL")
        assert (await rig.activate(signed)).is_new

    async def test_what_tells_a_trial_from_force(self, rig, probe, key):
        """Whoever built it: a package that reads its mode predicts nothing."""
        plain, members = variant(probe, 6), unpack(probe, "it")
        (name,) = (each for each in members if each.startswith("teams/probe/"))
        reading = _with(plain, name, members[name] + b"\nhint := data.teams.probe.mode\n")
        await self.check(rig, key.sign(reading), "BUNDLE_MODE_OPEN")
        misspelt = key.sign(variant(probe, 6, {"mode": "shadwo"}))
        await self.check(rig, misspelt, "BUNDLE_MODE_OPEN")
        assert (await rig.activate(key.sign(variant(probe, 6, {"mode": "shadow"})))).is_new

    async def test_a_key_that_was_withdrawn_meanwhile(self, rig, nth, root, key):
        """The trust root is read at each activation; what was active stays."""
        await rig.activate(nth(6))
        withdrawn = replace(key.trusted, status=KeyStatus.WITHDRAWN)
        rig.root = replace(root, version=2, keys=(withdrawn, *root.keys[1:]))
        assert await rig.refused(nth(7)) == "BUNDLE_KEY_WITHDRAWN"
        assert await rig.refused(nth(6)) == "BUNDLE_KEY_WITHDRAWN"
        assert await rig.rule() == "probe.n6"
        rig.root = root
        assert (await rig.activate(nth(7))).is_new

    async def test_external(self, rig, nth, root):
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

    @pytest.mark.parametrize(("fault", "number"), [(Fault.BEFORE, 6), (Fault.AFTER, 7)])
    async def test_the_answer_is_late(self, rig, nth, fault, number):
        """The old one decides until the store says which; the next activation waits for that."""
        await rig.activate(nth(6))
        rig.disk.fail_next(fault)
        rig.disk.blinding = True
        late = asyncio.create_task(rig.activate(nth(7)))
        await rig.clock.sleeping.wait()
        rig.disk.blinding = False
        following = asyncio.create_task(rig.activate(nth(8)))
        assert await rig.rule() == "probe.n6"
        assert not following.done()
        rig.clock.advance(timedelta(seconds=1))
        found = await asyncio.gather(late, following, return_exceptions=True)
        assert isinstance(found[0], StoreUnavailable) == (fault is Fault.BEFORE)
        assert found[1].previous_number == number
        eight, memory, premise, kept = await rig.stands()
        assert (eight, memory, memory) == (8, premise, kept)
        assert await rig.rule() == "probe.n8"
        activated = [each for each in rig.disk.events if each.type == "policy.activated"]
        assert [each.data["number"] for each in activated][-2:] == [number, 8]

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
