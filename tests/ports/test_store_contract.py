"""Hold every store to the port's contract."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from broker.core.call import Call
from broker.core.document import Document, DocumentKind
from broker.core.halt import Halt, Scope
from broker.core.ids import CallId, HaltId, Pseudonym, Sha256, sha256_hex
from broker.core.lifecycle import CallState, Step
from broker.core.receipt import Position, ReceiptDraft
from broker.errors import (
    DuplicateRequest,
    PremiseChanged,
    ShortIdTaken,
    StaleBundle,
    StaleCall,
    StoreError,
    StoreUnavailable,
)
from broker.ports import (
    CLOCK_PREMISE,
    HALTS_PREMISE,
    LABELS_PREMISE,
    START_BY_PREMISE,
    CallFilter,
    Change,
    EventDraft,
    File,
    Store,
    WorkspaceUpdate,
)
from tests.ports import history, samples
from tests.ports.samples import AGENT, AGENT2, call_id, event, first, following, new_call
from tests.ports.shelf import Shelf

SESSION = "session-1"


def full_change() -> Change:
    """Give a change that writes into every part of the store."""
    call = new_call(1, CallState.DENIED, request_id="retry-1")
    return first(
        call,
        documents=(samples.document("request"),),
        files=(samples.file("text"),),
        premises=(("policy.bundle", "b1"),),
        workspace=WorkspaceUpdate(
            agent=AGENT,
            session_id=SESSION,
            expected_sha256=None,
            tree_sha256=samples.digest("tree"),
        ),
    )


async def is_untouched(store: Store, events: int) -> bool:
    """Tell whether nothing of `full_change` is in the store, which had this many events."""
    return (
        await store.get_call(call_id(1)) is None
        and await store.find_by_request_id(AGENT, "retry-1") is None
        and await store.document(samples.document("request").sha256) is None
        and await store.file(AGENT, samples.digest("text")) is None
        and await store.workspace_tree(AGENT, SESSION) is None
        and await store.receipt(call_id(1)) is None
        and len(await store.events(after=0, limit=99)) == events
    )


class TestCommit:
    async def test_reads_back(self, store: Store) -> None:
        """What a change carried is read back equal from every part of the store."""
        await store.set_premise("policy.bundle", "b1", event("policy.activated"))
        change = full_change()
        receipt = await store.commit(change)
        assert await store.get_call(call_id(1)) == change.call
        assert await store.find_by_request_id(AGENT, "retry-1") == change.call
        assert await store.document(change.documents[0].sha256) == change.documents[0]
        assert await store.file(AGENT, samples.digest("text")) == b"text"
        assert await store.workspace_tree(AGENT, SESSION) == samples.digest("tree")
        assert await store.receipt(call_id(1)) == receipt
        assert await store.list_receipts(after=0, limit=9) == [receipt]
        assert (await store.events(after=0, limit=9))[0].type == "policy.activated"

    async def test_every_field(self, store: Store) -> None:
        """A call with a value in every field is read back equal."""
        call = samples.full_call(1)
        start = replace(call, version=1, state=CallState.QUEUED)
        await store.commit(first(start))
        await store.commit(following(start, Step.START))
        running = replace(start, version=2, state=CallState.RUNNING)
        ended = replace(call, version=3)
        await store.commit(
            replace(following(running, Step.FAIL), call=ended, receipt=samples.receipt(ended))
        )
        assert await store.get_call(call.id) == ended

    async def test_no_receipt_before_the_end(self, store: Store) -> None:
        """A change to an open state seals nothing."""
        assert await store.commit(first(new_call(1))) is None
        assert await store.receipt(call_id(1)) is None

    async def test_walks_a_whole_life(self, store: Store) -> None:
        """A call goes by its steps from held to its receipt."""
        call = new_call(1, CallState.HELD)
        await store.commit(first(call))
        for step in (Step.VOTE, Step.APPROVE, Step.START, Step.SUCCEED):
            change = following(call, step)
            await store.commit(change)
            call = change.call
        assert await history.check_store(store) == {call.id: call}
        assert call.state is CallState.SUCCEEDED

    async def test_kept_file_stays(self, store: Store) -> None:
        """A file that is there already is left alone."""
        await store.commit(first(new_call(1), files=(samples.file("same"),)))
        await store.commit(first(new_call(2), files=(samples.file("same"),)))
        assert await store.file(AGENT, samples.digest("same")) == b"same"

    async def test_empty_file(self, store: Store) -> None:
        """An empty file is a file."""
        await store.commit(first(new_call(1), files=(samples.file(""),)))
        assert await store.file(AGENT, samples.digest("")) == b""


class TestRefusal:
    async def test_stale_version(self, store: Store) -> None:
        """A change made from an old version is stale."""
        call = new_call(1)
        await store.commit(first(call))
        await store.commit(following(call, Step.START))
        with pytest.raises(StaleCall):
            await store.commit(following(call, Step.CANCEL))
        assert len(await history.check_store(store)) == 1

    async def test_second_insert(self, store: Store) -> None:
        """A call that is there cannot be recorded again."""
        await store.commit(first(new_call(1)))
        with pytest.raises(StaleCall):
            await store.commit(first(new_call(1)))

    async def test_version_ahead(self, store: Store) -> None:
        """A change of a call that never was is stale."""
        with pytest.raises(StaleCall):
            await store.commit(following(new_call(1), Step.START))

    async def test_request_id_once(self, store: Store) -> None:
        """An agent's request_id names one call; another agent's is its own; the empty one none."""
        await store.commit(first(new_call(1, request_id="r")))
        with pytest.raises(DuplicateRequest):
            await store.commit(first(new_call(2, request_id="r")))
        await store.commit(first(new_call(3, request_id="r", agent=AGENT2)))
        await store.commit(first(new_call(4)))
        await store.commit(first(new_call(5)))
        found = await store.find_by_request_id(AGENT2, "r")
        assert found == new_call(3, request_id="r", agent=AGENT2)
        assert await store.find_by_request_id(AGENT, "") is None

    async def test_short_id_once(self, store: Store) -> None:
        """A short id names one call of all agents."""
        await store.commit(first(new_call(1, short_id="ABCD1234")))
        with pytest.raises(ShortIdTaken):
            await store.commit(first(new_call(2, short_id="ABCD1234", agent=AGENT2)))

    async def test_duplicate_comes_before_short_id(self, store: Store) -> None:
        """Where both are taken, the request_id is named: drawing again would not help."""
        await store.commit(first(new_call(1, request_id="r", short_id="ABCD1234")))
        with pytest.raises(DuplicateRequest):
            await store.commit(first(new_call(2, request_id="r", short_id="ABCD1234")))

    async def test_premise_differs(self, store: Store) -> None:
        """A premise of another value refuses the change by its name, and nothing is written."""
        await store.set_premise("policy.bundle", "b2", event("policy.activated"))
        with pytest.raises(PremiseChanged) as caught:
            await store.commit(full_change())
        assert caught.value.name == "policy.bundle"
        assert await is_untouched(store, events=1)

    async def test_premise_missing(self, store: Store) -> None:
        """A premise that nobody set refuses the change."""
        with pytest.raises(PremiseChanged):
            await store.commit(full_change())
        assert await is_untouched(store, events=0)

    async def test_premise_set_anew(self, store: Store) -> None:
        """The value set last is the one that counts."""
        await store.set_premise("policy.bundle", "b2", event("policy.activated"))
        await store.set_premise("policy.bundle", "b1", event("policy.activated"))
        assert await store.commit(full_change()) is not None

    async def test_premise_reads_back(self, store: Store) -> None:
        """The value set last is read; of what nobody set there is none."""
        for value in ("b2", "b1"):
            await store.set_premise("policy.bundle", value, event("policy.activated"))
        assert await store.premise("policy.bundle") == "b1"
        assert await store.premise("policy.other") is None

    async def test_workspace_moved(self, store: Store) -> None:
        """A workspace that stands at another tree refuses the change, and nothing is written."""
        await store.set_premise("policy.bundle", "b1", event("policy.activated"))
        expected = samples.digest("elsewhere")
        change = full_change()
        assert change.workspace is not None
        moved = replace(change.workspace, expected_sha256=expected)
        with pytest.raises(PremiseChanged) as caught:
            await store.commit(replace(change, workspace=moved))
        assert caught.value.name == "workspace"
        assert await is_untouched(store, events=1)

    async def test_workspace_moves_on(self, store: Store) -> None:
        """A workspace goes from tree to tree, each naming the one before."""
        expected: Sha256 | None = None
        for number in (1, 2, 3):
            tree = samples.digest(f"tree {number}")
            update = WorkspaceUpdate(
                agent=AGENT, session_id=SESSION, expected_sha256=expected, tree_sha256=tree
            )
            await store.commit(first(new_call(number), workspace=update))
            expected = tree
        assert await store.workspace_tree(AGENT, SESSION) == expected
        assert await store.workspace_tree(AGENT2, SESSION) is None
        assert await store.workspace_tree(AGENT, "session-2") is None

    async def test_failed_seal_leaves_no_gap(self, shelf: Shelf) -> None:
        """A receipt that cannot be sealed fails its change alone; the chain has no gap."""

        def seal(draft: ReceiptDraft, position: Position) -> bytes:
            if draft.predicate["call"] == f"calls/{call_id(2)}":
                raise RuntimeError("no key")
            return samples.seal(draft, position)

        store = await shelf.open(seal)
        changes = [first(new_call(number, CallState.DENIED)) for number in (1, 2, 3)]
        ends = await asyncio.gather(*map(store.commit, changes), return_exceptions=True)
        assert isinstance(ends[1], RuntimeError)
        assert sorted(await history.check_store(store)) == [call_id(1), call_id(3)]
        await store.close()


class TestBugs:
    @pytest.mark.parametrize(
        "change",
        [
            first(new_call(1), events=()),
            first(new_call(1), events=(event("call.imagined"),)),
            first(new_call(1), events=(event(Step.RECEIVE), event(Step.DENY))),
            first(new_call(1), events=(event(Step.ALLOW),)),
            first(new_call(1), receipt=samples.receipt(new_call(1))),
            first(new_call(1, CallState.DENIED), receipt=None),
            replace(first(new_call(1)), call=new_call(1, version=0)),
            first(
                new_call(1),
                workspace=WorkspaceUpdate(
                    agent=AGENT2,
                    session_id=SESSION,
                    expected_sha256=None,
                    tree_sha256=samples.digest("tree"),
                ),
            ),
        ],
        ids=[
            "no event",
            "unknown step",
            "steps to another state",
            "no first step",
            "receipt of an open call",
            "end without receipt",
            "version 0",
            "another agent's workspace",
        ],
    )
    async def test_contradiction(self, store: Store, change: Change) -> None:
        """A change that contradicts itself or the lifecycle is refused as a bug."""
        with pytest.raises(ValueError, match=r"."):
            await store.commit(change)
        assert await is_untouched(store, events=0)

    async def test_no_way_out_of_the_end(self, store: Store) -> None:
        """A call that has ended takes no further step."""
        call = new_call(1, CallState.DENIED)
        await store.commit(first(call))
        again = replace(call, version=2)
        with pytest.raises(ValueError, match=r"."):
            await store.commit(replace(first(again), events=(event(Step.DENY),)))

    async def test_names_are_for_life(self, store: Store) -> None:
        """A later change cannot give a call another agent, session, request_id or short id."""
        call = new_call(1)
        await store.commit(first(call))
        for change in (
            {"agent": AGENT2},
            {"session_id": "session-2"},
            {"request_id": "r"},
            {"short_id": "ZZZZZZZZ"},
        ):
            with pytest.raises(ValueError, match=r"."):
                await store.commit(following(replace(call, **change), Step.START))
        assert await store.get_call(call.id) == call


class TestRaces:
    async def test_one_of_fifty_wins(self, store: Store) -> None:
        """Of fifty committers that read the same version exactly one wins."""
        call = new_call(1)
        await store.commit(first(call))
        ends = await asyncio.gather(
            *(store.commit(following(call, Step.START)) for _ in range(50)),
            return_exceptions=True,
        )
        assert [type(end) for end in ends if end is not None] == [StaleCall] * 49
        assert len(await store.events(after=0, limit=99)) == 3

    async def test_one_of_fifty_records_a_request(self, store: Store) -> None:
        """Of fifty calls with one request_id exactly one is recorded."""
        changes = [first(new_call(number, request_id="r")) for number in range(50)]
        ends = await asyncio.gather(*map(store.commit, changes), return_exceptions=True)
        assert [type(end) for end in ends if end is not None] == [DuplicateRequest] * 49
        assert len(await store.open_calls()) == 1

    async def test_one_of_fifty_moves_the_workspace(self, store: Store) -> None:
        """Of fifty changes that saw one tree exactly one moves the workspace."""
        update = WorkspaceUpdate(
            agent=AGENT,
            session_id=SESSION,
            expected_sha256=None,
            tree_sha256=samples.digest("tree"),
        )
        changes = [first(new_call(number), workspace=update) for number in range(50)]
        ends = await asyncio.gather(*map(store.commit, changes), return_exceptions=True)
        assert [type(end) for end in ends if end is not None] == [PremiseChanged] * 49
        assert len(await history.check_store(store)) == 1

    async def test_refused_ones_do_not_harm_their_neighbours(self, store: Store) -> None:
        """Good changes beside refused ones are written whole, in sequences without gaps."""
        changes = [
            first(new_call(number, CallState.DENIED, request_id=f"r{number % 30}"))
            for number in range(90)
        ]
        ends = await asyncio.gather(*map(store.commit, changes), return_exceptions=True)
        assert sum(isinstance(end, StoreError) for end in ends) == 60
        assert len(await history.check_store(store)) == 30

    async def test_a_cancelled_author_harms_nobody(self, store: Store) -> None:
        """A caller that leaves does not stop the others of its group."""
        leaving = asyncio.create_task(store.commit(first(new_call(1))))
        staying = [asyncio.create_task(store.commit(first(new_call(number)))) for number in (2, 3)]
        await asyncio.sleep(0)
        leaving.cancel()
        assert await asyncio.gather(*staying) == [None, None]
        assert set(await history.check_store(store)) >= {call_id(2), call_id(3)}


class TestReads:
    async def test_nothing_there(self, store: Store) -> None:
        """Everything that is not there is None or empty."""
        nowhere = samples.digest("nowhere")
        assert await store.get_call(call_id(1)) is None
        assert await store.find_by_request_id(AGENT, "r") is None
        assert list(await store.find_by_short_id("0000", None)) == []
        assert list(await store.list_calls(CallFilter(), limit=9, before=None)) == []
        assert list(await store.open_calls()) == []
        assert list(await store.recent_calls(samples.START)) == []
        assert await store.document(nowhere) is None
        assert await store.file(AGENT, nowhere) is None
        assert await store.workspace_tree(AGENT, SESSION) is None
        assert await store.receipt(call_id(1)) is None
        assert list(await store.list_receipts(after=0, limit=9)) == []
        assert list(await store.events(after=0, limit=9)) == []

    async def test_short_id_prefix(self, store: Store) -> None:
        """A prefix finds up to two calls, of one agent or of any; no character is a wildcard."""
        names = {1: "ABCD0001", 2: "ABCD0002", 3: "ABCD0003", 4: "ABCE0000"}
        for number, name in names.items():
            agent = AGENT2 if number == 3 else AGENT
            await store.commit(first(new_call(number, short_id=name, agent=agent)))

        async def found(prefix: str, agent: bool) -> list[str]:
            calls = await store.find_by_short_id(prefix, AGENT2 if agent else None)
            return [call.short_id for call in calls]

        assert len(await found("ABCD", agent=False)) == 2
        assert await found("ABCD", agent=True) == ["ABCD0003"]
        assert await found("ABCE", agent=False) == ["ABCE0000"]
        assert await found("ABCE0000", agent=False) == ["ABCE0000"]
        assert await found("ABCE0000", agent=True) == []
        assert await found("AB%", agent=False) == []
        assert await found("A_CE", agent=False) == []

    async def test_documents_by_kind(self, store: Store) -> None:
        """A document keeps its kind, body, exact text."""
        documents = tuple(samples.document(kind.name, kind) for kind in DocumentKind)
        await store.commit(first(new_call(1), documents=documents))
        assert [await store.document(d.sha256) for d in documents] == list(documents)

    async def test_files_are_their_agents(self, store: Store) -> None:
        """An agent's file is no other agent's, even by its digest; nor is it a document."""
        file = samples.file("text")
        await store.commit(first(new_call(1), files=(file,)))
        assert await store.file(AGENT2, file.sha256) is None
        assert await store.document(file.sha256) is None
        await store.commit(first(new_call(2, agent=AGENT2), files=(file,)))
        assert await store.file(AGENT2, file.sha256) == b"text"

    async def test_large_file(self, store: Store) -> None:
        """Eight megabytes of every byte value come back as they were."""
        data = bytes(range(256)) * 32768
        file = File(sha256=sha256_hex(data), data=data)
        await store.commit(first(new_call(1), files=(file,)))
        assert await store.file(AGENT, file.sha256) == data

    async def test_open_calls(self, store: Store) -> None:
        """Every call that has not ended is listed, oldest first."""
        for number, state in ((3, CallState.HELD), (1, CallState.QUEUED), (2, CallState.DENIED)):
            await store.commit(first(new_call(number, state)))
        assert [call.id for call in await store.open_calls()] == [call_id(1), call_id(3)]

    async def test_latest_at(self, store: Store) -> None:
        """The latest time is that of the last event, whatever it was about."""
        before = await store.latest_at()
        at = samples.START + timedelta(days=3)
        await store.append_event(EventDraft(type="broker.tested", at=at))
        assert (before, await store.latest_at()) == (None, at)

    async def test_recent_calls(self, store: Store) -> None:
        """The calls received at that time or later are listed, oldest first."""
        for number in (4, 2, 3, 1):
            await store.commit(first(new_call(number)))
        since = samples.START + timedelta(seconds=2)
        found = [call.id for call in await store.recent_calls(since)]
        assert found == [call_id(2), call_id(3), call_id(4)]


class TestListCalls:
    @pytest.mark.parametrize(
        ("wanted", "numbers"),
        [
            (CallFilter(), [6, 5, 4, 3, 2, 1]),
            (CallFilter(agent=AGENT), [5, 3, 1]),
            (CallFilter(agent=AGENT2), [6, 4, 2]),
            (CallFilter(states=frozenset({CallState.HELD})), [6, 3]),
            (CallFilter(agent=AGENT, states=frozenset({CallState.HELD})), [3]),
            (CallFilter(states=frozenset({CallState.DENIED})), [5, 2]),
            (CallFilter(agent=AGENT2, states=frozenset({CallState.DENIED})), [2]),
            (CallFilter(states=frozenset({CallState.DENIED, CallState.HELD})), [6, 5, 3, 2]),
            (CallFilter(states=frozenset({CallState.QUEUED, CallState.HELD})), [6, 4, 3, 1]),
            (CallFilter(session_id="session-2"), [6, 5, 4]),
            (CallFilter(tool="workspace_read"), [6, 5]),
            (
                CallFilter(
                    agent=AGENT2,
                    states=frozenset({CallState.HELD}),
                    session_id="session-2",
                    tool="workspace_read",
                ),
                [6],
            ),
            (CallFilter(session_id="session-3"), []),
        ],
    )
    async def test_filter(self, store: Store, wanted: CallFilter, numbers: list[int]) -> None:
        """A filter lets through what meets all its parts, newest first."""
        states = (CallState.QUEUED, CallState.DENIED, CallState.HELD)
        for number in (2, 1, 3, 6, 5, 4):
            call = new_call(
                number,
                states[(number - 1) % 3],
                agent=AGENT if number % 2 else AGENT2,
                session_id="session-1" if number < 4 else "session-2",
                tool="python_run" if number < 5 else "workspace_read",
            )
            await store.commit(first(call))
        found = await store.list_calls(wanted, limit=99, before=None)
        assert [call.id for call in found] == [call_id(number) for number in numbers]

    async def test_pages(self, store: Store) -> None:
        """Pages that each begin before the last call of the one before show every call once."""
        for number in range(5):
            await store.commit(first(new_call(number)))
        before: CallId | None = None
        pages = []
        for _ in range(4):
            page = await store.list_calls(CallFilter(agent=AGENT), limit=2, before=before)
            pages.append([call.id for call in page])
            before = page[-1].id if page else before
        assert pages == [
            [call_id(4), call_id(3)],
            [call_id(2), call_id(1)],
            [call_id(0)],
            [],
        ]


class TestBundle:
    async def test_kept(self, store: Store) -> None:
        """The bytes of the last one, its digest as the premise, its event; all or nothing."""
        assert await store.kept_bundle() is None
        for number in (1, 7):
            await store.keep_bundle(samples.bundle(number), event("policy.activated"))
        assert await store.kept_bundle() == samples.bundle(7)
        premises = (("policy.bundle", samples.bundle(7).sha256),)
        assert await store.commit(replace(full_change(), premises=premises)) is not None
        assert len(await store.events(after=0, limit=9)) == 2 + len(full_change().events)

    @pytest.mark.parametrize("number", [6, 7])
    async def test_no_step_forward(self, store: Store, number: int) -> None:
        """One with an older number, or with the same, leaves all as it was."""
        await store.keep_bundle(samples.bundle(7), event("policy.activated"))
        stale = replace(samples.bundle(number), sha256=samples.digest("other"))
        with pytest.raises(StaleBundle):
            await store.keep_bundle(stale, event("policy.activated"))
        assert await store.kept_bundle() == samples.bundle(7)
        assert len(await store.events(after=0, limit=9)) == 1
        premises = (("policy.bundle", samples.bundle(7).sha256),)
        assert await store.commit(replace(full_change(), premises=premises)) is not None

    async def test_stays(self, shelf: Shelf) -> None:
        """A later life finds it."""
        store = await shelf.open()
        await store.keep_bundle(samples.bundle(7), event("policy.activated"))
        await store.close()
        store = await shelf.open()
        assert await store.kept_bundle() == samples.bundle(7)
        await store.close()


class TestEvents:
    async def test_in_order(self, store: Store) -> None:
        """Events stand in the order of their commits, without gaps, with what was given."""
        await store.append_event(event("broker.started", version="1"))
        await store.commit(first(new_call(1)))
        await store.set_premise("policy.bundle", "b1", event("policy.activated", revision=3))
        await store.commit(following(new_call(1), Step.START))
        events = await store.events(after=0, limit=99)
        assert [(e.sequence, e.type, e.call, e.agent) for e in events] == [
            (1, "broker.started", None, None),
            (2, "call.received", call_id(1), AGENT),
            (3, "call.allowed", call_id(1), AGENT),
            (4, "policy.activated", None, None),
            (5, "run.starting", call_id(1), AGENT),
        ]
        assert [e.data for e in events[:2]] == [{"version": "1"}, {"tool": "python_run"}]
        assert events[1].at == new_call(1).received_at

    async def test_notes_come_before_the_step(self, store: Store) -> None:
        """What a call did besides stands before the step that tells of it, once each."""
        call = new_call(1, CallState.QUEUED)
        await store.commit(first(call))
        started = following(call, Step.START)
        await store.commit(started)
        ended = following(started.call, Step.SUCCEED)
        went = EventDraft(type="egress.connected", at=ended.events[0].at, data={"sent_bytes": "1"})
        await store.commit(replace(ended, notes=(went, went)))
        events = await store.events(after=0, limit=99, call=call.id)
        assert [e.type for e in events][-3:] == [went.type, went.type, Step.SUCCEED.value]
        assert events[-2].data == went.data

    async def test_after_and_limit(self, store: Store) -> None:
        """A reader goes on after the last event that it saw, of one call or of all."""
        for number in (1, 2):
            await store.commit(first(new_call(number)))
        await store.commit(following(new_call(1), Step.START))

        async def sequences(after: int, limit: int, call: CallId | None = None) -> list[int]:
            events = await store.events(after=after, limit=limit, call=call)
            return [entry.sequence for entry in events]

        assert await sequences(0, 2) == [1, 2]
        assert await sequences(2, 2) == [3, 4]
        assert await sequences(5, 2) == []
        assert await sequences(0, 9, call_id(1)) == [1, 2, 5]
        assert await sequences(1, 1, call_id(1)) == [2]
        assert await sequences(0, 9, call_id(3)) == []


class TestReceipts:
    async def test_chain(self, store: Store) -> None:
        """Each receipt names the digest of the one before it, the first one zeros."""
        for number in range(5):
            await store.commit(first(new_call(number, CallState.DENIED)))
        receipts = await store.list_receipts(after=0, limit=9)
        history.check_chain(receipts)
        assert [receipt.call for receipt in receipts] == [call_id(number) for number in range(5)]
        assert {receipt.at for receipt in receipts} == {samples.START}

    async def test_after_and_limit(self, store: Store) -> None:
        """A reader goes on after the last receipt that it saw."""
        for number in range(5):
            await store.commit(first(new_call(number, CallState.DENIED)))
        page = await store.list_receipts(after=1, limit=2)
        assert [receipt.sequence for receipt in page] == [2, 3]
        assert list(await store.list_receipts(after=5, limit=2)) == []

    async def test_of_one_agent(self, store: Store) -> None:
        """A list for one agent holds the receipts of its calls alone."""
        for number in range(6):
            agent = AGENT2 if number % 2 else AGENT
            await store.commit(first(new_call(number, CallState.DENIED, agent=agent)))
        found = await store.list_receipts(after=1, limit=2, agent=AGENT)
        assert [receipt.sequence for receipt in found] == [3, 5]
        assert len(await store.list_receipts(after=0, limit=9, agent=AGENT2)) == 3


class TestPeople:
    async def test_first_one_stays(self, store: Store) -> None:
        """A person keeps the pseudonym that was drawn first; another person has another."""
        assert await store.pseudonym("Ann", Pseudonym("p1")) == "p1"
        assert await store.pseudonym("Ann", Pseudonym("p2")) == "p1"
        assert await store.pseudonym("Bob", Pseudonym("p3")) == "p3"

    async def test_taken(self, store: Store) -> None:
        """A pseudonym that is another person's is refused, and harms nobody beside it."""
        await store.pseudonym("Ann", Pseudonym("p1"))
        ends = await asyncio.gather(
            store.commit(first(new_call(1))),
            store.pseudonym("Bob", Pseudonym("p1")),
            store.commit(first(new_call(2))),
            return_exceptions=True,
        )
        assert [type(end) for end in ends] == [type(None), ValueError, type(None)]
        assert await store.pseudonym("Bob", Pseudonym("p2")) == "p2"

    async def test_race(self, store: Store) -> None:
        """Askers at the same time all hear one pseudonym."""
        drawn = [Pseudonym(f"p{number}") for number in range(20)]
        heard = await asyncio.gather(*(store.pseudonym("Ann", fresh) for fresh in drawn))
        assert len(set(heard)) == 1


