"""Start the tool's command as the first process of a sandbox.

Standard library only; the frames are those of broker/core/frames.py. Nothing here is trusted by
the broker: cause of death with usage come from outside. What this file must hold is that the tool
cannot speak in its name, that nothing of the tool lives when `END` is sent.

Imports are few on purpose: `json`, `signal`, `re`, `subprocess` would double the start-up time.
"""

import _signal
import os
import select
import struct
import sys
import time

FROM_BROKER, TO_BROKER = 0, 1
CHUNK = 1 << 16
MAX_DEPTH = 32
MAX_SEEN = 20_000
MAX_NOTES = 50
# Small frames in a window; beyond them what the tool writes gathers in its pipes to its end.
SMALL_FRAMES = 32
WINDOW_S = 0.02
SIGKILL = 9
AREAS = {b"W": "/workspace", b"I": "/in"}
ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
}


class Broken(Exception):
    """The broker went away, or what it sent is not a job."""


class NotBegun(Exception):
    """The tool could not be started; the message says why."""


# --- frames ---------------------------------------------------------------------------------


def send(kind, *parts):
    payload = b"".join(parts)
    left = memoryview(struct.pack(">cI", kind, len(payload)) + payload)
    while left:
        left = left[os.write(TO_BROKER, left) :]


def receive():
    kind, size = struct.unpack(">cI", read_exactly(5))
    if size > CHUNK:
        raise Broken
    return kind, read_exactly(size)


def read_exactly(size):
    parts = []
    while size:
        part = os.read(FROM_BROKER, size)
        if not part:
            raise Broken
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


# --- what goes in ---------------------------------------------------------------------------


class Job:
    """What the broker asked for, files already in place."""

    def __init__(self):
        kind, payload = receive()
        if kind != b"J":
            raise Broken
        self.changes, self.file_bytes, self.max_files, self.max_path, self.key = struct.unpack(
            ">BQII32s", payload
        )
        self.before = {}
        self.arguments = b""
        self.secrets = {}
        self.fault = None
        self.take_files()

    def take_files(self):
        while True:
            kind, payload = receive()
            if kind == b"G":
                break
            if kind == b"S":
                variable, _, value = payload.partition(b"\0")
                self.secrets[variable] = value
                continue
            (size,) = struct.unpack_from(">Q", payload)
            if kind == b"A":
                self.arguments = b"".join(data_of(size))
            elif kind in AREAS:
                self.take_file(kind, payload[8:].decode(), size)
            else:
                raise Broken
        if self.fault:
            raise NotBegun(self.fault)

    def take_file(self, kind, path, size):
        digest = sha256() if self.changes and kind == b"W" else None
        target = None
        try:
            target = create(AREAS[kind], path)
        except OSError as error:
            self.fault = self.fault or f"cannot write {path!r}: {error.strerror}"
        for data in data_of(size):
            if digest:
                digest.update(data)
            try:
                if target is not None and not self.fault:
                    write_all(target, data)
            except OSError as error:
                # The stream must be read to its end before anything can be answered.
                self.fault = f"cannot write {path!r}: {error.strerror}"
        if target is not None:
            os.close(target)
        if digest:
            self.before[path] = digest.digest()


def data_of(size):
    while size:
        kind, payload = receive()
        if kind != b"D" or not payload or len(payload) > size:
            raise Broken
        size -= len(payload)
        yield payload


