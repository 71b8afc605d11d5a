"""Delete one workspace file."""

import gc
import json
import os
import sys


def fail(message):
    sys.stderr.write(message + "\n")
    sys.exit(1)


# The answer waits for this process to end: what stands by now is not searched for garbage then.
gc.freeze()
path = json.load(sys.stdin.buffer)["path"]
if os.path.isdir(path):
    fail(f"{path!r} is a folder; delete its files one by one")
try:
    os.remove(path)
except OSError as error:
    fail(f"cannot delete {path!r}: {error.strerror}; workspace_list shows what there is")
json.dump({"deleted": path}, sys.stdout, ensure_ascii=False, separators=(",", ":"))
