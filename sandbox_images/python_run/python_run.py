"""Run the code of the arguments as a program."""

import gc
import io
import json
import sys


def report(kind, error, trace):
    # The first line of a traceback would be this file's own.
    sys.__excepthook__(kind, error.with_traceback(trace and trace.tb_next), None)


# The answer waits for the end of this process: its own part is not searched for garbage then.
gc.freeze()
arguments = json.loads(sys.stdin.buffer.read())
# Who follows the call reads a line when it is written, not when a buffer is full.
sys.stdout.reconfigure(line_buffering=True)
sys.stdin = io.TextIOWrapper(io.BytesIO(arguments.get("stdin", "").encode()), encoding="utf-8")
sys.argv = ["<code>"]
sys.path.insert(0, "/workspace")
sys.excepthook = report
# The code has a module of its own: nothing of this file is in its way.
main = sys.modules["__main__"] = type(sys)("__main__")
exec(compile(arguments["code"], "<code>", "exec"), main.__dict__)