def create(area, path):
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise Broken
    for depth in range(1, len(parts)):
        try:
            os.mkdir(f"{area}/{'/'.join(parts[:depth])}", 0o755)
        except FileExistsError:
            pass
    return os.open(f"{area}/{path}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)


def write_all(fd, data):
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


def sha256():
    try:
        from _sha2 import sha256 as make
    except ImportError:
        from _sha256 import sha256 as make
    return make()


# --- the tool -------------------------------------------------------------------------------


class Tool:
    """The tool's own process with the pipes to it."""

    def __init__(self, command, secrets, set_oom_score):
        child_in, self.stdin = os.pipe()
        self.stdout, child_out = os.pipe()
        self.stderr, child_err = os.pipe()
        self.arguments = memoryview(b"")
        self.status = None
        # The tool goes first when memory runs out, not the process that tells of its end.
        set_oom_score(1000)
        try:
            self.pid = os.posix_spawnp(
                command[0],
                command,
                {**ENVIRONMENT, **secrets},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, child_in, 0),
                    (os.POSIX_SPAWN_DUP2, child_out, 1),
                    (os.POSIX_SPAWN_DUP2, child_err, 2),
                ],
                setsid=True,
                setsigmask=[],
                # Python ignores these two; the tool gets what programs expect.
                setsigdef=(13, 25),
            )
        except OSError as error:
            raise NotBegun(f"cannot start {command[0]!r}: {error.strerror}") from None
        finally:
            set_oom_score(0)
            # The tool has them now; this process, which it cannot read, needs them no more.
            secrets.clear()
        for fd in (child_in, child_out, child_err):
            os.close(fd)
        for fd in (self.stdin, self.stdout, self.stderr):
            os.set_blocking(fd, False)

    def has_ended(self):
        self.reap()
        return self.status is not None

    def attend(self, wakeup):
        """Relay until the tool's own process has ended."""
        poll = select.poll()
        for fd in (FROM_BROKER, wakeup, self.stdout, self.stderr):
            poll.register(fd, select.POLLIN)
        poll.register(self.stdin, select.POLLOUT)
        pace = Pace(wakeup, self.has_ended)
        self.reap()
        while self.status is None:
            for fd, _ in poll.poll():
                if fd == FROM_BROKER:
                    # Nothing is due from the broker while the tool runs: it is gone.
                    raise Broken
                if fd == wakeup:
                    os.read(wakeup, 512)
                    self.reap()
                elif fd == self.stdin:
                    if not self.feed():
                        poll.unregister(fd)
                        os.close(fd)
                elif not self.relay(fd, pace):
                    poll.unregister(fd)

    def feed(self):
        try:
            self.arguments = self.arguments[os.write(self.stdin, self.arguments[:CHUNK]) :]
        except BlockingIOError:
            return True
        except BrokenPipeError:
            return False
        return bool(self.arguments)

    def relay(self, fd, pace=None):
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return True
        if data:
            send(b"O" if fd == self.stdout else b"E", data)
        if pace and 0 < len(data) < CHUNK // 8:
            pace.count()
        return bool(data)

    def reap(self):
        """Take the ends of all processes that have ended, orphans among them."""
        try:
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid == self.pid:
                    self.status = status
        except ChildProcessError:
            pass

    def drain(self):
        """Relay what the dead left in the pipes: finite, since nobody can write any more."""
        for fd in (self.stdout, self.stderr):
            os.set_blocking(fd, True)
            while self.relay(fd):
                pass


class Pace:
    """Keeps a tool that writes byte by byte from costing the broker a frame for each."""

    def __init__(self, wakeup, has_ended):
        self.poll = select.poll()
        for fd in (FROM_BROKER, wakeup):
            self.poll.register(fd, select.POLLIN)
        self.wakeup = wakeup
        self.has_ended = has_ended
        self.until = self.frames = 0

    def count(self):
        now = time.monotonic()
        if now >= self.until:
            self.until, self.frames = now + WINDOW_S, 0
        self.frames += 1
        if self.frames >= SMALL_FRAMES:
            self.pause()

    def pause(self):
        """Let the tool write on to the window's end; its own end, or the broker's, ends it."""
        while (left_s := self.until - time.monotonic()) > 0:
            for fd, _ in self.poll.poll(int(left_s * 1000) + 1):
                if fd == FROM_BROKER:
                    return
                os.read(self.wakeup, 512)
                # Any child may have ended, and the tool can send the signal itself.
                if self.has_ended():
                    return


def kill_all():
    """End every other process of the sandbox, daemons included."""
    while True:
        try:
            os.kill(-1, SIGKILL)
        except ProcessLookupError:
            return
        try:
            # One, then kill again: in gVisor a process can be born past the signal, and orphans
            # that fork for ever would keep this waiting for ever.
            os.waitpid(-1, 0)
        except ChildProcessError:
            pass


# --- what comes back ------------------------------------------------------------------------


class Refused(Exception):
    """A file that does not come back; the message says why."""