def halt(number: int, scope: Scope) -> tuple[Halt, Document, EventDraft]:
    """Give what records a halt; greater numbers are later."""
    reason = samples.document(f"reason {number}", DocumentKind.HALT)
    name = HaltId(f"HALT000{number}")
    made = Halt(
        id=name,
        scope=scope,
        set_by=Pseudonym("p1"),
        set_at=samples.START + timedelta(seconds=number),
        reason_sha256=reason.sha256,
    )
    return made, reason, event("halt.set", halt=name)


SCOPES = (
    Scope(everything=True),
    Scope(agent=AGENT),
    Scope(agent=AGENT, session_id=SESSION),
    Scope(tool="python_run"),
)


class TestHalts:
    async def test_reads_back(self, store: Store) -> None:
        """Halts of every scope are listed by time, their reasons are read, their events stand."""
        made = [halt(number, scope) for number, scope in enumerate(SCOPES)]
        for one in reversed(made):
            await store.set_halt(*one)
        assert list(await store.halts()) == [one for one, _, _ in made]
        for one, reason, _ in made:
            assert await store.document(one.reason_sha256) == reason
        events = await store.events(after=0, limit=9)
        assert [(entry.type, entry.call) for entry in events] == [("halt.set", None)] * 4

    async def test_set_twice(self, store: Store) -> None:
        """A halt that is there is left as it is, without a second event."""
        made = halt(1, SCOPES[0])
        await store.set_halt(*made)
        await store.set_halt(*made)
        assert list(await store.halts()) == [made[0]]
        assert len(await store.events(after=0, limit=9)) == 1

    async def test_lift(self, store: Store) -> None:
        """A halt is lifted with one event, however often; another one stays."""
        first_one, second = halt(1, SCOPES[0]), halt(2, SCOPES[3])
        await store.set_halt(*first_one)
        await store.set_halt(*second)
        for _ in range(2):
            await store.lift_halt(first_one[0].id, event("halt.lifted"))
        assert list(await store.halts()) == [second[0]]
        kinds = [entry.type for entry in await store.events(after=0, limit=9)]
        assert kinds == ["halt.set", "halt.set", "halt.lifted"]

    @pytest.mark.parametrize("scope", SCOPES, ids=lambda scope: scope.kind)
    async def test_no_start(self, store: Store, scope: Scope) -> None:
        """A call that a halt covers does not start; nothing of the change is written."""
        call = new_call(1)
        await store.commit(first(call))
        await store.set_halt(*halt(1, scope))
        with pytest.raises(PremiseChanged) as caught:
            await store.commit(following(call, Step.START))
        assert caught.value.name == HALTS_PREMISE
        assert await store.get_call(call.id) == call
        await store.lift_halt(HaltId("HALT0001"), event("halt.lifted"))
        await store.commit(following(call, Step.START))
        await history.check_store(store)

    async def test_others_start(self, store: Store) -> None:
        """A call that no halt covers starts; one that is covered is recorded, cancelled, ended."""
        await store.set_halt(*halt(1, Scope(agent=AGENT)))
        other, own = new_call(1, agent=AGENT2), new_call(2)
        await store.commit(first(other))
        await store.commit(following(other, Step.START))
        await store.commit(first(own))
        await store.commit(following(own, Step.CANCEL))
        await store.commit(first(new_call(3, CallState.DENIED)))
        assert len(await history.check_store(store)) == 3

    async def test_running_ends(self, store: Store) -> None:
        """A call that ran when the halt came is ended as killed, with its receipt."""
        call = new_call(1)
        await store.commit(first(call))
        started = following(call, Step.START)
        await store.commit(started)
        await store.set_halt(*halt(1, SCOPES[0]))
        assert await store.commit(following(started.call, Step.KILL)) is not None

    async def test_survives(self, shelf: Shelf) -> None:
        """A later life finds the halts that were not lifted, and still refuses what they cover."""
        store = await shelf.open()
        await store.commit(first(new_call(1)))
        await store.set_halt(*halt(1, SCOPES[0]))
        await store.set_halt(*halt(2, SCOPES[1]))
        await store.lift_halt(HaltId("HALT0002"), event("halt.lifted"))
        await store.close()
        store = await shelf.open()
        assert [one.id for one in await store.halts()] == ["HALT0001"]
        with pytest.raises(PremiseChanged):
            await store.commit(following(new_call(1), Step.START))
        await store.close()

    async def test_race(self, store: Store) -> None:
        """Of a halt with twenty starts at once, each start is before it, or refused."""
        calls = [new_call(number) for number in range(20)]
        for call in calls:
            await store.commit(first(call))
        ends = await asyncio.gather(
            *(store.commit(following(call, Step.START)) for call in calls[:10]),
            store.set_halt(*halt(1, SCOPES[0])),
            *(store.commit(following(call, Step.START)) for call in calls[10:]),
            return_exceptions=True,
        )
        events = [entry.type for entry in await store.events(after=0, limit=99)]
        assert "run.starting" not in events[events.index("halt.set") :]
        assert {type(end) for end in ends[11:]} == {PremiseChanged}


