"""Every state with every step: what the table says, and nothing besides."""

import pytest

from broker.core.lifecycle import OPEN_STATES, TABLE, CallState, Step, WrongState, after

S = CallState
ALLOWED_STEPS: dict[CallState | None, dict[Step, CallState]] = {
    None: {Step.RECEIVE: S.RECEIVED},
    S.RECEIVED: {Step.ALLOW: S.QUEUED, Step.HOLD: S.HELD, Step.DENY: S.DENIED},
    S.HELD: {
        Step.VOTE: S.HELD,
        Step.APPROVE: S.QUEUED,
        Step.REJECT: S.REJECTED,
        Step.DENY: S.DENIED,
        Step.EXPIRE: S.EXPIRED,
        Step.CANCEL: S.CANCELLED,
        Step.INTERRUPT: S.INTERRUPTED,
    },
    S.QUEUED: {
        Step.START: S.RUNNING,
        Step.HOLD: S.HELD,
        Step.DENY: S.DENIED,
        Step.EXPIRE: S.EXPIRED,
        Step.CANCEL: S.CANCELLED,
        Step.FAIL_TO_BEGIN: S.SANDBOX_ERROR,
        Step.INTERRUPT: S.INTERRUPTED,
    },
    S.RUNNING: {
        Step.SUCCEED: S.SUCCEEDED,
        Step.FAIL: S.FAILED,
        Step.CANCEL: S.CANCELLED,
        Step.TIME_OUT: S.TIMED_OUT,
        Step.KILL: S.KILLED,
        Step.INTERRUPT: S.INTERRUPTED,
        Step.FAIL_TO_BEGIN: S.SANDBOX_ERROR,
    },
}
FINAL = set(CallState) - OPEN_STATES


class TestTable:
    @pytest.mark.parametrize("state", [None, *CallState], ids=lambda s: s.name if s else "nothing")
    @pytest.mark.parametrize("step", Step, ids=lambda step: step.name)
    def test_pair(self, state: CallState | None, step: Step) -> None:
        """A step leads where the contract says, or is refused."""
        wanted = ALLOWED_STEPS.get(state, {}).get(step)
        if wanted is None:
            with pytest.raises(WrongState):
                after(state, step)
        else:
            assert after(state, step) is wanted

    def test_final_states(self) -> None:
        """A final state has no way out."""
        assert {state for state, _ in TABLE} & FINAL == set()
        assert all(state.is_final for state in FINAL)

    def test_reachable(self) -> None:
        """Every state can be reached from nothing, and from every open one an end can."""
        reached: set[CallState | None] = {None}
        while fresh := {to for (at, _), to in TABLE.items() if at in reached} - reached:
            reached |= fresh
        assert reached == {None, *CallState}
        ends: set[CallState | None] = set(FINAL)
        while fresh_ends := {at for (at, _), to in TABLE.items() if to in ends} - ends:
            ends |= fresh_ends
        assert ends == {None, *CallState}

    def test_one_way_to_run(self) -> None:
        """A call begins by one step, once: nothing leads back from RUNNING."""
        assert [at for (at, _), to in TABLE.items() if to is S.RUNNING] == [S.QUEUED]
        assert {to for (at, _), to in TABLE.items() if at is S.RUNNING} <= FINAL

    def test_events_are_named_apart(self) -> None:
        """Every step has an event type of its own."""
        assert len({step.value for step in Step}) == len(Step)
