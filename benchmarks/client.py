"""How much of the ideal the bulk client reaches, with hundreds of calls in flight against a server of 200 ms.

python -m benchmarks.client                 (a minute and a half)
python -m benchmarks.client --transport     (httpx over aiohttp's transport, too: what we moved away from)

The ideal is calls in flight / 0.2 s. Raw aiohttp, which only reads the answers, stands beside in the same run.
Each figure is the median of three runs, taken in turn; connections are made before the clock starts. Overhead is
a call's time beyond the server's 200 ms. On a machine that is busy otherwise, look at raw aiohttp first.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import NamedTuple

import aiohttp
import numpy as np
import orjson
import pandas as pd

from benchmarks.loopback import LATENCY_S
from blocks.bulk import ChatRequest
from blocks.client import FireworksClient

IN_FLIGHT = (64, 256, 512)
ROUNDS = 10  # calls by each place
RUNS = 3
MESSAGES = [{"role": "user", "content": "tell me something " * 20}]


class Run(NamedTuple):
    per_s: float
    p95_overhead_ms: float
    cpu_us: float  # of this process, a call


Measure = Callable[[str, int, int], Awaitable[Run]]


def _run(latencies_s: list[float], seconds: float, cpu_s: float) -> Run:
    n = len(latencies_s)
    return Run(n / seconds, 1000 * (float(np.quantile(latencies_s, 0.95)) - LATENCY_S), 1e6 * cpu_s / n)


async def ours(url: str, in_flight: int, n: int) -> Run:
    """chat_many, as the flow calls it: typed answers, the adaptive limit, errors sorted."""
    with FireworksClient(url, "key", "local") as client:
        latencies: list[float] = []
        clock = cpu = 0.0
        requests = (
            ChatRequest(str(i), f"m{in_flight}", MESSAGES, {"max_tokens": 60}) for i in range(n + 2 * in_flight)
        )
        async with contextlib.aclosing(client.chat_many(requests, concurrency=in_flight)) as results:
            seen = 0
            async for result in results:
                assert result.completion is not None, result.error
                seen += 1
                if seen == 2 * in_flight:  # connections and slow start are behind us
                    clock, cpu = time.perf_counter(), time.process_time()
                elif seen > 2 * in_flight:
                    latencies.append(result.latency_s)
        return _run(latencies, time.perf_counter() - clock, time.process_time() - cpu)


async def raw_aiohttp(url: str, in_flight: int, n: int) -> Run:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=in_flight)) as session:

        async def ask() -> None:
            body = orjson.dumps({"model": "m", "messages": MESSAGES, "max_tokens": 60})
            async with session.post(f"{url}/inference/v1/chat/completions", data=body) as response:
                orjson.loads(await response.read())

        return await _workers(ask, in_flight, n)


async def httpx_over_aiohttp(url: str, in_flight: int, n: int) -> Run:
    import httpx
    from httpx_aiohttp import HttpxAiohttpClient

    pool = httpx.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
    async with HttpxAiohttpClient(limits=pool, timeout=60) as session:

        async def ask() -> None:
            body = orjson.dumps({"model": "m", "messages": MESSAGES, "max_tokens": 60})
            response = await session.post(f"{url}/inference/v1/chat/completions", content=body)
            orjson.loads(response.content)

        return await _workers(ask, in_flight, n)


async def _workers(ask: Callable[[], Awaitable[None]], in_flight: int, n: int) -> Run:
    latencies: list[float] = []

    async def worker(todo: Iterator[int]) -> None:
        for _ in todo:
            began = time.perf_counter()
            await ask()
            latencies.append(time.perf_counter() - began)

    for calls in (2 * in_flight, n):  # first the connections
        latencies.clear()
        clock, cpu, todo = time.perf_counter(), time.process_time(), iter(range(calls))
        await asyncio.gather(*(worker(todo) for _ in range(in_flight)))
    return _run(latencies, time.perf_counter() - clock, time.process_time() - cpu)


@contextlib.contextmanager
def loopback() -> Iterator[str]:
    with subprocess.Popen([sys.executable, "-m", "benchmarks.loopback"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        server.kill()


def table(url: str, measures: dict[str, Measure]) -> pd.DataFrame:
    rows = []
    for in_flight in IN_FLIGHT:
        ideal = in_flight / LATENCY_S
        runs: dict[str, list[Run]] = {name: [] for name in measures}
        for _ in range(RUNS):
            for name, measure in measures.items():
                runs[name].append(asyncio.run(_awaited(measure, url, in_flight)))
        for name, found in runs.items():
            per_s, overhead_ms, cpu_us = np.median(np.array(found), axis=0)
            rows.append((in_flight, name, per_s, ideal, per_s / ideal, overhead_ms, cpu_us))
    columns = ["in flight", "client", "calls/s", "ideal", "of ideal", "p95 overhead ms", "cpu us/call"]
    return pd.DataFrame(rows, columns=columns)


async def _awaited(measure: Measure, url: str, in_flight: int) -> Run:
    return await measure(url, in_flight, ROUNDS * in_flight)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transport", action="store_true", help="httpx over aiohttp's transport, too")
    measures: dict[str, Measure] = {"raw aiohttp": raw_aiohttp, "ours": ours}
    if parser.parse_args().transport:
        measures["httpx on aiohttp"] = httpx_over_aiohttp
    with loopback() as url:
        found = table(url, measures)
    print(
        found.round({"calls/s": 0, "ideal": 0, "of ideal": 2, "p95 overhead ms": 0, "cpu us/call": 0}).to_string(
            index=False
        )
    )


if __name__ == "__main__":
    main()
