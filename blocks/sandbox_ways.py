"""The ways to isolate the process that calls one, the strongest first: its bounds are set afterwards, or OSError.

namespaces: users, processes, network and files of its own, and Landlock and seccomp within. bubblewrap: the same by
the tool for it. landlock: Landlock for files and signals, seccomp for the rest. unsandboxed: limits alone.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import sys
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

# all of it now: later on the files may be out of reach
from blocks import sandbox_linux as linux
from blocks.sandbox_seccomp import restrict_system_calls

# what programs read that come with the system; never home folders, /etc as a whole, /proc, /run or /var
SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store"),
    *("/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime", "/etc/timezone", "/etc/mime.types"),
    *("/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/etc/services", "/etc/protocols"),
    *("/etc/nsswitch.conf", "/etc/hosts", "/etc/resolv.conf", "/etc/gai.conf", "/etc/host.conf"),
)
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_USERS = range(61184, 65520)  # systemd's range for users that exist for one run only
_SIGNALS_STAY_IN = 6  # from this version on Landlock can; else only another user or namespace does
_FRESH_COUNT = (5, 14)  # from this kernel on RLIMIT_NPROC counts within the user namespace

Spec = dict[str, Any]


def namespaces(spec: Spec) -> None:
    """Namespaces for users, processes, network and files, and within them Landlock and seccomp, too."""
    others = linux.CLONE_NEWPID | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS
    others |= 0 if spec["limits"]["network"] else linux.CLONE_NEWNET
    root = os.geteuid() == 0
    if root:
        linux.unshare(others)
    else:
        linux.enter_user_namespace(others)
    _become_first_process()
    linux.unshare(linux.CLONE_NEWNS)
    user, group = (_a_user(), _a_user()) if root else (os.geteuid(), os.getegid())
    readable = _with_links([*SYSTEM, *spec["readable"]])
    if root:
        _give(spec["kept"], user, group)
    linux.new_root(readable, spec["kept"], spec["scratch"], disk_mb=spec["limits"]["disk_mb"], user=user, group=group)
    if root:
        _become(user, group)
    linux.drop_capabilities()
    counted = 0 if root or _kernel() >= _FRESH_COUNT else _tasks_of(user)
    _confine(spec, counted, ["/dev/shm"], optional=True, permissions=True)


def bubblewrap(spec: Spec) -> None:
    """The same namespaces by the tool for them, which some systems let make those that they do not let us make."""
    if not spec["bubblewrap"]:
        raise OSError("it is not on PATH")
    if os.geteuid() == 0:
        raise OSError("under it root would stay root, whose processes are not counted")
    code = Path(__file__).resolve().parent
    ours = [str(path) for path in code.glob("sandbox_*.py")] + [str(code / "__init__.py")]
    arguments = ["--unshare-all", "--die-with-parent", "--new-session", "--as-pid-1", "--cap-drop", "ALL"]
    arguments += ["--share-net"] if spec["limits"]["network"] else []
    for path in sorted(_with_links([*SYSTEM, *spec["readable"], *ours]), key=lambda path: path.count("/")):
        arguments += ["--symlink", os.readlink(path), path] if os.path.islink(path) else ["--ro-bind-try", path, path]
    for device in _DEVICES:
        arguments += ["--dev-bind-try", device, device]
    for path in spec["kept"]:
        arguments += ["--bind", path, path]
    for folder in (spec["scratch"], "/dev/shm"):
        arguments += ["--size", str(spec["limits"]["disk_mb"] << 20), "--tmpfs", folder]
    arguments += ["--remount-ro", "/"]
    os.set_inheritable(spec["errors"], True)
    reading, writing = os.pipe()
    os.write(writing, json.dumps(spec).encode())
    os.close(writing)
    os.set_inheritable(reading, True)
    again = [os.path.realpath(sys.executable), "-I", "-S", "-c", spec["launch"], str(reading)]
    os.execve(spec["bubblewrap"], [spec["bubblewrap"], *arguments, "--", *again], {})


def within_bubblewrap(spec: Spec) -> None:
    """The rest of bubblewrap's way, as what it started."""
    counted = 0 if _kernel() >= _FRESH_COUNT else _tasks_of(os.getuid())
    _confine(spec, counted, ["/dev/shm"], optional=True, permissions=True)


