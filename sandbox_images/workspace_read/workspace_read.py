"""Print the bytes of one workspace file."""

import json
import os
import sys

CHUNK = 1 << 16


def fail(message):
    sys.stderr.write(message + "\n")
    sys.exit(1)


path = json.load(sys.stdin.buffer)["path"]
if os.path.isdir(path):
    fail(f"{path!r} is a folder; workspace_list shows the files in it")
try:
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            sys.stdout.buffer.write(chunk)
except OSError as error:
    fail(f"cannot read {path!r}: {error.strerror}; workspace_list shows what there is")
