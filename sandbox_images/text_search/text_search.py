"""Search the files of the workspace with ripgrep.

This script, not ripgrep, chooses the files: regular ones only, no link followed, none left out, in
the order of their paths. ripgrep gets them by name, and neither reads a configuration nor starts
another program.
"""

import json
import os
import stat
import subprocess
import sys

MAX_MATCHES = 1_000
MAX_CHARACTERS = 500
# Leaves room below the tool's `output_bytes`, over which a call is killed.
MAX_OUTPUT_BYTES = 900_000
BLOCK_BYTES = 1 << 20
# A row is a path, two numbers, and what ripgrep shows of a line.
ROW_BYTES = 1 << 16
FILES_PER_RUN = 500

RIPGREP = [
    "/usr/bin/rg",
    "--no-config",
    "--engine=default",
    # The defaults are 100 MB and 1 GB: a pattern could take all memory before it is refused.
    "--regex-size-limit=10M",
    "--dfa-size-limit=10M",
    "--threads=1",
    "--mmap",
    "--text",
    "--crlf",
    "--null",
    "--color=never",
]
ROWS = [
    "--no-heading",
    "--with-filename",
    "--line-number",
    "--column",
    # Four bytes are the longest character: the preview begins with MAX_CHARACTERS of the line.
    f"--max-columns={4 * MAX_CHARACTERS}",
    "--max-columns-preview",
]


def fail(message):
    sys.stderr.write(message.rstrip("\n") + "\n")
    sys.exit(1)


class Full(Exception):
    """The answer holds all that it may."""


class Answer:
    """What was found, within the caps."""

    def __init__(self):
        self.found = {"matches": [], "binary_files": [], "truncated": False}
        self.left_bytes = MAX_OUTPUT_BYTES

    def add(self, kind, item):
        self.left_bytes -= len(encoded(item)) + 1
        if self.left_bytes < 0 or len(self.found[kind]) >= MAX_MATCHES:
            self.found["truncated"] = True
            raise Full
        self.found[kind].append(item)


def encoded(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


# --- which files ----------------------------------------------------------------------------


def regular_files(top):
    try:
        mode = os.lstat(top).st_mode
    except OSError as error:
        fail(f"cannot search {top!r}: {error.strerror}; workspace_list shows what there is")
    if stat.S_ISREG(mode):
        return [top]
    if not stat.S_ISDIR(mode):
        fail(f"cannot search {top!r}: it is neither a file nor a folder")
    found = (
        os.path.normpath(os.path.join(folder, name))
        for folder, _, names in os.walk(top)
        for name in names
    )
    return sorted(path for path in found if stat.S_ISREG(os.lstat(path).st_mode))


def is_text(path):
    """Tell whether lines of a file can be shown.

    A line of a mebibyte is no text either: ripgrep notes each match in a line, so a dense one
    would take all memory.
    """
    with open(path, "rb") as file:
        while block := file.read(BLOCK_BYTES):
            if b"\0" in block or (len(block) == BLOCK_BYTES and b"\n" not in block):
                return False
    return True


# --- ripgrep --------------------------------------------------------------------------------


def check(pattern):
    """Say what ripgrep says of a pattern that it does not take."""
    argv = [*RIPGREP, f"--regexp={pattern}", "--", "/dev/null"]
    ended = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True)
    if ended.returncode not in (0, 1):
        fail(ended.stderr.decode("utf-8", "replace") or ending(ended.returncode))


def run(pattern, options, paths, take):
    """Give each row that ripgrep prints to `take`, until that has had enough."""
    for start in range(0, len(paths), FILES_PER_RUN):
        # `./` keeps a file named `-` from being standard input.
        some = [f"./{path}" for path in paths[start : start + FILES_PER_RUN]]
        argv = [*RIPGREP, *options, f"--regexp={pattern}", "--", *some]
        with subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as ripgrep:
            try:
                take(ripgrep.stdout)
            except Full:
                ripgrep.kill()
                raise
        if ripgrep.returncode not in (0, 1):
            fail(ending(ripgrep.returncode))


def ending(code):
    cause = f"signal {-code}" if code < 0 else f"exit code {code}"
    return f"ripgrep ended with {cause} (9: out of memory): narrow `path`, or simplify `pattern`"


def plain(name):
    return name.decode("utf-8", "replace").removeprefix("./")


def rows_into(answer):
    def take(stdout):
        while row := stdout.readline(ROW_BYTES):
            end = row
            while not end.endswith(b"\n") and (end := stdout.readline(ROW_BYTES)):
                pass
            path, _, rest = row.partition(b"\0")
            line, column, text = rest.split(b":", 2)
            text = text.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8", "replace")
            match = {
                "path": plain(path),
                "line": int(line),
                "column": int(column),
                "text": text[:MAX_CHARACTERS],
            }
            if len(text) > MAX_CHARACTERS:
                match["cut"] = True
            answer.add("matches", match)

    return take


def names_into(answer):
    def take(stdout):
        for name in stdout.read().split(b"\0")[:-1]:
            answer.add("binary_files", plain(name))

    return take


def main():
    arguments = json.load(sys.stdin.buffer)
    pattern = arguments["pattern"]
    check(pattern)
    texts, others = [], []
    for path in regular_files(arguments.get("path", ".")):
        (texts if is_text(path) else others).append(path)
    answer = Answer()
    try:
        run(pattern, ROWS, texts, rows_into(answer))
        run(pattern, ["--files-with-matches"], others, names_into(answer))
    except Full:
        pass
    sys.stdout.buffer.write(encoded(answer.found))


main()
