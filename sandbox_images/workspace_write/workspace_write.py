"""Write one workspace file from a text or from the bytes of an earlier output."""

import hashlib
import json
import os
import sys

FROM_OUTPUT = "/in/from_output"


def fail(message):
    sys.stderr.write(message + "\n")
    sys.exit(1)


def content(arguments):
    if "content" in arguments:
        return arguments["content"].encode()
    with open(FROM_OUTPUT, "rb") as file:
        return file.read()


arguments = json.load(sys.stdin.buffer)
path = arguments["path"]
if ("content" in arguments) == ("from_output" in arguments):
    fail("send exactly one of `content` and `from_output`")
if os.path.isdir(path):
    fail(f"{path!r} is a folder; choose a file's name")
replaced = os.path.exists(path)
try:
    data = content(arguments)
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)
except OSError as error:
    fail(f"cannot write {path!r}: {error.strerror}; is a part of its path a file, or too long?")
answer = {
    "path": path,
    "size": len(data),
    "sha256": hashlib.sha256(data).hexdigest(),
    "replaced": replaced,
}
json.dump(answer, sys.stdout, ensure_ascii=False, separators=(",", ":"))
