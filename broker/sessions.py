"""Know which tree each session's workspace is at, which file a name stands for."""

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import datetime

from broker.answer import read_answer
from broker.core.call import InputFile
from broker.core.canonical import JsonValue
from broker.core.document import SALT_BYTES, Document
from broker.core.ids import AgentId, CallId, Sha256, is_call_id
from broker.core.workspace import (
    EMPTY_TREE,
    Entry,
    Merge,
    Tree,
    merge,
    tree_document,
)
from broker.errors import InvalidArgument, NotFound, StoreUnavailable
from broker.ports import Entropy, Store, WorkspaceUpdate

UPLOADS = "uploads"
"""Names an agent's uploads in `from_output`: uploads/<sha256>."""

_ARGUMENT = "from_output"
_UPLOAD = re.compile(r"[0-9a-f]{64}")
_REMEMBERED = 1_024


class Sessions:
    """Read and move the trees of sessions. Used from one event loop.

    Remembers the last trees: this broker is the only writer of its store, so a remembered tree is
    right until `moved` is told of the next.
    """

    def __init__(self, store: Store, entropy: Entropy) -> None:
        self._store = store
        self._entropy = entropy
        self._current: OrderedDict[tuple[AgentId, str], Tree] = OrderedDict()

    async def current(self, agent: AgentId, session_id: str) -> Tree:
        """Give a session's tree as it is now."""
        key = (agent, session_id)
        if key not in self._current:
            sha256 = await self._store.workspace_tree(agent, session_id)
            tree = EMPTY_TREE if sha256 is None else await self.tree(sha256)
            # A call that ended meanwhile has moved it on from what was read.
            if key not in self._current:
                self._remember(key, tree)
        return self._current[key]

    async def tree(self, sha256: Sha256) -> Tree:
        """Read the tree that a call is bound to.

        Raises:
            StoreUnavailable: Its document was erased, so the call cannot run.
        """
        if sha256 == EMPTY_TREE.sha256:
            return EMPTY_TREE
        document = await self._store.document(sha256)
        if document is None:
            raise StoreUnavailable("the workspace that this call is bound to was erased")
        return Tree.read(document)

    async def files(self, agent: AgentId, tree: Tree) -> tuple[tuple[str, bytes], ...]:
        """Read every file of a tree."""
        return tuple(
            [(path, await self._file(agent, entry.sha256)) for path, entry in tree.files.items()]
        )

    async def inputs(
        self, agent: AgentId, inputs: Sequence[InputFile]
    ) -> tuple[tuple[str, bytes], ...]:
        """Read the files that a call's arguments name."""
        return tuple([(file.argument, await self._file(agent, file.sha256)) for file in inputs])

    async def resolve(
        self, agent: AgentId, arguments: Mapping[str, JsonValue], at: datetime
    ) -> tuple[InputFile, ...]:
        """Bind the file that the argument `from_output` names, now, for good.

        Raises:
            InvalidArgument: It has no form that is known.
            NotFound: There is no such output, or upload, of this agent's.
        """
        name = arguments.get(_ARGUMENT)
        if name is None:
            return ()
        parts = str(name).split("/", 3)
        if len(parts) == 2 and parts[0] == UPLOADS and _UPLOAD.fullmatch(parts[1]):
            return (await self._upload(agent, Sha256(parts[1]), at),)
        if len(parts) != 4 or parts[::2] != ["calls", "outputs"] or not is_call_id(parts[1]):
            raise InvalidArgument(
                f"arguments_json/{_ARGUMENT}",
                "send `calls/<ULID>/outputs/<path>` or `uploads/<sha256>`",
            )
        return (await self._output(agent, parts),)

    async def _upload(self, agent: AgentId, sha256: Sha256, at: datetime) -> InputFile:
        size_bytes = await self._store.file_size(agent, sha256, at)
        if size_bytes is None:
            raise NotFound(f"arguments_json/{_ARGUMENT}: no such upload of yours, or it expired")
        return InputFile(argument=_ARGUMENT, sha256=sha256, size_bytes=size_bytes)

    async def _output(self, agent: AgentId, parts: Sequence[str]) -> InputFile:
        call = await self._store.get_call(CallId(parts[1]))
        # Another's call is not looked into: that would take longer than where there is none.
        own = call is not None and call.agent == agent
        result = (await read_answer(self._store, call)).result if call and own else None
        if result is None:
            raise NotFound(f"arguments_json/{_ARGUMENT}: no such output of a call of yours")
        for output in _outputs(result):
            if output["path"] == parts[3]:
                sha256, size = Sha256(str(output["sha256"])), int(str(output["size_bytes"]))
                return InputFile(argument=_ARGUMENT, sha256=sha256, size_bytes=size)
        raise NotFound(f"arguments_json/{_ARGUMENT}: no such output of a call of yours")

    async def apply(
        self, agent: AgentId, session_id: str, seen: Tree, changes: Mapping[str, Entry | None]
    ) -> tuple[Merge, Document, WorkspaceUpdate]:
        """Work out the next tree after a call's changes."""
        current = await self.current(agent, session_id)
        merged = merge(current.files, seen.files, changes)
        document = tree_document(merged.files, salt=self._entropy.random_bytes(SALT_BYTES))
        update = WorkspaceUpdate(
            agent=agent,
            session_id=session_id,
            expected_sha256=None if current is EMPTY_TREE else current.sha256,
            tree_sha256=document.sha256,
        )
        return merged, document, update

    def moved(self, agent: AgentId, session_id: str, document: Document) -> None:
        """Take note that a session's tree was moved, durably."""
        self._remember((agent, session_id), Tree.read(document))

    def forget(self, agent: AgentId, session_id: str) -> None:
        """Read the session's tree from the store again next time."""
        self._current.pop((agent, session_id), None)

    async def _file(self, agent: AgentId, sha256: Sha256) -> bytes:
        data = await self._store.file(agent, sha256)
        if data is None:
            raise StoreUnavailable("a file that this call is bound to was erased")
        return data

    def _remember(self, key: tuple[AgentId, str], tree: Tree) -> None:
        self._current[key] = tree
        self._current.move_to_end(key)
        while len(self._current) > _REMEMBERED:
            self._current.popitem(last=False)


def _outputs(result: Mapping[str, JsonValue]) -> list[Mapping[str, JsonValue]]:
    outputs = result.get("outputs")
    if not isinstance(outputs, list):
        return []
    return [output for output in outputs if isinstance(output, Mapping)]
