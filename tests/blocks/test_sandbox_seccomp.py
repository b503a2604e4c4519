"""The filter as the kernel would run it: its instructions interpreted here, for both machines."""

import errno
import struct

import pytest

from blocks.sandbox_seccomp import _ARCHITECTURES, _filter

ALLOWED, KILLED = 0x7FFF0000, 0x80000000
REFUSED, UNKNOWN = 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
CLONE_NEWUSER, CLONE_THREAD = 0x10000000, 0x10000
NUMBERS = {
    "x86_64": {"read": 0, "socket": 41, "socketpair": 53, "connect": 42, "clone": 56, "clone3": 435, "ptrace": 101}
    | {"prlimit64": 302, "chmod": 90, "execve": 59, "unshare": 272, "io_uring_setup": 425, "setxattr": 188},
    "aarch64": {
        "read": 63,
        "socket": 198,
        "socketpair": 199,
        "connect": 203,
        "clone": 220,
        "clone3": 435,
        "ptrace": 117,
    }
    | {"prlimit64": 261, "chmod": 53, "execve": 221, "unshare": 97, "io_uring_setup": 425, "setxattr": 5},
}


def verdict(machine, call, *arguments, network=False, permissions=True, arch=None, number=None):
    """What the filter says to a call, by the rules of classic BPF."""
    number = NUMBERS[machine][call] if number is None else number
    padded = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    data = struct.pack("<IIQ6Q", number, arch or _ARCHITECTURES[machine], 0, *padded)
    program = _filter(machine, network=network, permissions=permissions)
    at = accumulator = 0
    while True:
        code, if_true, if_false, operand = program[at]
        at += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, operand)
        elif code == 0x54:
            accumulator &= operand
        elif code == 0x06:
            return operand
        else:
            holds = {0x15: accumulator == operand, 0x35: accumulator >= operand, 0x45: bool(accumulator & operand)}
            at += if_true if holds[code] else if_false


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_what_the_filter_says(machine):
    def says(*arguments, **settings):
        return verdict(machine, *arguments, **settings)

    assert says("read") == says("execve") == ALLOWED
    for family in (1, 2, 10, 16, 17):
        assert says("socket", family, 1) == REFUSED
    assert says("socketpair", 1, 1) == says("socketpair", 1, 1 | 0x80800) == ALLOWED  # with close-on-exec, non-blocking
    assert says("socketpair", 1, 2) == says("socketpair", 2, 1) == REFUSED
    assert says("connect") == says("ptrace") == says("unshare") == REFUSED
    assert says("clone3") == says("io_uring_setup") == UNKNOWN
    assert says("clone", CLONE_THREAD) == says("clone", 17) == ALLOWED
    assert says("clone", CLONE_NEWUSER | 17) == REFUSED
    assert says("prlimit64", 0) == ALLOWED
    assert says("prlimit64", 4711) == REFUSED


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_network_when_it_is_granted_is_the_internet_alone(machine):
    for family, expected in ((2, ALLOWED), (10, ALLOWED), (16, ALLOWED), (1, REFUSED), (17, REFUSED), (40, REFUSED)):
        assert verdict(machine, "socket", family, 1, network=True) == expected
    assert verdict(machine, "connect", network=True) == ALLOWED


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_permissions_are_let_through_only_where_other_files_are_out_of_reach(machine):
    assert verdict(machine, "chmod") == verdict(machine, "setxattr") == ALLOWED
    assert verdict(machine, "chmod", permissions=False) == verdict(machine, "setxattr", permissions=False) == REFUSED


def test_other_tables_of_numbers_are_no_way_around_it():
    assert verdict("x86_64", "read", arch=0x40000003) == KILLED  # 32 bit
    assert verdict("x86_64", "read", number=0x40000000 | 41) == KILLED  # x32
    assert verdict("aarch64", "read", arch=0x40000028) == KILLED
