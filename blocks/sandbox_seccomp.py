"""The system calls that an untrusted program does not need, refused by a seccomp filter.

A list of what is refused rather than of what is allowed, as Flatpak's and Docker's: an evaluator may bring any
library. Files are Landlock's matter; this is about sockets, other processes, and what the kernel does for its
administrators. Numbers: arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from blocks.sandbox_linux import PR_SET_NO_NEW_PRIVS, prctl

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_PR_SET_SECCOMP, _MODE_FILTER = 22, 2

# name: number on x86_64, on aarch64 (None: it has none)
_NEVER: dict[str, tuple[int, int | None]] = {
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438), "process_madvise": (440, 440), "bpf": (321, 280), "perf_event_open": (298, 241),
    "userfaultfd": (323, 282), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "unshare": (272, 97), "setns": (308, 268), "keyctl": (250, 219), "add_key": (248, 217),
    "request_key": (249, 218), "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225),
    "acct": (163, 89), "quotactl": (179, 60), "quotactl_fd": (443, 443), "settimeofday": (164, 170),
    "clock_settime": (227, 112), "adjtimex": (159, 171), "clock_adjtime": (305, 266), "sethostname": (170, 161),
    "setdomainname": (171, 162), "syslog": (103, 116), "vhangup": (153, 58), "iopl": (172, None),
    "ioperm": (173, None), "modify_ldt": (154, None), "fanotify_init": (300, 262), "personality": (135, 92),
    "setpriority": (141, 140), "sched_setparam": (142, 118), "sched_setscheduler": (144, 119),
    "sched_setattr": (314, 274), "migrate_pages": (256, 238), "move_pages": (279, 239),
}  # fmt: skip
# refused as if the kernel were too old for them, so that libraries take another way. io_uring would pass
# sockets by this filter; clone3 hides its flags from it; the others hold memory that no process answers for
_UNKNOWN: dict[str, tuple[int, int | None]] = {
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "clone3": (435, 435), "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194),
    "msgget": (68, 186),
}  # fmt: skip
_NETWORK: dict[str, tuple[int, int | None]] = {
    "connect": (42, 203), "bind": (49, 200), "listen": (50, 201), "accept": (43, 202), "accept4": (288, 242),
}  # fmt: skip
# what Landlock lets pass: changing who may do what with the files of one's own user, wherever they are
_PERMISSIONS: dict[str, tuple[int, int | None]] = {
    "chmod": (90, None), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None), "lchown": (94, None),
    "fchownat": (260, 54), "setxattr": (188, 5), "lsetxattr": (189, 6), "removexattr": (197, 14),
    "lremovexattr": (198, 15),
}  # fmt: skip
_SOCKET, _SOCKETPAIR, _CLONE, _PRLIMIT = (41, 198), (53, 199), (56, 220), (302, 261)
_NAMESPACE_FLAGS = 0x7E020080  # all of CLONE_NEW*
_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK, _SOCK_STREAM, _SOCK_TYPE_MASK = 1, 2, 10, 16, 1, 0xF

# classic BPF
_LOAD, _AND, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_NUMBER, _ARCH = 0, 4  # offsets in struct seccomp_data


def _argument(place: int) -> int:
    return 16 + 8 * place  # its low word


def _refuse(code: int) -> tuple[int, int, int, int]:
    return (_RETURN, 0, 0, 0x00050000 | code)


def restrict_system_calls(*, network: bool, permissions: bool) -> None:
    """Install the filter on this process and all that it starts.

    network: whether internet sockets may be made. permissions: whether chmod and its like are let through, which
    is safe where other files than its own are out of reach.
    Raises OSError where the machine or kernel has no such filter.
    """
    machine = os.uname().machine
    if machine not in _ARCHITECTURES:
        raise OSError(errno.ENOSYS, f"no system call table for {machine}")
    install(_filter(machine, network=network, permissions=permissions))


def install(program: list[tuple[int, int, int, int]]) -> None:
    """Put a filter, as classic BPF, on this process and all that it starts."""
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
    kept = ctypes.create_string_buffer(code, len(code))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(kept)))
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_MODE_FILTER), header, 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp filter")


def _filter(machine: str, *, network: bool, permissions: bool) -> list[tuple[int, int, int, int]]:
    """The filter's instructions: (code, jump if true, jump if false, operand)."""
    place = list(_ARCHITECTURES).index(machine)
    load = (_LOAD, 0, 0, _NUMBER)
    program = [(_LOAD, 0, 0, _ARCH), (_EQUAL, 1, 0, _ARCHITECTURES[machine]), (_RETURN, 0, 0, _KILL), load]
    if machine == "x86_64":
        program += [(_AT_LEAST, 0, 1, 0x40000000), (_RETURN, 0, 0, _KILL)]  # the x32 numbers
    refused = {**_NEVER, **({} if network else _NETWORK), **({} if permissions else _PERMISSIONS)}
    for table, code in ((refused, errno.EPERM), (_UNKNOWN, errno.ENOSYS)):
        for numbers in table.values():
            if (number := numbers[place]) is not None:
                program += [(_EQUAL, 0, 1, number), _refuse(code)]
    allowed = (_AF_INET, _AF_INET6, _AF_NETLINK) if network else ()
    families = [(_EQUAL, len(allowed) - at, 0, family) for at, family in enumerate(allowed)]
    for number, check in (
        (_SOCKET[place], [(_LOAD, 0, 0, _argument(0)), *families, _refuse(errno.EPERM)]),
        (
            _SOCKETPAIR[place],  # event loops wake themselves by one; only a datagram one could reach others
            [
                (_LOAD, 0, 0, _argument(0)),
                (_EQUAL, 0, 3, _AF_UNIX),
                (_LOAD, 0, 0, _argument(1)),
                (_AND, 0, 0, _SOCK_TYPE_MASK),
                (_EQUAL, 1, 0, _SOCK_STREAM),
                _refuse(errno.EPERM),
            ],
        ),
        (_CLONE[place], [(_LOAD, 0, 0, _argument(0)), (_ANY_BIT, 0, 1, _NAMESPACE_FLAGS), _refuse(errno.EPERM)]),
        (_PRLIMIT[place], [(_LOAD, 0, 0, _argument(0)), (_EQUAL, 1, 0, 0), _refuse(errno.EPERM)]),
    ):
        program += [(_EQUAL, 0, len(check) + 1, number), *check, load]
    return [*program, (_RETURN, 0, 0, _ALLOW)]
