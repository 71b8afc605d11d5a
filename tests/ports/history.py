"""Say what must hold of a store's record at any moment."""

from collections.abc import Mapping, Sequence

from broker.core.call import Call
from broker.core.halt import Scope
from broker.core.ids import AgentId, CallId, sha256_hex
from broker.core.lifecycle import CallState, Step, after
from broker.ports import Event, Store, StoredReceipt
from tests.ports import samples

ALL = 1_000_000


def is_note(event: Event) -> bool:
    """Tell whether an event of a call is no step of it."""
    return event.type.startswith(("egress.", "agent."))


def check_call(call: Call, events: Sequence[Event], receipt: StoredReceipt | None) -> None:
    """Fail where a call is not what its events made it, or has ended without its receipt."""
    state: CallState | None = None
    for event in events:
        # What happened besides its steps leads nowhere.
        if is_note(event):
            continue
        try:
            state = after(state, Step(event.type))
        except ValueError as error:
            raise AssertionError(f"{call.name} has an event too many: {error}") from error
    assert state is call.state, f"{call.name} says {call.state}, its events say {state}"
    assert (receipt is not None) == call.state.is_final, f"{call.name} has a wrong receipt"


def check_sequences(events: Sequence[Event], receipts: Sequence[StoredReceipt]) -> None:
    """Fail where a sequence has a gap or a call has two receipts."""
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert [receipt.sequence for receipt in receipts] == list(range(1, len(receipts) + 1))
    assert len({receipt.call for receipt in receipts}) == len(receipts)


def check_chain(receipts: Sequence[StoredReceipt]) -> None:
    """Fail where a receipt made by `samples.seal` does not name its place in the chain."""
    previous: str = "0" * 64
    for receipt in receipts:
        assert samples.receipt_place(receipt.envelope) == (receipt.sequence, previous)
        previous = sha256_hex(receipt.envelope)


def check_halts(events: Sequence[Event], calls: Mapping[CallId, Call]) -> None:
    """Fail where a call started while a halt that covers it stood in the record."""
    scopes: dict[str, Scope] = {}
    for event in events:
        if event.type == "halt.set":
            scopes[str(event.data["halt"])] = Scope(
                everything=event.data["scope"] == "all",
                agent=AgentId(str(event.data["agent"])),
                session_id=str(event.data["session"]),
                tool=str(event.data["tool"]),
            )
        elif event.type == "halt.lifted":
            del scopes[str(event.data["halt"])]
        elif event.type == Step.START.value and event.call is not None:
            call = calls[event.call]
            assert not any(scope.covers_call(call) for scope in scopes.values()), call.name


def check_labels(
    events: Sequence[Event], calls: Mapping[CallId, Call], held: Mapping[AgentId, frozenset[str]]
) -> None:
    """Fail where a call started under fewer labels than its agent had, or a label was lost."""
    earned: dict[AgentId, frozenset[str]] = {}
    for event in events:
        if event.type == Step.START.value and event.call is not None:
            call = calls[event.call]
            before = earned.get(call.agent, frozenset())
            assert call.evaluations[-1].label_version == len(before), call.name
            earned[call.agent] = before | call.labels
    assert {agent: labels for agent, labels in earned.items() if labels} == held, held


async def check_store(store: Store) -> Mapping[CallId, Call]:
    """Read the whole record through the port and check all of it; give its calls."""
    events = await store.events(after=0, limit=ALL)
    receipts = await store.list_receipts(after=0, limit=ALL)
    check_sequences(events, receipts)
    check_chain(receipts)
    by_call = {receipt.call: receipt for receipt in receipts}
    calls: dict[CallId, Call] = {}
    for name in dict.fromkeys(event.call for event in events if event.call is not None):
        call = await store.get_call(name)
        assert call is not None, f"events of a call that is not there: {name}"
        own = [event for event in events if event.call == name]
        check_call(call, own, by_call.get(name))
        calls[name] = call
    return calls
