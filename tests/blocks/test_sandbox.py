"""Attacks on the sandbox, each by an evaluator that really tries; the rows beside it must be scored as if nothing was.

The first row's completion is "attack", and only it attacks. What an attack found out it gives as its reason.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.evaluators import EvaluatorError, Limits, RowScore, inspect_source, run
from blocks.sandbox import why_not_sandboxed

pytestmark = pytest.mark.skipif(
    why_not_sandboxed() is not None, reason=f"this system cannot isolate: {why_not_sandboxed()}"
)

LIMITS = Limits(memory_mb=512, concurrency=1)
PLAIN = """
def evaluate(messages, **kwargs):
    if messages[-1]["content"] == "attack":
        return attack(**kwargs)
    return {"score": 0.25, "reason": messages[-1]["content"]}
"""


def row(completion: str, **fields) -> dict:
    return {
        "messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": completion}],
        **fields,
    }


def attack(folder: Path, code: str, *, limits: Limits = LIMITS, **fields) -> RowScore:
    """The attacking row's score; the two rows after it must have theirs."""
    source = folder / "source"
    source.mkdir()
    (source / "main.py").write_text(code + PLAIN)
    scores = run(
        inspect_source(source),
        [row("attack", **fields), row("one"), row("two")],
        limits=limits,
        scratch=folder,
    )
    assert [(s.score, s.reason) for s in scores[1:]] == [(0.25, "one"), (0.25, "two")]
    return scores[0]


def processes(marker: str) -> list[str]:
    """Processes whose command line has the marker."""
    found = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if marker.encode() in line.read_bytes():
                found.append(str(line))
        except OSError:
            continue
    return found


def gone(marker: str) -> bool:
    """Whether all such processes are gone, or are within the time that the kernel takes to bury them."""
    deadline = time.monotonic() + 60
    while processes(marker) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not processes(marker)


