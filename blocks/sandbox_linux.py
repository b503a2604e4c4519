"""Linux's own means of isolation, called through libc: namespaces, a root of bind mounts, Landlock.

Each function changes the calling process for good and raises OSError where the kernel does not allow it.
Sources: namespaces(7), pivot_root(2), landlock(7), user_namespaces(7).
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Sequence
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)

# prctl(2)
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, PR_SET_SECUREBITS, PR_SET_CHILD_SUBREAPER = 1, 38, 28, 36
_SECURE_NOROOT_LOCKED = 0xEF  # no powers for user 0, no ambient ones, none kept: all locked

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000

_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 4096, 16384, 1 << 18
_MNT_DETACH = 2
_MOUNT_SETATTR, _AT_RECURSIVE, _AT_FDCWD = 442, 0x8000, -100
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV = 1, 2, 4
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_CAPSET = {"x86_64": 126, "aarch64": 91}

_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_EXECUTE, _READ_FILE, _READ_DIR = 1, 4, 8
_FILE_RIGHTS = 0b1100_0000_0000_0111  # execute, write, read, truncate, ioctl: all that a file can be given
_FS_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}  # how many of the rights, in the kernel's order, an ABI knows
_NET_TCP = 0b11  # bind and connect
_SCOPE_ALL = 0b11  # abstract sockets and signals stay inside


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _syscall(number: int, what: str, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return _check(_libc.syscall(ctypes.c_long(number), *words), what)


def prctl(option: int, value: int) -> None:
    _check(_libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0), f"prctl {option}")


def unshare(flags: int) -> None:
    _check(_libc.unshare(flags), "unshare")


def enter_user_namespace(flags: int) -> None:
    """A user namespace, and with its powers the others; the user keeps the ID that it has outside."""
    user, group = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER | flags)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def drop_capabilities() -> None:
    """No capability is left, and none comes back by exec."""
    if os.geteuid() == 0:
        prctl(PR_SET_SECUREBITS, _SECURE_NOROOT_LOCKED)
    header = struct.pack("Ii", 0x20080522, 0)  # version 3, this process
    _syscall(_CAPSET[os.uname().machine], "capset", header, bytes(24))


def _mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    result = _libc.mount(
        source.encode(), target.encode(), kind.encode() if kind else None, ctypes.c_ulong(flags), data.encode()
    )
    _check(result, f"mount {source} on {target}")


def new_root(
    readable: Sequence[str], kept: Sequence[str], scratch: str, *, disk_mb: int, user: int, group: int
) -> None:
    """Replace the file system by one that has only what is given, at the same paths.

    readable: files, folders and links, bound read-only. kept: folders bound as they are. scratch: an empty tmpfs of
    disk_mb that user owns.
    Device files are the harmless ones; there is no /proc and no /sys. Needs a mount namespace and its powers.
    """
    # what is there before what leads to it, a folder before what is in it
    in_order = sorted(readable, key=lambda path: (os.path.realpath(path) != path, path.count("/")))
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
    _mount("tmpfs", "/tmp", "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=755,size=1m")
    os.mkdir("/tmp/.old")
    _syscall(_PIVOT_ROOT[os.uname().machine], "pivot_root", b"/tmp", b"/tmp/.old")
    os.chdir("/")
    for path in in_order:
        _bind("/.old" + path, path, _ATTR_RDONLY | _ATTR_NOSUID | _ATTR_NODEV)
    for path in kept:
        _bind("/.old" + path, path, _ATTR_NOSUID | _ATTR_NODEV)
    for device in ("null", "zero", "full", "random", "urandom"):
        _bind(f"/.old/dev/{device}", f"/dev/{device}", _ATTR_NOSUID)
    bounds = f"size={disk_mb}m,nr_inodes=16384,mode=700,uid={user},gid={group}"
    for folder in (scratch, "/dev/shm"):
        os.makedirs(folder, exist_ok=True)
        _mount("tmpfs", folder, "tmpfs", _MS_NOSUID | _MS_NODEV, bounds)
    if not os.path.lexists("/tmp"):
        os.symlink(scratch, "/tmp")
    os.makedirs("/etc", exist_ok=True)
    if not os.path.exists("/etc/passwd"):
        Path("/etc/passwd").write_text(f"evaluator:x:{user}:{group}::{scratch}:/bin/sh\n")
    _check(_libc.umount2(b"/.old", _MNT_DETACH), "umount the old root")
    os.rmdir("/.old")
    _set_attributes("/", _ATTR_RDONLY, recursive=False)


def _bind(old: str, path: str, attributes: int) -> None:
    if not os.path.lexists(old) or os.path.lexists(path):
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.islink(old):
        os.symlink(os.readlink(old), path)
        return
    if os.path.isdir(old):
        os.mkdir(path)
    else:
        Path(path).touch()
    _mount(old, path, None, _MS_BIND | _MS_REC)
    _set_attributes(path, attributes, recursive=True)


def _set_attributes(path: str, attributes: int, *, recursive: bool) -> None:
    what = struct.pack("QQQQ", attributes, 0, 0, 0)
    flags = _AT_RECURSIVE if recursive else 0
    _syscall(_MOUNT_SETATTR, f"mount_setattr {path}", _AT_FDCWD, path.encode(), flags, what, len(what))


def landlock_abi() -> int:
    """The kernel's Landlock version, 0 where there is none."""
    return max(0, int(_libc.syscall(ctypes.c_long(_LANDLOCK_CREATE), None, ctypes.c_long(0), ctypes.c_long(1))))


def landlock(readable: Sequence[str], writable: Sequence[str], *, network: bool) -> None:
    """From here on only these paths can be opened, as granted; TCP and signals stay inside as the ABI allows.

    readable: may be read and executed. writable: everything but making devices. Needs no privilege but
    PR_SET_NO_NEW_PRIVS. Paths that do not exist are left out.
    """
    abi = landlock_abi()
    if not abi:
        raise OSError(errno.ENOSYS, "the kernel has no Landlock")
    handled = (1 << _FS_RIGHTS.get(abi, 16)) - 1
    attributes = struct.pack("QQQ", handled, _NET_TCP if abi >= 4 and not network else 0, _SCOPE_ALL if abi >= 6 else 0)
    size = 8 if abi < 4 else 16 if abi < 6 else 24
    rules = _syscall(_LANDLOCK_CREATE, "landlock_create_ruleset", attributes, size, 0)
    devices = (1 << 6) | (1 << 11)  # making character and block devices
    for paths, rights in ((readable, _EXECUTE | _READ_FILE | _READ_DIR), (writable, handled & ~devices)):
        for path in paths:
            _allow(rules, path, rights & handled)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    _syscall(_LANDLOCK_RESTRICT, "landlock_restrict_self", rules, 0)
    os.close(rules)


def _allow(rules: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not os.path.isdir(path):
            rights &= _FILE_RIGHTS
        _syscall(_LANDLOCK_ADD, f"landlock_add_rule {path}", rules, 1, struct.pack("<Qi", rights, descriptor), 0)
    finally:
        os.close(descriptor)