class TestLabels:
    async def test_a_start_labels_the_agent(self, store: Store) -> None:
        """From its start on a call's agent has its labels, beside those it had; nobody else has."""
        assert await store.labels() == {}
        call = samples.labelled(1, "b", "a")
        await store.commit(first(call))
        assert await store.labels() == {}
        await store.commit(following(call, Step.START))
        assert await store.labels() == {AGENT: {"a", "b"}}
        again = samples.labelled(2, "c", "a", version=2, session_id="session-2")
        await store.commit(first(again))
        await store.commit(following(again, Step.START))
        other = samples.labelled(3, "a", agent=AGENT2)
        await store.commit(first(other))
        await store.commit(following(other, Step.START))
        assert await store.labels() == {AGENT: {"a", "b", "c"}, AGENT2: {"a"}}

    async def test_in_the_first_commit(self, store: Store) -> None:
        """A call that starts in the commit that records it labels its agent, or is not recorded."""

        async def begin(call: Call) -> None:
            steps = (Step.RECEIVE, Step.ALLOW, Step.START)
            await store.commit(Change(call=call, events=tuple(map(event, steps))))

        begun = samples.labelled(1, "a", state=CallState.RUNNING)
        await begin(begun)
        with pytest.raises(PremiseChanged):
            await begin(samples.labelled(2, "b", state=CallState.RUNNING))
        assert await store.labels() == {AGENT: {"a"}}
        assert await history.check_store(store) == {begun.id: begun}

    async def test_refused_for_another_cause(self, store: Store) -> None:
        """A start that is refused, whatever for, leaves no label behind."""
        taken = new_call(1, request_id="retry-1")
        await store.commit(first(taken))
        steps = tuple(map(event, (Step.RECEIVE, Step.ALLOW, Step.START)))
        again = samples.labelled(2, "a", state=CallState.RUNNING, request_id="retry-1")
        with pytest.raises(DuplicateRequest):
            await store.commit(Change(call=again, events=steps))
        queued = samples.labelled(3, "b")
        await store.commit(first(queued))
        with pytest.raises(PremiseChanged):
            await store.commit(following(queued, Step.START, premises=(("policy.bundle", "b1"),)))
        assert await store.labels() == {}

    async def test_every_answer_counts(self, store: Store) -> None:
        """A call labels its agent with what any answer of policy said, not the last alone."""
        call = samples.labelled(1, "first")
        (entry,) = call.evaluations
        call = replace(call, evaluations=(entry, replace(entry, labels=("second",))))
        await store.commit(first(call))
        await store.commit(following(call, Step.START))
        assert await store.labels() == {AGENT: {"first", "second"}}

    @pytest.mark.parametrize("session", [SESSION, "session-2"])
    async def test_no_start_under_fewer(self, store: Store, session: str) -> None:
        """A call that was decided before its agent's last label does not start, in no session."""
        taint, sink = samples.labelled(1, "a"), samples.labelled(2, "b", session_id=session)
        for call in (taint, sink):
            await store.commit(first(call))
        await store.commit(following(taint, Step.START))
        with pytest.raises(PremiseChanged) as caught:
            await store.commit(following(sink, Step.START))
        assert caught.value.name == LABELS_PREMISE
        assert await store.get_call(sink.id) == sink
        assert await store.labels() == {AGENT: {"a"}}
        (entry,) = sink.evaluations
        fresh = replace(sink, evaluations=(replace(entry, label_version=1),))
        await store.commit(following(fresh, Step.START))
        assert await store.labels() == {AGENT: {"a", "b"}}
        await history.check_store(store)

    async def test_only_starts_rest_on_them(self, store: Store) -> None:
        """What a call does besides starting neither labels its agent nor waits for its labels."""
        taint, running = samples.labelled(1, "a"), new_call(2)
        for call in (running, taint):
            await store.commit(first(call))
            await store.commit(following(call, Step.START))
        started = replace(running, version=2, state=CallState.RUNNING)
        await store.commit(following(started, Step.SUCCEED))
        cancelled = samples.labelled(3, "b")
        await store.commit(first(cancelled))
        await store.commit(following(cancelled, Step.CANCEL))
        denied = samples.labelled(4, "c", state=CallState.DENIED)
        await store.commit(first(denied))
        assert await store.labels() == {AGENT: {"a"}}

    async def test_survives(self, shelf: Shelf) -> None:
        """A later life finds every label, and still refuses what was decided without it."""
        store = await shelf.open()
        taint, sink = samples.labelled(1, "a"), new_call(2)
        for call in (taint, sink):
            await store.commit(first(call))
        await store.commit(following(taint, Step.START))
        await store.close()
        store = await shelf.open()
        assert await store.labels() == {AGENT: {"a"}}
        with pytest.raises(PremiseChanged):
            await store.commit(following(sink, Step.START))
        await store.close()

    async def test_race(self, store: Store) -> None:
        """Of twenty starts at once none comes after the one that labels, which they knew not of."""
        calls = [samples.labelled(number, *(["a"] if number == 10 else [])) for number in range(20)]
        for call in calls:
            await store.commit(first(call))
        ends = await asyncio.gather(
            *(store.commit(following(call, Step.START)) for call in calls), return_exceptions=True
        )
        events = await store.events(after=0, limit=99)
        started = [entry.call for entry in events if entry.type == Step.START.value]
        assert started[-1] == call_id(10)
        assert {type(end) for end in ends[11:]} == {PremiseChanged}