def landlock(spec: Spec) -> None:
    """Landlock for files, seccomp for the network: what an unprivileged process is allowed nearly everywhere."""
    user = caller = os.geteuid()
    if caller == 0:
        user = _a_user()
        _give([spec["scratch"], *spec["kept"]], user, user)
        _become(user, user)
        for path in (spec["argv"][0], *spec["readable"]):
            if not os.access(path, os.R_OK):
                raise OSError(f"{path} cannot be read by an unprivileged user, and root cannot be held to its limits")
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
    if user == caller and linux.landlock_abi() < _SIGNALS_STAY_IN:
        raise OSError(f"its Landlock (version {linux.landlock_abi()}) cannot keep signals in; {_SIGNALS_STAY_IN} can")
    # what installs has to make its files executable
    _confine(spec, _tasks_of(user), [], optional=False, permissions=bool(spec["kept"]))


def none_here(spec: Spec) -> None:
    """Where the system has nothing that we know how to use."""
    raise OSError(f"{sys.platform} has no sandbox for evaluators; they run on it only if that is accepted")


def unsandboxed(spec: Spec) -> None:
    """Limits alone, for a source that a person accepted as harmless."""
    os.setsid()
    os.chdir(spec["cwd"])
    _limit_resources(spec["limits"], None)


def _confine(spec: Spec, counted: int, writable: list[str], *, optional: bool, permissions: bool) -> None:
    """The bounds that the program itself carries. optional: whether namespaces stand in for Landlock and seccomp."""
    with suppress(PermissionError):  # it leads a session already
        os.setsid()
    os.chdir(spec["cwd"])
    _limit_resources(spec["limits"], counted)
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    network = spec["limits"]["network"]
    readable = [*SYSTEM, *spec["readable"]]
    with suppress(OSError) if optional else nullcontext():
        linux.landlock(readable, [spec["scratch"], *spec["kept"], *writable, *_DEVICES], network=network)
    with suppress(OSError) if optional else nullcontext():
        restrict_system_calls(network=network, permissions=permissions)


def _become_first_process() -> None:
    """Go on as process 1 of the new process namespace, whose end is the end of all in it."""
    child = os.fork()
    if child:
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # it only waits: no pipe may seem open because of it
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        os._exit(code if code >= 0 else 128 - code)
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)


def _a_user() -> int:
    return random.SystemRandom().choice(_USERS)


def _give(folders: list[str], user: int, group: int) -> None:
    """Make folders, with what is in them, the user's own."""
    for top in folders:
        for folder, names, files in os.walk(top):
            for path in (folder, *(os.path.join(folder, name) for name in (*names, *files))):
                os.lchown(path, user, group)


def _become(user: int, group: int) -> None:
    """Give up root for a user that owns nothing."""
    os.setgroups([])
    os.setresgid(group, group, group)
    os.setresuid(user, user, user)
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)  # the change of user has cleared it


def _with_links(paths: list[str]) -> list[str]:
    """Each path, and what it leads to where it goes through a link."""
    return list(dict.fromkeys([*map(os.path.realpath, paths), *paths]))


def _kernel() -> tuple[int, ...]:
    return tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])


def _tasks_of(user: int) -> int:
    """How many threads a user has: older kernels, and those without a namespace, count them all together."""
    total = 0
    for task in Path("/proc").glob("[0-9]*/task/[0-9]*"):
        with suppress(OSError):
            total += task.stat().st_uid == user
    return total


def _limit_resources(limits: dict[str, Any], counted: int | None) -> None:
    """Limits that a process takes along to its children. They bind each process, not their sum: see Watch.

    counted: the user's processes that are not of this sandbox; None where they cannot be told apart.
    """
    memory = limits["memory_mb"] << 20
    bounds = {
        resource.RLIMIT_AS: 2 * memory,  # libraries map more than they use
        resource.RLIMIT_DATA: memory,
        resource.RLIMIT_FSIZE: limits["file_mb"] << 20,
        resource.RLIMIT_NOFILE: limits["n_open_files"],
        resource.RLIMIT_CORE: 0,
    }
    if counted is not None:
        bounds[resource.RLIMIT_NPROC] = limits["n_processes"] + counted
    if sys.platform == "linux":
        bounds[resource.RLIMIT_MSGQUEUE] = 0
    for which, value in bounds.items():
        hard = resource.getrlimit(which)[1]
        least = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with suppress(ValueError) if sys.platform != "linux" else nullcontext():  # macOS knows some by name only
            resource.setrlimit(which, (least, least))
