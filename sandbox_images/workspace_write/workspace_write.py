"""Write one workspace file from a text, an earlier output or an upload."""

import gc
import hashlib
import io
import json
import os
import sys

FROM_OUTPUT = "/in/from_output"
CHUNK = 1 << 16


def fail(message):
    sys.stderr.write(message + "\n")
    sys.exit(1)


def content(arguments):
    if "content" in arguments:
        return io.BytesIO(arguments["content"].encode())
    return open(FROM_OUTPUT, "rb")


def copy(source, target):
    digest, size = hashlib.sha256(), 0
    while chunk := source.read(CHUNK):
        digest.update(chunk)
        size += len(chunk)
        target.write(chunk)
    return size, digest.hexdigest()


# The answer waits for this process to end: what stands by now is not searched for garbage then.
gc.freeze()
arguments = json.load(sys.stdin.buffer)
path = arguments["path"]
if ("content" in arguments) == ("from_output" in arguments):
    fail("send exactly one of `content` and `from_output`")
if os.path.isdir(path):
    fail(f"{path!r} is a folder; choose a file's name")
replaced = os.path.exists(path)
try:
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with content(arguments) as source, open(path, "wb") as target:
        size, digest = copy(source, target)
except OSError as error:
    fail(f"cannot write {path!r}: {error.strerror}; is a part of its path a file, or too long?")
answer = {"path": path, "size": size, "sha256": digest, "replaced": replaced}
json.dump(answer, sys.stdout, ensure_ascii=False, separators=(",", ":"))
