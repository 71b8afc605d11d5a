"""Do work one piece at a time in a thread that may hang."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")
_Piece = Callable[[], None]


class Stuck(Exception):
    """The work did not end in time, or what was given before it has not ended yet."""


class Worker:
    """One thread for a library that is not to be trusted to come back.

    A piece that hangs is left behind with the thread, which ends with the process: nobody can stop
    it. While it hangs nothing more is begun, so that no second thread ever waits behind it.

    Args:
        within_s: How long one piece may take.
    """

    def __init__(self, within_s: float) -> None:
        self._within_s = within_s
        self._pieces: SimpleQueue[_Piece] = SimpleQueue()
        self._turn = threading.Lock()
        self._hanging: threading.Event | None = None
        threading.Thread(target=self._run, name="token", daemon=True).start()

    def do(self, work: Callable[[], T]) -> T:
        """Do work in the thread; what it raises is raised here.

        Raises:
            Stuck: It does not end.
        """
        with self._turn:
            if self._hanging is not None and not self._hanging.is_set():
                raise Stuck
            result: Future[T] = Future()
            ended = threading.Event()
            self._pieces.put(lambda: _complete(result, work, ended))
            self._hanging = ended
            if not ended.wait(self._within_s):
                raise Stuck
        return result.result()

    def _run(self) -> None:
        while True:
            self._pieces.get()()


def _complete(result: Future[T], work: Callable[[], T], ended: threading.Event) -> None:
    try:
        result.set_result(work())
    # Broad, because whatever it is belongs to who asked; the thread has to live on.
    except BaseException as error:
        result.set_exception(error)
    finally:
        ended.set()
