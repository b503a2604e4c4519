"""How fast and in how much memory preference data is taken in, beside the limit and beside others doing less.

python -m benchmarks.intake [--rows 100000] [--memory-rows 3000000] [--tokenizer FOLDER]

The limit is a bare loop: every line parsed by orjson, and one XXH3 of its prompt; nothing checked, nothing written.
Ours checks every row, writes the canonical file with its index, drops exact duplicates, splits by prompt and writes
both sides, none of which is there before, as in a new session. To reach: at least the bare loop's speed; under 1 GB
for three million rows, grouping their near-duplicates included; tokenising at 0.85 of the speed that `tokenizers` has
on the same texts. All of a run is measured in turn on the same machine, best of 3.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from xxhash import xxh3_128_digest

from preference.formats import stage
from preference.near import find_groups
from preference.splits import split
from preference.tokens import BATCH_ROWS, ExactCounter, count_file, read_batches

Json = dict[str, Any]
REPEATS = 3


def make_rows(path: Path, n: int, n_words: int = 300) -> None:
    """n preference rows of about n_words words; fixed seed.

    One in 100 is an exact copy, one in 50 has nearly the prompt of another; one in 10 has line breaks, one in 20
    letters beyond ASCII.
    """
    draw = random.Random(7)
    letters = "etaoinshrdlcumwfgypbvk"
    words = ["".join(draw.choices(letters, k=draw.randint(2, 9))) for _ in range(20_000)]
    foreign = ["naïve", "über", "señor", "日本語", "Привет", "λόγος"]
    sentences = [" ".join(draw.choices(words, k=10)).capitalize() + "." for _ in range(50_000)]

    def text(size: int) -> str:
        by = "\n" if draw.random() < 0.1 else " "
        said = by.join(draw.choices(sentences, k=max(1, size // 10)))
        return f"{said} {draw.choice(foreign)}" if draw.random() < 0.05 else said

    recent: list[tuple[str, bytes]] = []
    with path.open("wb", buffering=1 << 20) as file:
        for _ in range(n):
            kind = draw.random()
            if kind < 0.01 and recent:
                file.write(draw.choice(recent)[1])
                continue
            prompt = f"{draw.choice(recent)[0]}?" if kind < 0.03 and recent else text(n_words // 5)
            row = {
                "input": {"messages": [{"role": "user", "content": prompt}]},
                "preferred_output": [{"role": "assistant", "content": text(n_words * 2 // 5)}],
                "non_preferred_output": [{"role": "assistant", "content": text(n_words * 2 // 5)}],
            }
            line = orjson.dumps(row) + b"\n"
            file.write(line)
            recent = [*recent[-50:], (prompt, line)]


def bare_loop(path: Path, digest: Callable[[bytes], object] = xxh3_128_digest) -> None:
    with path.open("rb") as file:
        for line in file:
            row = orjson.loads(line)
            digest(row["input"]["messages"][0]["content"].encode())


def writing_loop(path: Path, folder: Path) -> None:
    """The bare loop, and each line written to two files, as ours are: to the checked copy, and to its side."""
    one, two = ((folder / f"{name}.jsonl").open("wb", buffering=1 << 17) for name in ("one", "two"))
    with path.open("rb") as file, one, two:
        for line in file:
            row = orjson.loads(line)
            xxh3_128_digest(row["input"]["messages"][0]["content"].encode())
            one.write(line)
            two.write(line)


def ours(path: Path, folder: Path) -> None:
    stage(path, folder / "data.jsonl")
    split(
        folder / "data.jsonl",
        train=folder / "train.jsonl",
        held_out=folder / "held_out.jsonl",
        near_duplicates=False,
    )


def with_pandas(path: Path, folder: Path) -> None:
    """Read, drop exact duplicates, split at random, write; no row is checked."""
    import pandas as pd

    rows = pd.read_json(path, lines=True)
    key = rows["input"].map(str) + rows["preferred_output"].map(str) + rows["non_preferred_output"].map(str)
    rows = rows[~key.duplicated()]
    train = rows.sample(frac=0.8, random_state=0)
    train.to_json(folder / "pandas-train.jsonl", orient="records", lines=True)
    rows.drop(train.index).to_json(folder / "pandas-held.jsonl", orient="records", lines=True)


def with_datasets(path: Path, folder: Path) -> None:
    """Read, split at random, write; duplicates stay, no row is checked."""
    import datasets

    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        rows = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=cache)
        sides = rows.train_test_split(0.2, seed=0)
        sides["train"].to_json(folder / "datasets-train.jsonl")
        sides["test"].to_json(folder / "datasets-held.jsonl")


class Taken(NamedTuple):
    """Seconds on the clock, and of all processors together: these tell more where others use the machine, too."""

    clock: float
    cpu: float


def best_of(run: Callable[[], object], repeats: int = REPEATS, before: Callable[[], object] = lambda: None) -> Taken:
    def now() -> Taken:
        used = os.times()
        return Taken(time.perf_counter(), used.user + used.system + used.children_user + used.children_system)

    taken = []
    for _ in range(repeats):
        before()
        start = now()
        run()
        end = now()
        taken.append(Taken(end.clock - start.clock, end.cpu - start.cpu))
    return Taken(min(each.clock for each in taken), min(each.cpu for each in taken))


def forget(folder: Path, *patterns: str) -> None:
    for pattern in patterns:
        for file in folder.glob(pattern):
            file.unlink()


def near_duplicates(folder: Path) -> None:
    forget(folder, "*.near.npz")
    find_groups(folder / "data.jsonl")


def tokenising(folder: Path, tokenizer: Path, n_rows: int) -> tuple[Taken, Taken]:
    """Seconds that the library takes for the texts, and that we take for the rows: parsing, rendering, counting."""
    part = folder / "part.jsonl"
    with (folder / "data.jsonl").open("rb") as file:
        part.write_bytes(b"".join(file.readline() for _ in range(n_rows)))
    counter = ExactCounter(tokenizer)
    batches = [counter.texts_of(batch) for batch in read_batches(part, BATCH_ROWS)]
    library = best_of(lambda: [counter.count_texts(texts) for texts in batches])
    return library, best_of(lambda: count_file(part, counter))


def peak_memory(n_rows: int, folder: Path) -> Json:
    """Of a process of its own that takes in n_rows shorter rows, then groups near-duplicates: MB of it at the peak of
    both, and of the largest process that it started."""
    source = folder / "many.jsonl"
    make_rows(source, n_rows, n_words=40)
    code = (
        "import sys; from pathlib import Path; from benchmarks import intake\n"
        "intake.measure_memory(*map(Path, sys.argv[1:]))"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code, source, folder], check=True, capture_output=True, cwd=root)
    return {"file_mb": round(source.stat().st_size / 1e6), **json.loads(done.stdout)}


def measure_memory(source: Path, folder: Path) -> None:
    """In the child: prints what was seen."""

    start = time.perf_counter()
    ours(source, folder)
    seen = {"seconds": round(time.perf_counter() - start, 1), "mb": own_peak_mb()}
    start = time.perf_counter()
    find_groups(folder / "data.jsonl")
    near = {"near_seconds": round(time.perf_counter() - start, 1), "near_mb": own_peak_mb()}
    children = round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
    print(json.dumps({**seen, **near, "largest_child_mb": children}))


def own_peak_mb() -> int:
    """Of this program alone: Linux's ru_maxrss keeps what the process that started it had held (pandas, for one)."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return round(int(lines["VmHWM"].split()[0]) / 1024)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1 << 20))


