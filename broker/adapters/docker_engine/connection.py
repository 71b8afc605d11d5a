"""Call the blocking Docker SDK from one event loop, never longer than a deadline."""

import asyncio
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import TypeVar

import requests
from docker import APIClient
from docker.errors import APIError, DockerException

from broker.errors import SandboxError

T = TypeVar("T")

_ABANDONED_PER_WORKER = 8


class EngineFault(SandboxError):
    """The Engine refused a request, or did not answer.

    Args:
        http_code: The Engine's answer, such as 404; None where there was none.
    """

    reason = "SANDBOX_ENGINE_UNAVAILABLE"

    def __init__(self, message: str, *, http_code: int | None = None) -> None:
        super().__init__(message)
        self.http_code = http_code


class EngineConnection:
    """One Engine, asked from threads of its own.

    Each request has its thread, at most `workers` of them making sandboxes at a time. A thread
    that does not come back before its deadline is counted, abandoned, and its place given away;
    the threads are daemons, so that a hung Engine cannot keep the broker from ending.

    Args:
        base_url: Where the Engine listens: `unix:///...` or `tcp://host:port`.
        request_timeout_s: How long one answer of the Engine may take.
    """

    def __init__(self, base_url: str, *, workers: int, request_timeout_s: float) -> None:
        self._base_url = base_url
        self._workers = workers
        self._request_timeout_s = request_timeout_s
        self._places = asyncio.Semaphore(workers)
        self._client: APIClient | None = None
        self._client_lock = threading.Lock()
        self._abandoned = 0
        self._abandoned_lock = threading.Lock()

    @property
    def abandoned(self) -> int:
        """How many threads hang in a request that nobody waits for any more."""
        return self._abandoned

    async def call(
        self,
        intent: str,
        work: Callable[[APIClient], T],
        *,
        deadline_s: float,
        queued: bool = False,
        late: Callable[[APIClient, T], object] | None = None,
    ) -> T:
        """Do blocking work with the Engine.

        Args:
            intent: What is being done, for the message: `could not {intent}`.
            deadline_s: After this the caller is answered, whatever the Engine does.
            queued: Whether to wait for one of the `workers` places; endings never wait.
            late: Undoes a result that arrives when nobody waits for it any more.

        Raises:
            EngineFault: The Engine refused, failed or did not answer in time.
            SandboxError: Whatever `work` raised of this kind.
        """
        if self._abandoned >= self._workers * _ABANDONED_PER_WORKER:
            raise EngineFault(
                f"could not {intent}: {self._abandoned} requests hang in the Docker Engine; "
                "restart the Engine"
            )
        place: AbstractAsyncContextManager[None] = self._places if queued else nullcontext()
        async with place:
            return await self._in_thread(intent, work, deadline_s, late)

    def close(self) -> None:
        """Release the connections that are not in use."""
        with self._client_lock:
            if self._client is not None:
                self._client.close()

    async def _in_thread(
        self,
        intent: str,
        work: Callable[[APIClient], T],
        deadline_s: float,
        late: Callable[[APIClient, T], object] | None,
    ) -> T:
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        thread = threading.Thread(target=self._answer, args=(future, intent, work), daemon=True)
        thread.start()
        try:
            async with asyncio.timeout(deadline_s):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            self._abandon(future, late)
            raise EngineFault(
                f"could not {intent}: no answer from the Docker Engine in {deadline_s:.0f} s"
            ) from None
        except asyncio.CancelledError:
            self._abandon(future, late)
            raise
        finally:
            # A fault has this frame in its traceback: found here, it would keep itself alive.
            del future

    def _answer(self, future: "Future[T]", intent: str, work: Callable[[APIClient], T]) -> None:
        try:
            future.set_result(work(self._connected()))
        except SandboxError as error:
            future.set_exception(error)
        except Exception as error:  # the SDK raises requests', urllib3's and its own
            _clear_frames(error)
            future.set_exception(_translated(intent, error))
        finally:
            # As above.
            del future

    def _abandon(self, future: "Future[T]", late: Callable[[APIClient, T], object] | None) -> None:
        with self._abandoned_lock:
            self._abandoned += 1

        def came_back(done: "Future[T]") -> None:
            with self._abandoned_lock:
                self._abandoned -= 1
            if late is not None and done.exception() is None:
                # Where the result was there already, this runs in the event loop.
                undo = partial(late, self._connected(), done.result())
                threading.Thread(target=undo, daemon=True).start()

        future.add_done_callback(came_back)

    def _connected(self) -> APIClient:
        with self._client_lock:
            if self._client is None:
                self._client = APIClient(
                    base_url=self._base_url,
                    version="auto",
                    timeout=int(self._request_timeout_s),
                    max_pool_size=self._workers * 2,
                )
                # Proxies and CA bundles of the environment are not for the Engine.
                self._client.trust_env = False
            return self._client


def _clear_frames(error: BaseException) -> None:
    """Let go of what an error's frames hold: in the SDK's they hold the error, and so each other,
    with the connection to an Engine that may be dead, until a collector comes by.
    """
    link: BaseException | None = error
    while link is not None:
        traceback.clear_frames(link.__traceback__)
        link = link.__cause__ or link.__context__


def _translated(intent: str, error: Exception) -> EngineFault:
    if isinstance(error, APIError):
        response = error.response
        code = response.status_code if response is not None else None
        fault = EngineFault(f"could not {intent}: {error.explanation or error}", http_code=code)
    elif isinstance(error, (DockerException, requests.RequestException, OSError)):
        fault = EngineFault(
            f"could not {intent}: {error}; is the Docker Engine running, and may this user use it?"
        )
    else:
        fault = EngineFault(f"could not {intent}: {type(error).__name__}: {error}")
    fault.__cause__ = error
    return fault
