"""Make sandboxes with a Docker Engine; clear away what earlier ones left."""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

from broker.adapters.docker_engine.connection import EngineConnection, EngineFault
from broker.adapters.docker_engine.container import Container
from broker.adapters.docker_engine.first_process import hold
from broker.adapters.docker_engine.kernel import confirm_first_process
from broker.adapters.docker_engine.last_resort import kill_processes
from broker.adapters.docker_engine.owner import living
from broker.adapters.docker_engine.runtimes import RUNC, Kernel, Runtime, demanded, registered
from broker.adapters.docker_engine.sandbox import DockerSandbox
from broker.adapters.docker_engine.sentry import confirm_sentry
from broker.adapters.docker_engine.settings import (
    BOOT_LABEL,
    INSTALLATION_LABEL,
    OWNER_LABEL,
    SLOT_LABEL,
    container_config,
    enforced,
)
from broker.adapters.docker_engine.start import Started, greet, remove_now, start
from broker.adapters.docker_engine.uids import Uids
from broker.core.sandbox import UIDS, Enforced, Profile
from broker.errors import SandboxError
from broker.ports import EgressGateway, Outlet

_REMOVALS = 3


class DockerEngine:
    """Sandboxes as containers of one Docker Engine (see `broker.ports.SandboxEngine`).

    Args:
        base_url: Where the Engine listens: `unix:///...` or `tcp://host:port`.
        installation: Id of the store; containers of other installations are never touched.
        boot: Names this life of the broker; the sweep leaves its containers alone.
        owner: Names this process (`owner.this_process`): while it lives nobody else's sweep touches
            its containers; empty: they are touched by any.
        workers: How many containers are being made at a time.
        seccomp: JSON text of the seccomp profile.
        uids: User ids of which each container gets its own; nobody else on the machine has them.
        egress: Makes the sockets of containers that may reach something; without it none may.
        grace_s: How long each step of an ending may take.
        start_s: How long making a container may take, until its launcher answers.
    """

    def __init__(
        self,
        base_url: str,
        *,
        installation: str,
        boot: str,
        owner: str = "",
        workers: int,
        seccomp: str,
        uids: range = UIDS,
        egress: EgressGateway | None = None,
        grace_s: float = 10.0,
        start_s: float = 60.0,
    ) -> None:
        self._connection = EngineConnection(
            base_url, workers=workers, request_timeout_s=max(grace_s, start_s / 2)
        )
        self._installation = installation
        self._boot = boot
        self._owner = owner
        self._seccomp = seccomp
        self._uids = Uids(uids)
        self._egress = egress
        self._grace_s = grace_s
        self._start_s = start_s
        self._leftovers: set[str] = set()
        self._preparing: set[asyncio.Task[DockerSandbox]] = set()
        # Being made, or handed out: a container of this boot in no such slot is nobody's.
        self._slots: set[str] = set()

    async def prepare(self, profile: Profile, *, slot: str) -> DockerSandbox:
        """Create and start a fresh container by exactly this profile; verify it by reading back.

        Raises:
            SandboxError: It could not be made, or was not made as demanded; nothing is left.
        """
        self._slots.add(slot)
        preparing = asyncio.create_task(self._prepare(profile, slot))
        self._preparing.add(preparing)
        preparing.add_done_callback(self._preparing.discard)
        try:
            return await asyncio.shield(preparing)
        except asyncio.CancelledError:
            # The Engine cannot be stopped half-way: let it finish, then clear away.
            if not preparing.cancelled():
                await self._discard_prepared(preparing)
            self._forget(slot)
            raise
        except BaseException:
            self._forget(slot)
            raise

    def at_hand(self, profile: Profile) -> None:
        """Hand out nothing: this makes containers when they are asked for, and keeps none."""

    def renew(self) -> None:
        """Do nothing: this keeps no containers that wait."""

    async def sweep(self) -> int:
        """Remove this installation's containers of earlier boots; return how many.

        Those of this boot that came late, or could not be removed in time, go too.

        Raises:
            SandboxError: The Engine does not answer, or did not remove one; or one is of a broker
                that runs, as where this store is a copy of that one's: nothing was removed.
        """
        labels = await self._own_containers()
        self._refuse_in_use(labels.values())
        found = {each: (said[BOOT_LABEL], said[SLOT_LABEL]) for each, said in labels.items()}
        old = [each for each, (boot, _) in found.items() if boot != self._boot]
        stray = [
            each
            for each, (boot, slot) in found.items()
            if boot == self._boot and slot not in self._slots
        ]
        for container_id in {*old, *stray, *self._leftovers}:
            await self._remove(container_id)
            # An Engine can remove a container while the runtime's command that makes it hangs, and
            # one that died while it made it knows nothing of its shim.
            is_gone = container_id not in self._leftovers
            await asyncio.to_thread(kill_processes, container_id, is_gone=is_gone)
        if self._egress is not None:
            await self._egress.sweep(self._slots)
        if left := self._leftovers & set(old):
            raise SandboxError(
                f"the Docker Engine did not remove {len(left)} containers of an earlier life of "
                "this broker: restart the Engine"
            )
        return len(old)

    async def check(self) -> Mapping[str, str]:
        """Describe the Engine for receipts and GetServerInfo.

        Raises:
            SandboxError: The Engine does not answer.
        """
        info = await self._info()
        return {
            "version": str(info.get("ServerVersion", "")),
            "runtimes": ",".join(registered(info)),
            "default_runtime": str(info.get("DefaultRuntime", "")),
            "cgroup_version": str(info.get("CgroupVersion", "")),
            "cgroup_driver": str(info.get("CgroupDriver", "")),
            "kernel": str(info.get("KernelVersion", "")),
            "security": ",".join(info.get("SecurityOptions") or ()),
            "abandoned_requests": str(self._connection.abandoned),
        }

    async def missing_images(self, images: Collection[str]) -> frozenset[str]:
        """Name those of these image ids that the Engine does not have.

        Raises:
            SandboxError: The Engine does not answer.
        """
        present = await self._connection.call(
            "list images",
            lambda client: cast("list[dict[str, Any]]", client.images(all=True)),
            deadline_s=self._grace_s,
        )
        return frozenset(images) - {str(image["Id"]) for image in present}

    async def close(self) -> None:
        """Discard every container of this boot, then release the connections."""
        for preparing in list(self._preparing):
            await self._discard_prepared(preparing)
        if self._egress is not None:
            await self._egress.close()
        try:
            for container_id, said in (await self._own_containers()).items():
                if said[BOOT_LABEL] == self._boot:
                    await self._remove(container_id)
        except SandboxError:
            # An Engine that does not answer: the next boot's sweep finds them.
            pass
        self._connection.close()

    async def _prepare(self, profile: Profile, slot: str) -> DockerSandbox:
        outlet = await self._open_outlet(profile, slot)
        try:
            return await self._prepare_with(outlet, profile, slot)
        except BaseException:
            if outlet is not None:
                await outlet.close()
            raise

    async def _open_outlet(self, profile: Profile, slot: str) -> Outlet | None:
        if not profile.egress:
            return None
        if self._egress is None:
            raise SandboxError("this broker opens no way out: no sockets can be made for egress")
        return await self._egress.open(slot, profile.egress)

    async def _prepare_with(
        self, outlet: Outlet | None, profile: Profile, slot: str
    ) -> DockerSandbox:
        labels = self._labels(slot)
        runtime = await self._runtime(profile.runtime)
        sockets = outlet.folder if outlet else None
        uid = self._uids.take(slot)
        config = container_config(
            profile,
            uid=uid,
            seccomp=self._seccomp,
            labels=labels,
            runtime=runtime,
            sockets=sockets,
        )
        started = await self._connection.call(
            "start a container",
            lambda client: start(client, config, f"toolwarrant-{self._boot}-{slot}"),
            deadline_s=self._start_s,
            queued=True,
            late=lambda client, late: remove_now(client, late.id),
        )
        try:
            await greet(started, within_s=self._start_s)
            container = Container(
                id=started.id,
                slot=slot,
                wire=started.wire,
                cgroup=started.cgroup,
                outlet=outlet,
                enforced=self._read_back(profile, uid, runtime, labels, started, sockets),
                # The last step: nothing after it can fail and leave the descriptor open.
                first_process=hold(started.inspection["State"]["Pid"], started.id),
            )
        except BaseException:
            started.wire.close()
            await self._remove(started.id)
            raise
        return DockerSandbox(
            container,
            self._connection,
            grace_s=self._grace_s,
            remove=partial(self._take_back, slot),
        )

    async def _runtime(self, name: str) -> Runtime:
        """Look the demanded runtime up; asked each time, as an Engine can be reconfigured.

        Raises:
            RuntimeMissing: The Engine does not have it.
        """
        return RUNC if name == RUNC.name else demanded(await self._info(), name)

    async def _info(self) -> dict[str, Any]:
        return await self._connection.call(
            "ask the Docker Engine about itself",
            lambda client: client.info(),
            deadline_s=self._grace_s,
        )

    def _read_back(
        self,
        profile: Profile,
        uid: int,
        runtime: Runtime,
        labels: Mapping[str, str],
        started: Started,
        sockets: Path | None,
    ) -> Enforced:
        pid = started.inspection["State"]["Pid"]
        is_gvisor = runtime.kernel is Kernel.GVISOR
        return enforced(
            profile,
            started.inspection,
            uid=uid,
            seccomp=self._seccomp,
            labels=labels,
            kernel_confirmed=not is_gvisor and confirm_first_process(pid, started.id, uid),
            runtime=runtime,
            sockets=sockets,
            sentry=confirm_sentry(pid, started.id) if is_gvisor else None,
        )

    async def _discard_prepared(self, preparing: "asyncio.Task[DockerSandbox]") -> None:
        try:
            sandbox = await asyncio.shield(preparing)
        except SandboxError:
            return
        await sandbox.discard()

    async def _take_back(self, slot: str, container_id: str) -> None:
        await self._remove(container_id)
        self._forget(slot)

    def _forget(self, slot: str) -> None:
        self._slots.discard(slot)
        self._uids.give_back(slot)

    async def _remove(self, container_id: str) -> None:
        self._leftovers.add(container_id)
        for attempt in range(_REMOVALS):
            try:
                await self._connection.call(
                    "remove a container",
                    lambda client: remove_now(client, container_id),
                    deadline_s=self._grace_s,
                )
            except EngineFault:
                # A hung runtime ends no container: what is left of this one is ended without it.
                await asyncio.to_thread(kill_processes, container_id)
                await asyncio.sleep(0.1 * 2**attempt)
            else:
                self._leftovers.discard(container_id)
                return

    async def _own_containers(self) -> dict[str, dict[str, str]]:
        """Map the ids of this installation's containers to what their labels say."""
        wanted = {"label": [f"{INSTALLATION_LABEL}={self._installation}"]}
        found = await self._connection.call(
            "list containers",
            lambda client: cast(
                "list[dict[str, Any]]", client.containers(all=True, filters=wanted)
            ),
            deadline_s=self._grace_s,
        )
        names = (BOOT_LABEL, SLOT_LABEL, OWNER_LABEL)
        return {
            each["Id"]: {name: each["Labels"].get(name, "") for name in names} for each in found
        }

    def _refuse_in_use(self, labels: Iterable[Mapping[str, str]]) -> None:
        for owner in {said[OWNER_LABEL] for said in labels} - {self._owner}:
            if pid := living(owner):
                raise SandboxError(
                    f"a broker that runs (process {pid}) has containers of this store's "
                    "installation, so one store is a copy of the other: serve the copy on another "
                    "machine, or stop that broker",
                    reason="CONTAINERS_IN_USE",
                )

    def _labels(self, slot: str) -> dict[str, str]:
        return {
            INSTALLATION_LABEL: self._installation,
            BOOT_LABEL: self._boot,
            SLOT_LABEL: slot,
            OWNER_LABEL: self._owner,
        }