def report(what: str, taken: Taken, n_rows: int, n_bytes: int, limit: Taken) -> None:
    print(
        f"{what:<48} {taken.clock:7.2f} s {n_rows / taken.clock:10,.0f} rows/s {n_bytes / taken.clock / 1e6:6.0f} MB/s"
        f" {limit.clock / taken.clock:6.2f} × {taken.cpu:7.2f} CPU s",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--memory-rows", type=int, default=3_000_000, help="0: leave it out")
    parser.add_argument("--tokenizer", type=Path, help="a folder with tokenizer.json and a chat template")
    parser.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder, source = Path(scratch), Path(scratch) / "source.jsonl"
        make_rows(source, options.rows)
        size = source.stat().st_size
        print(
            f"{options.rows:,} rows, {size / 1e6:,.0f} MB; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} "
            "(where others use them, too, go by the CPU seconds); × by the clock, bare loop = 1"
        )
        limit = best_of(lambda: bare_loop(source))
        report("bare loop: orjson and one XXH3", limit, options.rows, size, limit)
        for what, run, repeats in (
            ("the same with BLAKE2b", lambda: bare_loop(source, blake2b), REPEATS),
            ("the same, each line written to two files", lambda: writing_loop(source, folder), REPEATS),
            ("ours: check, hash, de-duplicate, split, write", lambda: ours(source, folder), REPEATS),
            ("ours: near-duplicate groups", lambda: near_duplicates(folder), 1),
            ("pandas: read, drop duplicates, split, write", lambda: with_pandas(source, folder), 1),
            ("datasets: read, split, write", lambda: with_datasets(source, folder), 1),
        ):
            if options.peers or not what.startswith(("pandas", "datasets")):
                written = ("data.jsonl*", "train.jsonl*", "held_out.jsonl*") if what.startswith("ours: check") else ()
                taken = best_of(run, repeats, before=partial(forget, folder, *written))
                report(what, taken, options.rows, size, limit)
        if options.tokenizer:
            n = min(options.rows, 5000)
            library, taken = tokenising(folder, options.tokenizer, n)
            print(
                f"tokenising {n:,} rows: {library.clock:.2f} s by the library, {taken.clock:.2f} s by us: "
                f"{library.clock / taken.clock:.2f} × ({library.cpu:.2f} and {taken.cpu:.2f} CPU s: "
                f"{library.cpu / taken.cpu:.2f} ×)"
            )
    if options.memory_rows:
        with tempfile.TemporaryDirectory() as scratch:
            print(f"{options.memory_rows:,} rows: {peak_memory(options.memory_rows, Path(scratch))}")


if __name__ == "__main__":
    main()
