"""Give each container a user id that no other has."""

from secrets import randbelow

from broker.errors import SandboxError


class Uids:
    """User ids of a range, by slot. One that was given back comes again after all others did.

    The host's kernel counts some of what it gives away (inotify instances, pending signals, pages
    of pipes) by user id, whatever container asks: containers of one user use up each other's.

    Args:
        reserved: Ids that nobody else on the Engine's machine has.
    """

    def __init__(self, reserved: range) -> None:
        self._reserved = reserved
        # By chance, so that what another broker, or an earlier life, left behind is hardly met.
        self._next = randbelow(len(reserved))
        self._taken: dict[str, int] = {}

    def take(self, slot: str) -> int:
        """Take the next id that no slot has.

        Raises:
            SandboxError: Each of them is some slot's.
        """
        taken = set(self._taken.values())
        for _ in range(len(taken) + 1):
            uid = self._reserved[self._next % len(self._reserved)]
            self._next += 1
            if uid not in taken:
                self._taken[slot] = uid
                return uid
        raise SandboxError(
            f"each of the {len(self._reserved)} user ids is a container's: raise sandbox.uid_count"
        )

    def give_back(self, slot: str) -> None:
        """Let a slot's id go, if it has one."""
        self._taken.pop(slot, None)
