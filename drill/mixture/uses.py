"""Use every shipped tool rightly: one entry a tool.

A tool of the catalogue without an entry fails the drill; so does an entry without a tool.
"""

import json
from collections.abc import Callable
from hashlib import sha256

from broker.v1 import call_pb2
from drill.mixture.book import Wish
from drill.mixture.desk import Desk
from tests.sandbox.pdfs import pdf, shows

TEXT = "words.txt"
PDF = "report.pdf"


def seed(desk: Desk) -> None:
    """Put files into the session, as often as it takes."""
    for path, data in (
        (TEXT, f"one\na needle\n{desk.draw()}\n".encode()),
        (PDF, pdf(shows(f"Total {desk.draw()}"))),
    ):
        while not put(desk, path, data):
            pass


def put(desk: Desk, path: str, data: bytes) -> bool:
    """Upload a file by PutFile; tell whether it certainly lies there."""
    wish = Wish(
        kind="put",
        tool="workspace_write",
        arguments={"path": path},
        is_right=lambda call: said(call)["sha256"] == sha256(data).hexdigest(),
    )
    made = desk.carry(
        wish,
        lambda client, request_id: client.put(
            path, data, request_id=request_id, session=desk.session
        ),
    )
    if not made.is_right:
        desk.files.pop(path, None)
        return False
    desk.files[path] = data
    return True


def said(call: call_pb2.Call) -> dict[str, object]:
    """Read the one JSON document that a tool writes."""
    document: dict[str, object] = json.loads(call.result.stdout_text)
    return document


def _use(tool: str, arguments: dict[str, object], right: Callable[[call_pb2.Call], bool]) -> Wish:
    return Wish(kind="use", tool=tool, arguments=arguments, is_right=right)


def _python(desk: Desk) -> Wish:
    a, b = desk.chance.randrange(10**6), desk.chance.randrange(10**6)
    code = f"print({a} * {b}, len(open({TEXT!r}).read()))"
    right = f"{a * b} {len(desk.files[TEXT])}\n"
    return _use("python_run", {"code": code}, lambda call: call.result.stdout_text == right)


def _list(desk: Desk) -> Wish:
    right = {path: sha256(data).hexdigest() for path, data in desk.files.items()}

    def is_right(call: call_pb2.Call) -> bool:
        listed: object = said(call)["files"]
        assert isinstance(listed, list)
        return right.items() <= {each["path"]: each["sha256"] for each in listed}.items()

    return _use("workspace_list", {}, is_right)


def _read(desk: Desk) -> Wish:
    path = desk.chance.choice(sorted(desk.files))
    right = desk.files[path]
    return _use(
        "workspace_read", {"path": path}, lambda call: call.result.stdout_text.encode() == right
    )


def _write(desk: Desk) -> Wish:
    content = desk.draw() * desk.chance.randint(1, 1000)
    right = sha256(content.encode()).hexdigest()
    arguments: dict[str, object] = {"path": f"written/{desk.draw()}.txt", "content": content}
    return _use("workspace_write", arguments, lambda call: said(call)["sha256"] == right)


def _delete(desk: Desk) -> Wish:
    path = f"spare/{desk.draw()}.txt"
    while not put(desk, path, desk.draw().encode()):
        pass
    # Whatever becomes of it: from now on nobody can be certain of the file.
    del desk.files[path]
    return _use("workspace_delete", {"path": path}, lambda call: said(call) == {"deleted": path})


def _search(desk: Desk) -> Wish:
    right = [{"path": TEXT, "line": 2, "column": 3, "text": "a needle"}]
    arguments: dict[str, object] = {"pattern": "ne+dle", "path": TEXT}
    return _use("text_search", arguments, lambda call: said(call)["matches"] == right)


def _pdf(desk: Desk) -> Wish:
    words = desk.files[PDF].partition(b"(Total ")[2].partition(b")")[0].decode()
    right = [{"page": 1, "text": f"Total {words}\n\n"}]
    return _use("pdf_text", {"path": PDF}, lambda call: said(call)["pages"] == right)


def _fetch(desk: Desk) -> Wish:
    path = f"/{desk.draw()}"
    right = f"GET {path} {desk.places.open} "
    return _use(
        "http_fetch",
        {"url": f"http://{desk.places.open}{path}"},
        lambda call: said(call)["body"] == right,
    )


def _sql(desk: Desk) -> Wish:
    number = desk.chance.randint(1, 3)
    right = [[number, {1: "Ada", 2: "Grace", 3: "Edsger"}[number]]]
    return _use(
        "sql_query",
        {"statement": "SELECT id, customer FROM orders WHERE id = $1", "parameters": [number]},
        lambda call: said(call)["rows"] == right,
    )


USES: dict[str, Callable[[Desk], Wish]] = {
    "http_fetch": _fetch,
    "pdf_text": _pdf,
    "python_run": _python,
    "sql_query": _sql,
    "text_search": _search,
    "workspace_delete": _delete,
    "workspace_list": _list,
    "workspace_read": _read,
    "workspace_write": _write,
}
"""Tool with what makes a wish of it whose right answer is known."""
