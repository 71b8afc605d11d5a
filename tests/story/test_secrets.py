"""Who gets a secret: a tool that declares it, in a call that policy grants it to; nobody else."""

import json
from dataclasses import replace

import pytest

from broker.answer import read_request
from broker.core.call import Call, Cause
from broker.core.lifecycle import CallState
from broker.job import job_of
from tests.ports.fake_sandbox import Trouble
from tests.story.stage import ALLOWED, Stage

TOOL = "workspace_write"
VALUE = b"s3cr3t-Token/42"


async def staged(declared: tuple[str, ...], granted: list[str]) -> Stage:
    """Start a broker that keeps two secrets."""
    stage = Stage()
    stage.declare(TOOL, *declared)
    stage.policy.secrets = granted
    stage.secrets.values = {"token": VALUE, "other": b"fedcba9876543210"}
    await stage.start()
    return stage


async def ended(stage: Stage, tool: str = TOOL, mark: str = "f") -> Call:
    """Call a tool, see it end."""
    arguments = {"path": mark, "content": mark} if tool == TOOL else {"code": mark}
    call = await stage.call(tool, **arguments)
    await stage.pass_time(2)
    return stage.stored(call.id)


def given(stage: Stage) -> list[str]:
    """Name the secrets that tools got, one entry a run."""
    return [",".join(each.name for each in secrets) for secrets in stage.host.given.values()]


class TestDelivery:
    @pytest.mark.parametrize(
        ("declared", "granted", "got"),
        [
            (("token",), ["token"], "token"),
            (("token", "other"), ["other", "token"], "other,token"),
            (("token",), ["other", "token"], "token"),
            (("token", "other"), ["token"], "token"),
            (("token",), [], ""),
            ((), ["token"], ""),
            (("other",), ["token"], ""),
        ],
    )
    async def test_what_is_declared_and_granted(
        self, declared: tuple[str, ...], granted: list[str], got: str
    ) -> None:
        """A call gets exactly the secrets that its tool declares and its decision lists."""
        stage = await staged(declared, granted)
        call = await ended(stage)
        assert (call.state, given(stage)) == (CallState.SUCCEEDED, [got])

    async def test_none_for_the_agents_own_code(self) -> None:
        """A tool that runs the agent's code gets none, whatever policy grants."""
        stage = await staged(("token",), ["token"])
        call = await ended(stage, ALLOWED)
        assert (call.state, given(stage)) == (CallState.SUCCEEDED, [""])

    async def test_clamped_once_more(self) -> None:
        """A record that names more than the tool declares gives away no more than that."""
        stage = await staged(("token",), ["token"])
        call = await ended(stage)
        assert call.obligations is not None
        more = replace(call, obligations=replace(call.obligations, secrets=("other", "token")))
        world = stage.life.world
        tool = world.toolbox.find(TOOL)
        assert tool is not None
        job = await job_of(world, tool.tool, more, await read_request(world.store, call))
        assert [secret.name for secret in job.secrets] == ["token"]

    async def test_the_record_names_it_and_no_more(self) -> None:
        """Result document and receipt say that it was given; its value is nowhere in the store."""
        stage = await staged(("token",), ["token"])
        call = await ended(stage)
        assert call.result_sha256 is not None
        result = stage.disk.documents[call.result_sha256].body
        assert (result["secrets"], result["redactions"]) == (["token"], 0)
        (receipt,) = [each for each in stage.disk.receipts if each.call == call.id]
        (said,) = [
            entry
            for entry in json.loads(receipt.envelope)["predicate"]["obligations"]
            if entry["name"] == "secrets"
        ]
        assert said == {"name": "secrets", "count": 1, "enforced": True}
        assert VALUE.decode() not in repr(vars(stage.disk))


class TestValues:
    async def test_a_new_value_needs_no_restart(self) -> None:
        """Each run gets the value that the secret has when it begins."""
        stage = await staged(("token",), ["token"])
        await ended(stage)
        stage.secrets.values["token"] = b"another value"
        await ended(stage, mark="g")
        values = [secret.value for (secret,) in stage.host.given.values()]
        assert values == [VALUE, b"another value"]

    async def test_unreadable(self) -> None:
        """What cannot be read ends the call before anything began, says so, and is alarmed."""
        stage = await staged(("token",), ["token"])
        del stage.secrets.values["token"]
        call = await ended(stage)
        assert (call.state, call.cause) == (CallState.SANDBOX_ERROR, Cause.SECRET_UNAVAILABLE)
        assert (given(stage), call.started_at, call.run) == ([], None, None)
        assert stage.alarms.heard == ["a secret cannot be read"]

    async def test_unreadable_makes_no_container(self) -> None:
        """None is started for what cannot begin: the receipt's "no sandbox" is the truth."""
        stage = await staged(("token",), ["token"])
        del stage.secrets.values["token"]
        stage.host.troubles.append(Trouble.BROKEN_MAKER)
        await ended(stage)
        assert stage.host.troubles == [Trouble.BROKEN_MAKER]
        stage.host.troubles.clear()
        await stage.check_all_ended()

    async def test_readable_again(self) -> None:
        """The twin: with its value back the next call runs."""
        stage = await staged(("token",), ["token"])
        del stage.secrets.values["token"]
        await ended(stage)
        stage.secrets.values["token"] = VALUE
        assert (await ended(stage, mark="g")).state is CallState.SUCCEEDED

    async def test_unreadable_is_nobody_elses_trouble(self) -> None:
        """A call that was not granted it runs all the same."""
        stage = await staged(("token",), [])
        stage.secrets.values.clear()
        assert (await ended(stage)).state is CallState.SUCCEEDED