def test_no_socket_can_be_opened(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        found = attack(
            tmp_path,
            """
import socket
def attack(port, **kwargs):
    got = []
    for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_NETLINK, socket.AF_PACKET):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW):
            try:
                opened = socket.socket(family, kind)
            except OSError:
                continue
            got.append(f"{family} {kind}")
            try:
                opened.connect(("127.0.0.1", port))
                got.append("connected")
            except OSError:
                pass
    try:
        socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        got.append("datagram pair")
    except OSError:
        pass
    try:
        got.append(str(socket.getaddrinfo("example.com", 443)))
    except OSError:
        pass
    return {"score": 1.0, "reason": ", ".join(got)}
""",
            port=server.getsockname()[1],
        )
        assert (found.score, found.reason) == (1.0, "")
        with pytest.raises(TimeoutError):
            server.accept()


def test_an_event_loop_still_works_without_sockets(tmp_path):
    found = attack(
        tmp_path,
        """
import asyncio
async def attack(**kwargs):
    await asyncio.sleep(0)
    return await asyncio.to_thread(lambda: 0.75)
""",
    )
    assert found.score == 0.75


def test_the_environment_holds_nothing_of_ours(tmp_path, monkeypatch):
    monkeypatch.setenv("FIREWORKS_API_KEY", "fw_secret_key")
    found = attack(
        tmp_path,
        """
import os, glob
def attack(parent, **kwargs):
    seen = [f"{k}={v}" for k, v in os.environ.items()]
    for path in [f"/proc/{parent}/environ", *glob.glob("/proc/*/environ"), "/proc/self/environ"]:
        try:
            seen.append(open(path, errors="replace").read())
        except OSError:
            pass
    return {"score": 1.0, "reason": " ".join(seen)}
""",
        parent=os.getpid(),
    )
    assert "PATH=" in found.reason
    assert "fw_secret_key" not in found.reason
    assert "FIREWORKS" not in found.reason


def test_nothing_beyond_its_own_can_be_read(tmp_path):
    other = tmp_path / "another-run"
    other.mkdir(mode=0o755)
    secret = other / "journal.txt"
    secret.write_text("another run's answers")
    secret.chmod(0o644)
    found = attack(
        tmp_path,
        """
import os
def attack(paths, **kwargs):
    seen = []
    for path in paths:
        for take in (lambda: open(path).read(), lambda: os.listdir(path), lambda: os.readlink(path)):
            try:
                seen.append(f"{path}: {take()}")
            except OSError:
                pass
    return {"score": 1.0, "reason": "; ".join(seen)}
""",
        paths=[
            *[str(secret), str(other), str(tmp_path), str(Path.home()), "/root", "/home", "/etc/shadow"],
            *["/etc", "/var", "/run", "/proc", "/proc/1/cmdline", "/sys", "/work", "/dev/mem", str(Path.cwd())],
            *[str(Path.cwd() / "pyproject.toml"), str(Path(sys.prefix) / "pyvenv.cfg"), __file__],
        ],
    )
    assert found.score == 1.0
    for line in filter(None, found.reason.split("; ")):
        # a folder on the way to what it may see holds that way and no more
        assert line in (f"{tmp_path}: {os.listdir(tmp_path)[:0] or line.split(': ')[1]}", line)
        assert "another run's answers" not in line
        assert "journal.txt" not in line
        assert "pyproject.toml" not in line
        assert "root:" not in line


def test_no_descriptor_of_ours_is_open_in_it(tmp_path):
    found = attack(
        tmp_path,
        """
import os, stat
def attack(**kwargs):
    kinds = []
    for descriptor in range(256):
        try:
            mode = os.fstat(descriptor).st_mode
        except OSError:
            continue
        kinds.append("pipe" if stat.S_ISFIFO(mode) else "device" if stat.S_ISCHR(mode) else "other")
    return {"score": 1.0, "reason": " ".join(kinds)}
""",
    )
    # nothing to read from, what it prints twice, and its own result
    assert found.reason == "device pipe pipe pipe"


def test_a_fork_bomb_ends_with_its_row(tmp_path):
    found = attack(
        tmp_path,
        """
import os, time
def attack(**kwargs):
    def bomb():
        while True:
            try:
                if os.fork() == 0:
                    os.setsid()
                    bomb()
            except OSError:
                time.sleep(0.01)
    bomb()
""",
        limits=Limits(row_wall_s=3, total_wall_s=60, n_processes=48, memory_mb=1024, concurrency=1),
    )
    assert found.score is None
    assert "took longer than 3 s" in found.error
    assert gone(str(tmp_path))


def test_processes_are_counted(tmp_path):
    found = attack(
        tmp_path,
        """
import os, time
def attack(**kwargs):
    n = 0
    try:
        while n < 500:
            if os.fork() == 0:
                time.sleep(100)
                os._exit(0)
            n += 1
    except OSError as error:
        return {"score": n / 1000, "reason": str(error)}
""",
    )
    assert found.score is not None
    assert 0 < found.score * 1000 < 64
    assert "unavailable" in found.reason
    assert gone(str(tmp_path))


@pytest.mark.parametrize(
    "take",
    [
        "bytearray(10 << 30)",
        "[bytearray(1 << 20) for _ in range(10 << 10)]",
        "mmap.mmap(-1, 10 << 30)",
        "[fill(mmap.mmap(-1, 1 << 28)) for _ in range(40)]",
    ],
)
def test_ten_gigabytes_are_not_given(tmp_path, take):
    found = attack(
        tmp_path,
        f"""
import mmap
def fill(block):
    for at in range(0, len(block), 4096):
        block[at] = 1
    return block
def attack(**kwargs):
    kept = {take}
    return 1.0
""",
    )
    assert found.score is None
    assert "MemoryError" in found.error or "Cannot allocate memory" in found.error or "memory)" in found.error


def test_many_processes_do_not_get_more_memory_than_one(tmp_path):
    found = attack(
        tmp_path,
        """
import os, time
def attack(**kwargs):
    for _ in range(20):
        if os.fork() == 0:
            os.setsid()
            kept = bytearray(b"x" * (100 << 20))
            time.sleep(300)
    time.sleep(300)
""",
    )
    assert found.score is None
    assert "was ended by SIGKILL (out of CPU time or memory)" in found.error
    assert gone(str(tmp_path))


def test_a_module_that_takes_too_much_memory_is_named_as_that(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "main.py").write_text(
        "import mmap\nkept = [mmap.mmap(-1, 200 << 20) for _ in range(4)]\n"
        "for block in kept:\n    for _ in range(200):\n        block.write(b'x' * (1 << 20))\n"
        "import time\ntime.sleep(60)\n" + PLAIN
    )
    with pytest.raises(EvaluatorError, match=r"it uses \d+ MB of memory, and 512 are allowed"):
        run(inspect_source(source), [row("a")], limits=LIMITS, scratch=tmp_path)
    assert gone(str(tmp_path))


def test_a_loop_that_ignores_signals_ends_too(tmp_path):
    found = attack(
        tmp_path,
        """
import signal
def attack(**kwargs):
    for number in range(1, 65):
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            pass
    while True:
        pass
""",
        limits=Limits(row_wall_s=200, row_cpu_s=1, concurrency=1),
    )
    assert found.score is None
    assert "out of CPU time" in found.error


def test_printing_a_gigabyte_costs_only_the_row(tmp_path):
    found = attack(
        tmp_path,
        """
def attack(**kwargs):
    for _ in range(1 << 10):
        print("x" * (1 << 20))
    return 1.0
""",
    )
    assert found.score is None
    assert "printed more than 1024 kB" in found.error


def test_printing_a_gigabyte_while_it_is_loaded_ends_it(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "main.py").write_text("for _ in range(1 << 10):\n    print('x' * (1 << 20))\n" + PLAIN)
    with pytest.raises(EvaluatorError, match="it printed more than 1024 kB, so it was ended"):
        run(inspect_source(source), [row("a")], limits=LIMITS, scratch=tmp_path)


def test_nothing_is_written_outside_of_the_scratch_folder(tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    target.chmod(0o777)
    (target / "mine.txt").write_text("mine")
    (target / "mine.txt").chmod(0o666)
    found = attack(
        tmp_path,
        """
import os, sys
def attack(target, **kwargs):
    done = []
    tries = {
        "write": lambda: open(target + "/mine.txt", "w").write("theirs"),
        "truncate": lambda: os.truncate(target + "/mine.txt", 0),
        "create": lambda: open(target + "/new.txt", "w"),
        "remove": lambda: os.remove(target + "/mine.txt"),
        "rename": lambda: os.rename(target + "/mine.txt", target + "/x"),
        "chmod": lambda: os.chmod(target + "/mine.txt", 0),
        "xattr": lambda: os.setxattr(target + "/mine.txt", "user.mark", b"1"),
        "link": lambda: open(os.symlink(target, "way") or "way/new.txt", "w"),
        "own code": lambda: open(__file__, "a"),
        "beside the code": lambda: open(os.path.dirname(__file__) + "/new.py", "w"),
        "python": lambda: open(os.path.join(os.path.dirname(os.__file__), "new.py"), "w"),
        "harness": lambda: open(sys.argv[0], "a"),
        "etc": lambda: open("/etc/new", "w"),
        "root": lambda: open("/new", "w"),
        "home": lambda: open("/root/new", "w"),
    }
    for name, act in tries.items():
        try:
            act()
            done.append(name)
        except OSError:
            pass
    with open(os.path.join(os.environ["TMPDIR"], "own.txt"), "w") as own:
        own.write("allowed")
    return {"score": 1.0, "reason": ", ".join(done)}
""",
        target=str(target),
    )
    assert (found.score, found.reason) == (1.0, "")
    assert (target / "mine.txt").read_text() == "mine"
    assert os.listdir(target) == ["mine.txt"]


def test_the_scratch_folder_is_bounded_and_removed(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "main.py").write_text(
        """
import os, time
def evaluate(messages, **kwargs):
    for n in range(100):
        with open(os.path.join(os.environ["TMPDIR"], str(n)), "wb") as file:
            file.write(bytes(1 << 20))
        time.sleep(0.05)
"""
    )
    with pytest.raises(EvaluatorError, match=r"No space left on device|its files take more than 16 MB"):
        run(inspect_source(source), [row("a")], limits=Limits(disk_mb=16), scratch=tmp_path)
    assert os.listdir(tmp_path) == ["source"]


def test_a_file_is_bounded(tmp_path):
    found = attack(
        tmp_path,
        """
import os
def attack(**kwargs):
    with open(os.path.join(os.environ["TMPDIR"], "big"), "wb") as file:
        file.write(bytes(65 << 20))
    return 1.0
""",
    )
    assert found.score is None
    assert "File too large" in found.error


def test_replacing_everything_in_reach_moves_only_its_own_row(tmp_path):
    found = attack(
        tmp_path,
        """
import builtins, gc, json, math, os, sys, types
def attack(**kwargs):
    forged = b'{"rows": [1, 2], "outcomes": [{"score": 1.0}, {"score": 1.0}]}\\n'
    own = os.environ.get("none")
    best = lambda *a, **k: {"score": 1.0, "reason": "forged", "metrics": {}}
    for module in [m for m in gc.get_objects() if isinstance(m, types.ModuleType)]:
        for name in ("outcome_of", "outcomes_of", "_scored", "_number", "_send", "evaluate"):
            if hasattr(module, name):
                setattr(module, name, best)
    json.dumps = best
    math.isfinite = lambda value: True
    builtins.float = lambda value: 1.0
    for frame in sys._current_frames().values():
        while frame:
            frame.f_globals["evaluate"] = best
            frame = frame.f_back
    for descriptor in range(3, 256):
        try:
            os.write(descriptor, forged)
        except OSError:
            pass
    return "not a score"
""",
    )
    assert found.score is None


@pytest.mark.parametrize("depth", [700, 100_000])
def test_what_is_nested_without_end_costs_only_the_row(tmp_path, depth):
    """Some depths can be read and not be written again, others not even be read."""
    found = attack(
        tmp_path,
        f"""
import os
def attack(**kwargs):
    nested = b"[" * {depth} + b"]" * {depth}
    for descriptor in range(3, 256):
        try:
            os.write(descriptor, b'{{"outcomes": [{{"score": ' + nested + b'}}]}}\\n')
        except OSError:
            pass
    os._exit(0)
""",
    )
    assert found.score is None


def test_a_forged_channel_message_has_no_effect(tmp_path):
    """Even the evaluator's own module, which shares a process with the harness while it is loaded, gets no type by."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "main.py").write_text(
        """
import os
for descriptor in range(3, 64):
    for line in (
        b'{"rows": [0], "outcomes": [{"score": "1.0"}]}',
        b'{"rows": [1], "outcomes": [{"score": NaN}]}',
        b'{"rows": [2, -1, 99, "x"], "outcomes": [{"score": 1e999}, {"score": 1.0}, {"score": 1.0}, {}]}',
        b'{"rows": 3, "outcomes": null}',
        b"[[[[[", b"[" * 60_000, b"null", b"\\xff\\xfe",
    ):
        try:
            os.write(descriptor, line + b"\\n")
        except OSError:
            pass
def evaluate(messages, **kwargs):
    return 0.5
"""
    )
    scores = run(inspect_source(source), [row("a"), row("b"), row("c"), row("d")], limits=LIMITS, scratch=tmp_path)
    assert [s.score for s in scores] == [None, None, None, 0.5]
    assert all(s.error for s in scores[:3])


def test_children_left_behind_are_killed(tmp_path):
    marker = f"31{os.getpid()}.5"
    found = attack(
        tmp_path,
        """
import os, signal, subprocess
def attack(marker, **kwargs):
    child = os.fork()
    if child == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        os.execv("/bin/sleep", ["sleep", marker])
    os.waitpid(child, 0)
    subprocess.Popen(["/bin/sleep", marker], start_new_session=True)
    return 1.0
""",
        marker=marker,
    )
    assert found.score == 1.0
    assert gone(marker)


def test_neither_we_nor_the_harness_can_be_signalled_or_traced(tmp_path):
    found = attack(
        tmp_path,
        """
import ctypes, os, signal
def attack(parent, **kwargs):
    libc = ctypes.CDLL(None, use_errno=True)
    done = []
    for process in (parent, os.getppid()):
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGSEGV):
            try:
                os.kill(process, number)
            except OSError:
                pass
        if libc.ptrace(16, process, 0, 0) == 0:
            done.append("ptrace")
    if libc.unshare(0x10000000) == 0:
        done.append("user namespace")
    if libc.mount(b"none", b"/", b"tmpfs", 0, None) == 0:
        done.append("mount")
    if os.getuid() == 0 or libc.setuid(0) == 0:
        done.append("root")
    return {"score": 1.0, "reason": ", ".join(done)}
""",
        parent=os.getpid(),
    )
    assert (found.score, found.reason) == (1.0, "")


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A folder that every user can reach, as root needs where it has no namespaces; tmp_path is not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_killing_the_caller_kills_the_evaluator_and_clears_up(open_path):
    marker = f"32{os.getpid()}.5"
    source = open_path / "source"
    source.mkdir()
    (source / "main.py").write_text(f"import subprocess\nsubprocess.run(['/bin/sleep', '{marker}'])\n" + PLAIN)
    code = (
        "import sys\nfrom pathlib import Path\nfrom blocks.evaluators import inspect_source, run\n"
        f"run(inspect_source(Path({str(source)!r})), [{row('a')!r}], scratch=Path({str(open_path)!r}))\n"
    )
    made = open_path / "made"
    made.mkdir(mode=0o777)
    made.chmod(0o777)
    caller = subprocess.Popen(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], env={**os.environ, "TMPDIR": str(made)}
    )
    deadline = time.monotonic() + 60
    while not processes(marker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes(marker)
    caller.send_signal(signal.SIGKILL)
    caller.wait()
    assert gone(marker)
    deadline = time.monotonic() + 60
    while (left := [*open_path.glob("evaluator-*"), *made.iterdir()]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left
