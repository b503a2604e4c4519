"""The same attacks for each way that a system leaves open: as another user, without namespaces, with bubblewrap."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.sandbox_ways import none_here

ROOT = Path(__file__).parents[2]
NOBODY = 65534
UNSHARE = {"x86_64": 272, "aarch64": 97}.get(os.uname().machine, 0)
LANDLOCK = 444
# a system that refuses these calls, as containers do by default with the first
DENY = """
import os, sys
sys.path.insert(0, os.getcwd())
from blocks.sandbox_seccomp import install
refuse = [each for number in {numbers} for each in ((0x15, 0, 1, number), (0x06, 0, 0, 0x00050001))]
install([(0x20, 0, 0, 0), *refuse, (0x06, 0, 0, 0x7FFF0000)])
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
SAY = "import sys; sys.path.insert(0, '.'); from blocks.sandbox import isolation; print(isolation())"

pytestmark = pytest.mark.skipif(sys.platform != "linux" or not UNSHARE, reason="the ways are Linux's")


@pytest.fixture
def work() -> Iterator[Path]:
    """A folder that every user can reach: pytest's own are closed."""
    with tempfile.TemporaryDirectory(prefix="ways-") as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


def reachable(path: Path) -> bool:
    return all(each.stat().st_mode & 0o001 for each in (path, *path.parents))


def start(work: Path, *arguments: str, user: int | None, path: str, denied: tuple[int, ...] = ()):
    """Run our interpreter, or the system's of the same version, as this user where these calls are refused."""
    python = Path(getattr(sys, "_base_executable", None) or sys.executable).resolve()
    if not reachable(python):
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        python = Path(shutil.which(version, path="/usr/local/bin:/usr/bin") or pytest.skip(f"no {version} for all"))
    if user is not None and not reachable(ROOT):
        pytest.skip(f"{ROOT} is closed to other users")
    return subprocess.run(
        [python, *(["-c", DENY.format(numbers=denied)] if denied else []), *arguments],
        cwd=ROOT,
        env={
            "PATH": path,
            "HOME": str(work),
            "PYTHONPATH": sysconfig.get_paths()["purelib"],
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        capture_output=True,
        text=True,
        check=False,
    )


def ordinary_user() -> int | None:
    """Another user's ID where we are root, else None for our own."""
    return NOBODY if os.geteuid() == 0 else None


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("as_root", "denied", "tools", "expected"),
    [
        pytest.param(False, (), False, "namespaces", id="an ordinary user"),
        pytest.param(False, (UNSHARE,), False, "landlock", id="an ordinary user without namespaces"),
        pytest.param(True, (UNSHARE,), False, "landlock", id="root without namespaces"),
        pytest.param(False, (UNSHARE,), True, "bubblewrap", id="an ordinary user with bubblewrap alone"),
        pytest.param(False, (LANDLOCK,), False, "namespaces", id="an ordinary user without Landlock"),
    ],
)
def test_the_attacks_fail_this_way_too(work, as_root, denied, tools, expected):
    if as_root and os.geteuid() != 0:
        pytest.skip("only root can be root")
    bubblewrap = shutil.which("bwrap")
    if tools and not bubblewrap:
        pytest.skip("bubblewrap is not on PATH")
    path = str(Path(bubblewrap).parent) if tools and bubblewrap else "/nowhere"
    user = None if as_root else ordinary_user()
    said = start(work, "-c", SAY, user=user, path=path, denied=denied)
    assert said.stdout.strip() == expected, said.stderr
    attacks = ["-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={work / 't'}"]
    attacks += [str(ROOT / "tests" / "blocks" / "test_sandbox.py")]
    done = start(work, *attacks, user=user, path=path, denied=denied)
    assert done.returncode == 0, done.stdout[-4000:]
    assert "skipped" not in done.stdout


RUN = """
import sys, tempfile
sys.path.insert(0, ".")
from pathlib import Path
from blocks.evaluators import Limits, SandboxRefused, inspect_source, run
with tempfile.TemporaryDirectory() as folder:
    Path(folder, "main.py").write_text("def evaluate(messages):\\n    return 0.5\\n")
    try:
        rows = [{"messages": [{"role": "assistant", "content": "a"}]}]
        print(run(inspect_source(Path(folder)), rows, limits=Limits(unsandboxed=ACCEPTED))[0].score)
    except SandboxRefused as refused:
        print(f"refused: {refused}")
"""


def test_where_nothing_isolates_nothing_starts_unless_it_was_accepted(work):
    where = {"user": ordinary_user(), "path": "/nowhere", "denied": (UNSHARE, LANDLOCK)}
    refused = start(work, "-c", RUN.replace("ACCEPTED", "False"), **where)
    assert refused.stdout.startswith("refused: this system cannot isolate a program that is not trusted (namespaces: ")
    assert "bubblewrap: it is not on PATH" in refused.stdout
    assert "or accept that it runs unsandboxed" in refused.stdout
    accepted = start(work, "-c", RUN.replace("ACCEPTED", "True"), **where)
    assert accepted.stdout.strip() == "0.5", accepted.stderr


def test_a_system_without_any_way_says_that_it_has_to_be_accepted():
    with pytest.raises(OSError, match=r"has no sandbox for evaluators; they run on it only if that is accepted"):
        none_here({})
