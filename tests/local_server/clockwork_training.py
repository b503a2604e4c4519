"""A training child whose jobs take as long as a clock says that only the test moves: CLOCK is its folder.

CLOCK/now has the time, CLOCK/lengths.json how long each trial takes, CLOCK/begun-<trial> when it began: a job that is
taken up again has not begun anew.
"""

import json
import sys
import time
from pathlib import Path

CLOCK = Path(sys.argv[1])
LENGTHS = json.loads((CLOCK / "lengths.json").read_text())


def say(**event):
    print(json.dumps(event), flush=True)


def train(job):
    trial, folder = job["job"].rsplit("-", 1)[-1], Path(job["folder"])
    mark = CLOCK / f"begun-{trial}"
    if not mark.exists():
        mark.write_text((CLOCK / "now").read_text())
    say(event="running", job=job["job"])
    end = int(mark.read_text()) + LENGTHS[trial]
    while int((CLOCK / "now").read_text()) < end:
        time.sleep(0.05)
    line = {"type": "metrics", "step": LENGTHS[trial], "total_steps": LENGTHS[trial]}
    (folder / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    (folder / "adapter").mkdir(exist_ok=True)
    (folder / "adapter" / "adapter_config.json").write_text("{}")
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(b"\0" * 8)
    say(event="done", job=job["job"], billable_tokens=1000)


for line in sys.stdin:
    train(json.loads(line))