class Collection:
    """Files on their way to the broker, within its caps. Nothing else is alive by now."""

    def __init__(self, job):
        self.job = job
        self.left_bytes = job.file_bytes
        self.left_files = job.max_files
        self.left_seen = MAX_SEEN
        self.left_notes = MAX_NOTES
        self.kept = set()

    def outputs(self):
        self.area("/out", self.output)

    def changes(self):
        before = self.job.before
        self.area("/workspace", self.change)
        for path in sorted(before):
            if path not in self.kept and gone(f"/workspace/{path}"):
                send(b"d", struct.pack(">Q", 0), path.encode())

    def area(self, area, take):
        try:
            self.folder(open_folder(area, None), area, "", take)
        except OSError as error:
            # The tool owns the folder: it can make it unreadable, which is its own loss.
            self.note(f"{area}: {error.strerror}")

    def folder(self, folder, area, above, take, depth=0):
        try:
            for name in sorted(os.listdir(folder)):
                self.left_seen -= 1
                if self.left_seen < 0:
                    self.note(f"{area}: more than {MAX_SEEN} entries", cap=True)
                    return
                path = f"{above}{name}"
                try:
                    self.entry(folder, name, area, path, take, depth)
                except Refused as refusal:
                    self.note(f"{area}/{path[:200]!r}: {refusal}")
                except OSError as error:
                    self.note(f"{area}/{path[:200]!r}: {error.strerror}")
        finally:
            os.close(folder)

    def entry(self, folder, name, area, path, take, depth):
        kind = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode & 0o170000
        if kind == 0o040000:
            if depth >= MAX_DEPTH:
                raise Refused(f"deeper than {MAX_DEPTH} folders")
            self.folder(open_folder(name, folder), area, f"{path}/", take, depth + 1)
        elif kind == 0o100000:
            self.check_path(path)
            # Not blocking on a FIFO, not following a link: the entry is what stat saw, or refused.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
            fd = os.open(name, flags, dir_fd=folder)
            try:
                self.file(fd, path, take)
            finally:
                os.close(fd)
        else:
            raise Refused("a symlink" if kind == 0o120000 else "not a regular file")

    def check_path(self, path):
        try:
            size = len(path.encode())
        except UnicodeEncodeError:
            raise Refused("its name is not UTF-8") from None
        if size > self.job.max_path:
            raise Refused(f"its name is longer than {self.job.max_path} bytes")
        if any(ord(char) < 32 or ord(char) == 127 or char == "\\" for char in path):
            raise Refused("its name has a control character or a backslash")

    def file(self, fd, path, take):
        found = os.fstat(fd)
        if found.st_mode & 0o170000 != 0o100000:
            raise Refused("not a regular file")
        if found.st_nlink != 1:
            raise Refused("a hard link")
        take(fd, path, found.st_size)

    def output(self, fd, path, size):
        self.forward(b"o", fd, path, size)

    def change(self, fd, path, size):
        self.kept.add(path)
        digest = self.job.before.get(path)
        if digest is None or digest_of(fd, size) != digest:
            self.forward(b"c", fd, path, size)

    def forward(self, kind, fd, path, size):
        if self.left_files < 1:
            self.note(f"{path!r}: left behind, beyond {self.job.max_files} files", cap=True)
            return
        if size > self.left_bytes:
            self.note(
                f"{path!r}: left behind, beyond {self.job.file_bytes} bytes of files", cap=True
            )
            return
        self.left_files -= 1
        self.left_bytes -= size
        send(kind, struct.pack(">Q", size), path.encode())
        for start in range(0, size, CHUNK):
            part = os.pread(fd, min(CHUNK, size - start), start)
            send(b"D", part)

    def note(self, text, cap=False):
        self.left_notes -= 1
        if self.left_notes >= 0 or (cap and self.left_notes >= -MAX_NOTES):
            send(b"N", b"\1" if cap else b"\0", text.encode("utf-8", "backslashreplace")[:1000])


def open_folder(name, above):
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=above)


def digest_of(fd, size):
    digest = sha256()
    for start in range(0, size, CHUNK):
        digest.update(os.pread(fd, min(CHUNK, size - start), start))
    return digest.digest()


def gone(path):
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


# --- the first process ----------------------------------------------------------------------


def hide():
    """Make this process unreadable for the tool, which has the same uid; keep one way in.

    The returned function sets the score that new children inherit. Its file has to be opened
    first: the files in /proc of a process that is not dumpable belong to root.
    """
    score = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
    import ctypes

    if ctypes.CDLL(None).prctl(4, 0, 0, 0, 0) != 0:  # PR_SET_DUMPABLE
        raise Broken
    return lambda value: os.pwrite(score, b"%d" % value, 0)


def start_ahead(command, set_oom_score):
    try:
        return Tool(command, {}, set_oom_score)
    except NotBegun:
        # Said when there is a job to say it of.
        return None


def main(when, *command):
    # As pid 1 of its own namespace only: kill(-1) would otherwise reach the host's processes.
    if os.getpid() != 1 or not command:
        raise Broken
    set_oom_score = hide()
    # Python's own handler would let the tool interrupt its launcher; the default is ignored here.
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    wakeup, woken = os.pipe()
    os.set_blocking(wakeup, False)
    os.set_blocking(woken, False)
    _signal.signal(_signal.SIGCHLD, lambda *_: None)
    _signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    os.chdir("/workspace")
    tool = start_ahead(command, set_oom_score) if when == "ahead" else None
    send(b"H", b"\4")
    try:
        job = Job()
        # Ahead of anything that the tool gets: who does not hear this cannot tell what it got.
        send(b"B")
        if tool is None or job.secrets or tool.has_ended():
            # Of one that did not wait, or that lacks its secrets, nothing is left to meet the job.
            kill_all()
            tool = Tool(command, job.secrets, set_oom_score)
        tool.arguments = memoryview(job.arguments)
    except NotBegun as fault:
        kill_all()
        send(b"X", str(fault).encode("utf-8", "backslashreplace")[:1000])
        return 125
    tool.attend(wakeup)
    kill_all()
    tool.drain()
    collection = Collection(job)
    collection.outputs()
    if job.changes:
        collection.changes()
    if os.WIFSIGNALED(tool.status):
        number = os.WTERMSIG(tool.status)
        send(b"Z", struct.pack(">BB", 1, number), job.key)
        code = 128 + number
    else:
        code = os.WEXITSTATUS(tool.status)
        send(b"Z", struct.pack(">BB", 0, code), job.key)
    # The broker reads the cgroup while this process is still in it, alone.
    receive()
    return code


if __name__ == "__main__":
    try:
        exit_code = main(*sys.argv[1:])
    except Broken:
        exit_code = 125
        # Without a broker nobody will end what is left.
        if os.getpid() == 1:
            kill_all()
    os._exit(exit_code)