class TestLives:
    async def test_everything_stays(self, shelf: Shelf) -> None:
        """A later life finds everything of the former one; the chain goes on with a new epoch."""
        store = await shelf.open()
        await store.set_premise("policy.bundle", "b1", event("policy.activated"))
        change = full_change()
        receipt = await store.commit(change)
        pseudonym = await store.pseudonym("Ann", Pseudonym("p1"))
        installation, epoch = store.installation, store.epoch
        await store.close()
        store = await shelf.open()
        assert (store.installation, store.epoch) == (installation, epoch + 1)
        assert await store.get_call(call_id(1)) == change.call
        assert await store.document(change.documents[0].sha256) == change.documents[0]
        assert await store.file(AGENT, samples.digest("text")) == b"text"
        assert await store.workspace_tree(AGENT, SESSION) == samples.digest("tree")
        assert await store.receipt(call_id(1)) == receipt
        assert await store.pseudonym("Ann", Pseudonym("p2")) == pseudonym
        await store.commit(
            first(new_call(2, CallState.DENIED), premises=(("policy.bundle", "b1"),))
        )
        assert len(await history.check_store(store)) == 2
        await store.close()

    async def test_names(self, shelf: Shelf) -> None:
        """A new store begins its first life under 32 hexadecimal characters."""
        store = await shelf.open()
        assert store.epoch == 1
        assert len(bytes.fromhex(store.installation)) == 16
        await store.close()

    async def test_second_owner(self, shelf: Shelf) -> None:
        """A second broker on one store is refused while the first one lives."""
        store = await shelf.open()
        with pytest.raises(StoreUnavailable) as caught:
            await shelf.open()
        assert caught.value.reason == "STORE_IN_USE"
        await store.commit(first(new_call(1)))
        await store.close()
        store = await shelf.open()
        assert store.epoch == 2
        await store.close()

    async def test_closed(self, shelf: Shelf) -> None:
        """A closed store says so to every reader, to every writer; closing twice is harmless."""
        store = await shelf.open()
        await store.close()
        await store.close()
        with pytest.raises(StoreUnavailable):
            await store.commit(first(new_call(1)))
        with pytest.raises(StoreUnavailable):
            await store.append_event(event("broker.stopped"))
        with pytest.raises(StoreUnavailable):
            await store.get_call(call_id(1))

    async def test_close_finishes(self, shelf: Shelf) -> None:
        """What was handed over before the close is durable after it."""
        store = await shelf.open()
        commits = [asyncio.create_task(store.commit(first(new_call(n)))) for n in range(30)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await store.close()
        assert await asyncio.gather(*commits) == [None] * 30
        store = await shelf.open()
        assert len(await store.open_calls()) == 30
        await store.close()


class TestTime:
    """Whatever was looked at before: a commit may have waited for long."""

    async def test_no_start_too_late(self, shelf: Shelf, store: Store) -> None:
        """A call whose `start_by` has come does not start; a moment before it does."""
        call = new_call(1)
        await store.commit(first(call))
        shelf.clock.advance(call.start_by - shelf.clock.now())
        with pytest.raises(PremiseChanged) as caught:
            await store.commit(following(call, Step.START))
        assert caught.value.name == START_BY_PREMISE
        assert await store.get_call(call.id) == call
        later = replace(call, start_by=call.start_by + timedelta(microseconds=1))
        await store.commit(following(later, Step.START))
        await history.check_store(store)

    async def test_no_start_by_a_clock_that_is_not_believed(
        self, shelf: Shelf, store: Store
    ) -> None:
        """Nobody knows what time it is; another step of a call waits for nothing."""
        call, other = new_call(1), new_call(2)
        await store.commit(first(call))
        shelf.clock.is_trusted = False
        with pytest.raises(PremiseChanged) as caught:
            await store.commit(following(call, Step.START))
        assert caught.value.name == CLOCK_PREMISE
        await store.commit(first(other))
        shelf.clock.is_trusted = True
        await store.commit(following(call, Step.START))
        await history.check_store(store)

    async def test_of_a_group_it_alone_is_refused(self, shelf: Shelf, store: Store) -> None:
        """What is committed together with it starts."""
        late, fine = new_call(1), new_call(2)
        late = replace(late, start_by=shelf.clock.now())
        for call in (late, fine):
            await store.commit(first(call))
        found = await asyncio.gather(
            *(store.commit(following(call, Step.START)) for call in (late, fine)),
            return_exceptions=True,
        )
        assert isinstance(found[0], PremiseChanged)
        assert found[1] is None
        await history.check_store(store)
