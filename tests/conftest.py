"""The real local server for any test: in a thread, on a free port, in a folder of its own.

`local_server` has scripted children, so that jobs end in a moment and answers are known; `training_server` trains and
generates for real with a model of a few thousand random weights, `accounts/fireworks/models/tiny`.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local_server.config import Settings
from local_server.threaded import ThreadedServer

_HERE = Path(__file__).parent
SCRIPTED_TRAINING = (sys.executable, str(_HERE / "local_server/scripted_training.py"))
SCRIPTED_GENERATION = (sys.executable, str(_HERE / "local_server/scripted_generation.py"))
_MAKE_TINY_MODEL = """
import pathlib, sys
sys.path.insert(0, sys.argv[1])
from tiny_model import make_tiny_model
make_tiny_model(pathlib.Path(sys.argv[2]), layers=2)
"""

StartServer = Callable[..., ThreadedServer]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Two streams for `--dist loadgroup`: what mostly waits for Prefect's services, and what mostly computes."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group("waiting" if _HERE / "e2e" in item.path.parents else "computing"))


@pytest.fixture
def start_local_server(tmp_path: Path, hollow_model: Path) -> Iterator[StartServer]:
    """start(home=..., middleware=[...], any field of Settings): a server with scripted children, stopped at the end."""
    running: list[ThreadedServer] = []

    def start(home: Path | None = None, middleware=(), **settings) -> ThreadedServer:
        home = home or tmp_path / "local_server"
        home.mkdir(parents=True, exist_ok=True)
        if not (home / "models.toml").exists():
            (home / "models.toml").write_text(f'tiny = "{hollow_model}"\n')
        scripted = {"jobs_at_once": 1, "training_command": SCRIPTED_TRAINING, "generation_command": SCRIPTED_GENERATION}
        server = ThreadedServer(Settings(home=home, **{**scripted, **settings}), middleware=middleware)
        running.append(server)
        return server

    yield start
    for server in running:
        server.stop()


@pytest.fixture
def scripted_children() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The commands of the scripted trainer and of the scripted generator."""
    return SCRIPTED_TRAINING, SCRIPTED_GENERATION


@pytest.fixture
def local_server(start_local_server: StartServer) -> ThreadedServer:
    return start_local_server()


@pytest.fixture(scope="session")
def hollow_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the catalogue takes for a model; only scripted children can use it."""
    folder = tmp_path_factory.mktemp("hollow")
    (folder / "config.json").write_text('{"model_type": "llama", "max_position_embeddings": 512}')
    (folder / "tokenizer.json").write_text("{}")
    header = b'{"w": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}'
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(16))
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real Hugging Face model folder, small enough to train in a second."""
    folder = tmp_path_factory.mktemp("tiny")
    # in a process of its own: torch need not be loaded by the tests
    command = [sys.executable, "-c", _MAKE_TINY_MODEL, str(_HERE), str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture
def training_server(tmp_path: Path, tiny_model: Path) -> Iterator[ThreadedServer]:
    home = tmp_path / "training_server"
    home.mkdir()
    (home / "models.toml").write_text(f'tiny = "{tiny_model}"\n')
    with ThreadedServer(Settings(home=home, jobs_at_once=1)) as server:
        yield server


PRICES = """
name = "mine"
as_of = 2026-11-24
sources = ["the owner of this machine"]
[[dpo_usd_per_million_tokens]]
usd = 1000.0
[accelerator_usd_per_hour]
"*" = 36.0
[throughput]
job_overhead_s = 1
training_tokens_per_s = 1000
deployment_start_s = 1
generation_tokens_per_s = 1000
evaluator_rows_per_s = 100
jobs_at_once = 1
"""


@pytest.fixture
def price_book(tmp_path: Path) -> str:
    """The local platform at a price: 0.001 USD a training token, 36 USD for a replica's hour."""
    (tmp_path / "prices.toml").write_text(PRICES)
    return str(tmp_path / "prices.toml")
