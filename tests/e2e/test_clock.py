"""A machine whose clock is not believed, on a real broker: nothing begins until people say when."""

import sqlite3
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta

import grpc
import pytest

from broker.client import ClientError
from tests.api.rpc import Rpc, state
from tests.broker_process import PROGRAM, Served
from tests.e2e.halting import until
from tests.e2e.test_sign_off import approve, hold, refused, view_of


def age(served: Served, by: timedelta) -> None:
    """Let a stopped broker's record be as old as if it had been off since then."""
    with closing(sqlite3.connect(served.folder.store, isolation_level=None)) as store:
        (trigger,) = store.execute(
            "SELECT sql FROM sqlite_schema WHERE name = 'events_update'"
        ).fetchone()
        store.execute("DROP TRIGGER events_update")
        microseconds = by // timedelta(microseconds=1)
        store.execute("UPDATE events SET at_us = at_us - ?", (microseconds,))
        store.execute(trigger)


@pytest.fixture
def off_for(serve_steered) -> Callable[[timedelta], Served]:
    """Give a broker that starts on a record which ends so long ago."""

    def restarted(by: timedelta) -> Served:
        served: Served = serve_steered()
        served.stop()
        age(served, by)
        served.start()
        return served

    return restarted


class TestOff:
    def test_for_three_days(self, off_for):
        """After three days nothing begins or is approved until an administrator names the time."""
        served = off_for(timedelta(days=3))
        agent, admin = Rpc.of(served), served.client("admin")
        held = hold(agent)
        view = view_of(served, held)
        assert refused(lambda: approve(served, "approver", held.name, view)) == (
            "UNAVAILABLE",
            "CLOCK_UNTRUSTED",
        )
        assert "calls wait for the clock" in served.words()
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(served.client().call, "python_run", {"code": "1"}, session="w")
            until(lambda: bool(served.client().calls("session=w state=QUEUED")), "it is queued")
            with pytest.raises(ClientError) as caught:
                admin.go_on_at(datetime.now(UTC) + timedelta(days=2))
            assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
            was = admin.go_on_at(datetime.now(UTC))
            # Asked for three days ago by the record: neither is begun so late by surprise.
            assert state(waiting.result()) == "EXPIRED"
        assert state(agent.wait(held.name)) == "EXPIRED"
        assert datetime.now(UTC) - was > timedelta(days=2, hours=23)
        assert state(agent.execute("python_run", {"code": "1"})) == "SUCCEEDED"
        with pytest.raises(ClientError) as caught:
            admin.go_on_at(datetime.now(UTC))
        assert caught.value.reason == "CLOCK_TRUSTED"
        served.restart()
        assert state(Rpc.of(served).execute("python_run", {"code": "1"})) == "SUCCEEDED"

    def test_for_a_night(self, off_for):
        """The twin: after 23 hours the clock is followed, and calls run."""
        served = off_for(timedelta(hours=23))
        assert state(Rpc.of(served).execute("python_run", {"code": "1"})) == "SUCCEEDED"

    @pytest.mark.parametrize(
        ("text", "code"), [("tomorrow", 2), ("2026-11-26T08:15:00", 2), ("2020-01-01T00:00:00Z", 7)]
    )
    def test_command(self, steered, text, code):
        """The command wants a whole time, and says where there is none to name."""
        words = ["resume", "--clock-now", text, "--config", steered.folder.config]
        done = subprocess.run(
            [PROGRAM, *words, "--address", steered.target],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode, done.stdout) == (code, "")
