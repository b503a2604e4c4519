"""The generation child's loop: take what has come, step, answer."""

from __future__ import annotations

import logging
import sys
from queue import Empty, SimpleQueue
from typing import Any

from local_server.generation.engine import Engine
from local_server.generation.models import Models
from local_server.training.environment import Events, die_with_parent, read_lines, take_stdout

GATHER_S = 0.03  # when idle, requests that come within this of each other start together
MOST_GATHERED = 256


def serve(lines: SimpleQueue[dict[str, Any]], engine: Engine) -> None:
    """For ever; read_lines ends the process."""
    while True:
        if engine.idle:
            engine.take(lines.get())
            for _ in range(MOST_GATHERED):
                try:
                    engine.take(lines.get(timeout=GATHER_S))
                except Empty:
                    break
        while not lines.empty():
            engine.take(lines.get())
        engine.step()


def main() -> None:
    die_with_parent()
    events = Events(take_stdout())
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s %(message)s")
    serve(read_lines(sys.stdin), Engine(Models(), events.send))
