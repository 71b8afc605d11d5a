"""Try to get out: one function per row. Runs inside containers, standard library only.

A probe that raises PermissionError or another OSError was held; one that returns got out. What
`reached` calls must only not be refused: an argument that the kernel then finds invalid shows that
the call came through, at no danger to the machine that the twin runs on.
"""

# No more imports than needed, tables that can be read:
# ruff: noqa: C408, PTH101, PTH110, PTH115, PTH123, PTH208
import ctypes
import errno
import json
import os
import socket
import struct
import sys

LIBC = ctypes.CDLL(None, use_errno=True)
NUMBERS = {
    "x86_64": dict(
        ptrace=101, clone=56, clone3=435, mount=165, fsopen=430, open_tree=428, umount2=166,
        pivot_root=155, chroot=161, init_module=175, finit_module=313, delete_module=176,
        unshare=272, setns=308, bpf=321, keyctl=250, add_key=248, request_key=249,
        io_uring_setup=425, userfaultfd=323, perf_event_open=298, open_by_handle_at=304,
        name_to_handle_at=303, process_vm_readv=310, process_vm_writev=311, kcmp=312,
        pidfd_open=434, pidfd_getfd=438, personality=135, acct=163, swapoff=168, quotactl=179,
        syslog=103, iopl=172, prlimit64=302, shmget=29, sethostname=170, vhangup=153,
        fanotify_init=300, lookup_dcookie=212, kexec_load=246, reboot=169, mbind=237,
        move_pages=279,
    ),
    "aarch64": dict(
        ptrace=117, clone=220, clone3=435, mount=40, fsopen=430, open_tree=428, umount2=39,
        pivot_root=41, chroot=51, init_module=105, finit_module=273, delete_module=106,
        unshare=97, setns=268, bpf=280, keyctl=219, add_key=217, request_key=218,
        io_uring_setup=425, userfaultfd=282, perf_event_open=241, open_by_handle_at=265,
        name_to_handle_at=264, process_vm_readv=270, process_vm_writev=271, kcmp=272,
        pidfd_open=434, pidfd_getfd=438, personality=92, acct=89, swapoff=225, quotactl=60,
        syslog=116, prlimit64=261, shmget=194, sethostname=161, vhangup=58,
        fanotify_init=262, lookup_dcookie=18, kexec_load=104, reboot=142, mbind=235,
        move_pages=239,
    ),
}[os.uname().machine]  # fmt: skip

PROBES = {}


def probe(function):
    PROBES[function.__name__] = function
    return function


def call(name, *arguments):
    ctypes.set_errno(0)
    result = LIBC.syscall(ctypes.c_long(NUMBERS[name]), *map(as_long, arguments))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def as_long(value):
    return ctypes.c_long(value) if isinstance(value, int) else value


def reached(name, *arguments):
    try:
        return call(name, *arguments)
    except OSError as error:
        # ENOSYS is the kernel's own answer where it was built without: the filter says EPERM.
        if error.errno in (errno.EPERM, errno.EACCES):
            raise
        return f"reached: {error.strerror}"


# --- system calls -----------------------------------------------------------------------------


def syscall_row(row, name, *arguments):
    PROBES[row] = lambda: reached(name, *arguments)


syscall_row("mount", "mount", b"none", b"/mnt", b"tmpfs", 0, 0)
syscall_row("mount_new_api", "fsopen", b"tmpfs", 0)
syscall_row("mount_open_tree", "open_tree", -100, b"/", 1)
syscall_row("umount", "umount2", b"/nowhere", 0)
syscall_row("pivot_root", "pivot_root", b"/tmp", b"/tmp")
syscall_row("chroot", "chroot", b"/")
syscall_row("module_init", "init_module", 0, 0, b"")
syscall_row("module_finit", "finit_module", -1, b"", 0)
syscall_row("module_delete", "delete_module", b"no-such-module", 0)
syscall_row("unshare_user", "unshare", 0x10000000)
syscall_row("unshare_mount", "unshare", 0x00020000)
syscall_row("unshare_net", "unshare", 0x40000000)
syscall_row("bpf", "bpf", 0, bytes(72), 72)
syscall_row("keyctl", "keyctl", 0, -3, 0)
syscall_row("add_key", "add_key", b"user", b"probe", b"x", 1, -3)
syscall_row("request_key", "request_key", b"user", b"probe", 0, -3)
syscall_row("io_uring", "io_uring_setup", 1, bytes(120))
syscall_row("userfaultfd", "userfaultfd", 1)
syscall_row("perf_event_open", "perf_event_open", 0, 0, -1, -1, 0)
syscall_row("open_by_handle_at", "open_by_handle_at", -100, 0, 0)
syscall_row("name_to_handle_at", "name_to_handle_at", -100, b"/etc", 0, 0, 0)
syscall_row("process_vm_readv", "process_vm_readv", os.getpid(), 0, 0, 0, 0, 0)
syscall_row("process_vm_writev", "process_vm_writev", os.getpid(), 0, 0, 0, 0, 0)
syscall_row("kcmp", "kcmp", os.getpid(), os.getpid(), 0, 0, 1)
syscall_row("personality", "personality", 0x0040000)
syscall_row("acct", "acct", b"/nowhere/at/all")
syscall_row("swapoff", "swapoff", b"/nowhere")
syscall_row("quotactl", "quotactl", 0x80000700, b"/nowhere", 0, 0)
syscall_row("syslog", "syslog", 10, 0, 0)
syscall_row("shmget", "shmget", 0, 4096, 0o600)
syscall_row("sethostname", "sethostname", b"probe", 5)
syscall_row("vhangup", "vhangup")
syscall_row("fanotify", "fanotify_init", 0, 0)
syscall_row("move_pages", "move_pages", 0, 0, 0, 0, 0, 0)


