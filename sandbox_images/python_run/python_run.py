"""Run the code of the arguments as a program."""

import io
import json
import sys

# What the code may see of this file: nothing. It runs in a module of its own.
arguments = json.loads(sys.stdin.buffer.read())
sys.stdin = io.TextIOWrapper(io.BytesIO(arguments.get("stdin", "").encode()), encoding="utf-8")
sys.argv = ["<code>"]
sys.path[0:0] = ["/workspace"]
source = arguments["code"]
main = type(sys)("__main__")
main.__builtins__ = __builtins__
sys.modules["__main__"] = main

# Tracebacks show the lines of the code, which is in no file.
import linecache  # noqa: E402

linecache.cache["<code>"] = (len(source), None, source.splitlines(keepends=True), "<code>")
exec(compile(source, "<code>", "exec"), main.__dict__)
