"""A large dataset up and down again, in constant memory: seconds, and the peak of the client's and the server's.

python -m benchmarks.transfer            (2 GB, two minutes, 7 GB of free disk in the temporary folder)
python -m benchmarks.transfer --gb 0.2
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from blocks.client import FireworksClient

LINE = json.dumps(
    {
        "input": {"messages": [{"role": "user", "content": "x" * 2000}]},
        "preferred_output": [{"role": "assistant", "content": "y" * 2000}],
        "non_preferred_output": [{"role": "assistant", "content": "z" * 2000}],
    }
).encode()


def write_rows(path: Path, size: int) -> int:
    """About `size` bytes of rows; how many there are."""
    n = size // (len(LINE) + 1)
    block = (LINE + b"\n") * 100
    with path.open("wb") as file:
        for _ in range(n // 100):
            file.write(block)
    return n // 100 * 100


def peak_mb() -> float:
    """The most memory that this process held at once."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def transfer(url: str, path: Path, n: int) -> dict[str, float]:
    """In a process of its own, so that the peak is the client's alone."""
    before = peak_mb()
    with FireworksClient(url, account="local") as client:
        began = time.perf_counter()
        client.create_dataset("pw-large", example_count=n)
        client.upload_dataset("pw-large", path)
        up = time.perf_counter()
        client.wait_for_dataset("pw-large")
        ready = time.perf_counter()
        parts = client.download_dataset("pw-large", path.parent / "down")
        down = time.perf_counter()
    assert digest([path]) == digest(parts), "what came back is not what went up"
    return {
        "upload_s": up - began,
        "ready_s": ready - up,
        "download_s": down - ready,
        "shards": len(parts),
        "started_with_mb": before,
        "peak_mb": peak_mb(),
    }


def digest(paths: list[Path]) -> str:
    found = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                found.update(chunk)
    return found.hexdigest()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_until_up(url: str) -> None:
    for _ in range(300):
        try:
            httpx.get(f"{url}/health")
            return
        except httpx.TransportError:
            time.sleep(0.1)
    raise SystemExit("the local server did not come up")


def server_peak_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, default=2.0)
    parser.add_argument("--child", nargs=3, metavar=("URL", "FILE", "ROWS"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        url, file, rows = given.child
        print(json.dumps(transfer(url, Path(file), int(rows))))
        return
    with tempfile.TemporaryDirectory(prefix="prefworks-") as scratch:
        folder, port = Path(scratch), free_port()
        path, url = folder / "rows.jsonl", f"http://127.0.0.1:{port}"
        n = write_rows(path, int(given.gb * 1e9))
        home = ["--home", str(folder / "server"), "--port", str(port)]
        server = subprocess.Popen([sys.executable, "-m", "local_server", *home], stderr=subprocess.DEVNULL)
        try:
            wait_until_up(url)
            child = [sys.executable, "-m", "benchmarks.transfer", "--child", url, str(path), str(n)]
            found = json.loads(subprocess.run(child, check=True, capture_output=True, text=True).stdout)
            served_mb = server_peak_mb(server.pid)
        finally:
            server.terminate()
            server.wait()
    print(f"{path.name}: {n} rows, {given.gb:g} GB, in {found['shards']} shards")
    for step in ("upload", "ready", "download"):
        print(f"  {step:9} {found[f'{step}_s']:6.1f} s")
    print(
        f"  client's peak memory {found['peak_mb']:.0f} MB, of which {found['started_with_mb']:.0f} MB before it began"
    )
    print(f"  server's peak memory {served_mb:.0f} MB")


if __name__ == "__main__":
    main()