@probe
def ptrace_attach():
    child = os.fork()
    if child == 0:
        os.read(os.pipe()[0], 1)
        os._exit(0)
    try:
        result = call("ptrace", 16, child, 0, 0)
        os.waitpid(child, 0)
        return result
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


@probe
def clone_new_user():
    pid = call("clone", 0x10000000 | 17, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


@probe
def clone3():
    try:
        call("clone3", 0, 0)
    except OSError as error:
        # Here the filter says ENOSYS, so that libc falls back to clone.
        if error.errno == errno.ENOSYS:
            raise
        return f"reached: {error.strerror}"


@probe
def setns_own():
    return reached("setns", os.open("/proc/self/ns/net", os.O_RDONLY), 0x40000000)


@probe
def pidfd_getfd():
    return reached("pidfd_getfd", call("pidfd_open", os.getpid(), 0), 0, 0)


@probe
def launcher_limits():
    return call("prlimit64", 1, 7, 0, bytes(16))


# --- sockets ----------------------------------------------------------------------------------


def socket_row(row, family, kind, protocol=0):
    def attempt():
        try:
            socket.socket(family, kind, protocol).close()
        except OSError as error:
            if error.errno in (errno.EPERM, errno.EACCES):
                raise
            return f"reached: {error.strerror}"
        return "opened"

    PROBES[row] = attempt


socket_row("socket_raw", 2, 3, 1)
socket_row("socket_raw6", 10, 3, 58)
socket_row("socket_ping", 2, 2, 1)
socket_row("socket_sctp", 2, 1, 132)
socket_row("socket_packet", 17, 3, 0)
socket_row("socket_packet_old", 2, 10, 0)
socket_row("socket_netlink", 16, 3, 0)
socket_row("socket_vsock", 40, 1, 0)
socket_row("socket_alg", 38, 5, 0)
socket_row("socket_bluetooth", 31, 3, 1)
socket_row("socket_can", 29, 3, 1)
socket_row("socket_xdp", 44, 3, 0)
socket_row("socket_tipc", 30, 1, 0)


# --- the network ------------------------------------------------------------------------------


def route_row(row, address, port):
    def attempt():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe_socket:
            probe_socket.connect((address, port))
            probe_socket.send(b"?")

    PROBES[row] = attempt


route_row("net_any_address", "203.0.113.7", 80)
route_row("net_dns", "198.51.100.53", 53)
route_row("net_metadata", "169.254.169.254", 80)
route_row("net_private", "10.0.0.1", 80)


@probe
def net_interfaces():
    with open("/proc/net/dev") as file:
        names = {line.split(":")[0].strip() for line in file if ":" in line}
    if names <= {"lo"}:
        raise PermissionError("only lo")
    return sorted(names)


@probe
def net_host():
    """Reach the listener that the test opened on the host (address in the environment)."""
    host, port = ARGUMENTS["host"], ARGUMENTS["port"]
    socket.create_connection((host, port), timeout=3).close()


@probe
def net_host_loopback():
    socket.create_connection(("127.0.0.1", ARGUMENTS["port"]), timeout=3).close()


@probe
def net_host_abstract_socket():
    with socket.socket(socket.AF_UNIX) as probe_socket:
        probe_socket.connect("\0" + ARGUMENTS["abstract"])


# --- files and processes ----------------------------------------------------------------------


def write_row(row, path):
    def attempt():
        with open(path, "wb") as file:
            file.write(b"x")

    PROBES[row] = attempt


write_row("write_root", "/probe")
write_row("write_etc", "/etc/passwd")
write_row("write_launcher", "/opt/toolwarrant/launcher.py")
write_row("write_usr", "/usr/bin/probe")
write_row("write_var", "/var/tmp/probe")
write_row("write_dev", "/dev/probe")
write_row("write_run", "/run/probe")


def read_row(row, path):
    def attempt():
        with open(path, "rb") as file:
            return repr(file.read(16))

    PROBES[row] = attempt


read_row("read_shadow", "/etc/shadow")
read_row("read_launcher_environ", "/proc/1/environ")
read_row("read_launcher_maps", "/proc/1/maps")


@probe
def read_launcher_memory():
    return os.open("/proc/1/mem", os.O_RDONLY)


@probe
def read_host_file():
    with open(ARGUMENTS["host_file"], "rb") as file:
        return repr(file.read())


@probe
def engine_socket():
    for path in ("/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock"):
        if os.path.exists(path):
            return path
    raise FileNotFoundError("no Engine")


@probe
def launcher_stdio_open():
    return os.open("/proc/1/fd/1", os.O_WRONLY)


@probe
def launcher_fds_list():
    return os.listdir("/proc/1/fd")


@probe
def launcher_fd_targets():
    return [os.readlink(f"/proc/1/fd/{number}") for number in range(3)]


@probe
def launcher_cwd():
    return os.readlink("/proc/1/cwd")


@probe
def launcher_oom_score():
    with open("/proc/1/oom_score_adj", "w") as file:
        file.write("900")


@probe
def others_processes():
    seen = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    if len(seen) <= ARGUMENTS["few"]:
        raise PermissionError(f"only {len(seen)} processes")
    return len(seen)


@probe
def make_device():
    os.mknod("/tmp/null", 0o600 | 0o020000, os.makedev(1, 3))


@probe
def host_device():
    """Make, then open, what stands for the kernel's log, memory, virtual machines, disks."""
    kernel = [(0o020000, 1, 11), (0o020000, 1, 1), (0o020000, 10, 232)]
    disks = [(0o060000, major, 0) for major in (8, 202, 252, 253, 254, 259)]
    refusal = None
    for kind, major, minor in [*kernel, *disks]:
        path = f"/tmp/device-{kind}-{major}-{minor}"
        try:
            os.mknod(path, 0o600 | kind, os.makedev(major, minor))
            os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
        except OSError as error:
            refusal = error
        else:
            return path
    raise refusal


@probe
def block_devices():
    found = [name for name in os.listdir("/dev") if name.startswith(("sd", "vd", "nvme", "mem"))]
    if not found:
        raise FileNotFoundError("no devices of the host")
    return found


@probe
def become_root():
    os.setuid(0)
    return os.getuid()


@probe
def change_owner():
    with open("/tmp/mine", "w"):
        pass
    os.chown("/tmp/mine", 1, 1)


@probe
def gain_capability():
    header, wanted = struct.pack("=Ii", 0x20080522, 0), struct.pack("=6I", *[1 << 21] * 3, 0, 0, 0)
    if LIBC.capset(header, wanted) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@probe
def capabilities_held():
    with open("/proc/self/status") as file:
        held = {line.split()[0]: line.split()[1] for line in file if line.startswith("Cap")}
    if all(int(mask, 16) == 0 for mask in held.values()):
        raise PermissionError("none")
    return held


@probe
def new_privileges_possible():
    if LIBC.prctl(39, 0, 0, 0, 0) == 1:  # PR_GET_NO_NEW_PRIVS
        raise PermissionError("no_new_privs")


@probe
def setuid_program():
    """Become another user by a setuid copy of `id`, as somebody who is not root."""
    target = ARGUMENTS["setuid_folder"] + "/id"
    with open("/usr/bin/id", "rb") as source, open(target, "wb") as copy:
        copy.write(source.read())
    os.chmod(target, 0o4755)
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(theirs, 1)
        if os.getuid() == 0:
            os.setresuid(65534, 65534, 65534)
        try:
            os.execv(target, ["id", "-u"])
        except OSError as error:
            os.write(1, error.strerror.encode())
            os._exit(126)
    os.close(theirs)
    said = os.read(ours, 100).strip()
    os.waitpid(child, 0)
    if said != b"0":
        raise PermissionError(repr(said))
    return "uid 0"


@probe
def execute_from_tmp():
    with open("/usr/bin/true", "rb") as source, open("/tmp/true", "wb") as copy:
        copy.write(source.read())
    os.chmod("/tmp/true", 0o755)
    if os.fork() == 0:
        try:
            os.execv("/tmp/true", ["true"])
        finally:
            os._exit(126)
    _, status = os.wait()
    if status:
        raise PermissionError(status)


def run(names):
    outcomes = {}
    for name in names:
        # Each in a process of its own: one that gets through (chroot) must not help the next.
        ours, theirs = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(ours)
            try:
                outcome = ["out", str(PROBES[name]())]
            except OSError as error:
                outcome = ["held", str(error)]
            except BaseException as error:
                outcome = ["broken", repr(error)]
            os.write(theirs, json.dumps(outcome).encode())
            os._exit(0)
        os.close(theirs)
        with os.fdopen(ours, "rb") as pipe:
            said = pipe.read()
        os.waitpid(child, 0)
        outcomes[name] = json.loads(said) if said else ["broken", "died"]
    return outcomes


ARGUMENTS = json.loads(sys.stdin.read() or os.environ.get("ARGUMENTS", "{}"))
print(json.dumps(run(ARGUMENTS["names"])))
