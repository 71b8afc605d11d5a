"""Print the text of a PDF page by page, as poppler reads it.

poppler's parsers see bytes of an attacker's choosing: they are what the sandbox is for. What comes
out is data; nothing in it is taken for a command, a number of pages it can hold to, or an end.
"""

import json
import os
import re
import stat
import subprocess
import sys

MAX_PAGES = 500
# Leaves room below the tool's `output_bytes`, over which a call is killed.
MAX_OUTPUT_BYTES = 900_000
CHUNK = 1 << 16
PAGE_END = "\f"


def fail(message):
    sys.stderr.write(message + "\n")
    sys.exit(1)


def ending(program, code):
    cause = f"signal {-code}" if code < 0 else f"exit code {code}"
    return (
        f"{program} ended with {cause} (9: out of memory, 11: it crashed): the file is broken, "
        "hostile or too large"
    )


def encoded(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


# --- poppler --------------------------------------------------------------------------------


def page_count(path):
    """Say how many pages the file claims to have; fail where poppler cannot open it."""
    said = b""
    argv = ["/usr/bin/pdfinfo", path]
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as pdfinfo:
        # A broken file can bring complaints without end; the count stands behind them.
        while part := pdfinfo.stdout.read(CHUNK):
            said = (said + part)[-CHUNK:]
    if pdfinfo.returncode < 0:
        fail(ending("pdfinfo", pdfinfo.returncode))
    if b"Incorrect password" in said:
        fail("the file is encrypted, and opens with a password only: provide it without one")
    # The last line of this kind: a title could hold another.
    counts = re.findall(rb"^Pages: +([0-9]{1,9})$", said, re.MULTILINE)
    if pdfinfo.returncode != 0 or not counts:
        lines = said.decode("utf-8", "replace").splitlines() or ["nothing"]
        fail(f"this is no PDF that can be read; poppler says {lines[-1][:200]!r}")
    return int(counts[-1])


def extract(path, first, last):
    """Give the text of some pages, with whether it is whole or was cut off."""
    argv = ["/usr/bin/pdftotext", "-q", "-enc", "UTF-8", "-eol", "unix"]
    argv += ["-f", str(first), "-l", str(last), path, "-"]
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as pdftotext:
        data = pdftotext.stdout.read(MAX_OUTPUT_BYTES)
        whole = not pdftotext.stdout.read(1)
        if not whole:
            pdftotext.kill()
    if whole and pdftotext.returncode != 0:
        fail(ending("pdftotext", pdftotext.returncode))
    return data.decode("utf-8", "replace"), whole


def pages(path, first, last):
    """Yield page with text, with whether it is whole.

    Pages end with a form feed, but a font can make one appear within a page: where there are more
    or fewer than pages, the halves are read each on its own, down to the single page.
    """
    text, whole = extract(path, first, last)
    if first == last:
        yield first, text.removesuffix(PAGE_END), whole
    elif whole and text.count(PAGE_END) == last - first + 1:
        for page, part in enumerate(text.split(PAGE_END)[:-1], start=first):
            yield page, part, True
    else:
        middle = (first + last) // 2
        yield from pages(path, first, middle)
        yield from pages(path, middle + 1, last)


# --- the answer -----------------------------------------------------------------------------


def fitting(text, most_bytes):
    """Give as much of a text as its JSON form has room for."""
    while (size := len(encoded(text))) > most_bytes and text:
        text = text[: len(text) * max(most_bytes, 0) // size]
    return text


def read(path, first):
    count = page_count(path)
    if first > max(count, 1):
        fail(f"there is no page {first}: the file has {count}")
    last = min(count, first + MAX_PAGES - 1)
    kept, left_bytes, truncated = [], MAX_OUTPUT_BYTES, last < count
    for page, text, whole in pages(path, first, last) if count else ():
        fits = fitting(text, left_bytes)
        kept.append({"page": page, "text": fits})
        left_bytes -= len(encoded(kept[-1])) + 1
        if fits != text or not whole or left_bytes <= 0:
            truncated = truncated or page < last or fits != text or not whole
            break
    return {"pages": kept, "page_count": count, "truncated": truncated}


def main():
    arguments = json.load(sys.stdin.buffer)
    # `./` keeps a file named like an option, or `-`, from being one.
    path = f"./{arguments['path']}"
    try:
        mode = os.lstat(path).st_mode
    except OSError as error:
        fail(f"cannot read {path[2:]!r}: {error.strerror}; workspace_list shows what there is")
    if not stat.S_ISREG(mode):
        fail(f"{path[2:]!r} is no file; workspace_list shows the files there are")
    sys.stdout.buffer.write(encoded(read(path, arguments.get("first_page", 1))))


main()
