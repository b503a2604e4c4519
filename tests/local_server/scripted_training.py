"""A training child that trains nothing: it speaks the protocol and does what its dataset's first prompt says.

Words in that prompt, if it begins with "!":
steps=N, pause=SECONDS a step, fail=MESSAGE, leave, exit=CODE, kill=SIGNAL, noise, hang, hog=MB, nan (its loss is none).
only=T: what is said goes for the trial T, whose job's name ends so; the others take two steps.
"""

import json
import os
import sys
import time
from pathlib import Path


def say(**event):
    print(json.dumps(event), flush=True)


def orders(dataset):
    text = json.loads(Path(dataset).read_text().splitlines()[0])["input"]["messages"][-1]["content"]
    return dict(word.partition("=")[::2] for word in text[1:].split()) if text.startswith("!") else {}


def train(job):
    order, folder = orders(job["dataset"]), Path(job["folder"])
    if "only" in order and not job["job"].endswith(f"-{order['only']}"):
        order = {}
    checkpoint, metrics = folder / "checkpoint.txt", folder / "metrics.jsonl"
    start = int(checkpoint.read_text()) if job["resume"] and checkpoint.exists() else 0
    print(f"pid {os.getpid()} job {job['job']} from step {start}", file=sys.stderr, flush=True)
    say(event="running", job=job["job"])
    if "noise" in order:
        print("a library prints this", flush=True)
    hog = [bytearray(os.urandom(1 << 20)) for _ in range(int(order.get("hog", 0)))]
    if "hang" in order:
        time.sleep(600)
    for step in range(start + 1, int(order.get("steps", 2)) + 1):
        time.sleep(float(order.get("pause", 0)))
        with metrics.open("a") as file:
            loss = {"dpo_loss": float("nan")} if "nan" in order else {}
            line = {"type": "metrics", "step": step, "pid": os.getpid(), "seed": job["seed"], **loss}
            print(json.dumps(line), file=file)
        partial = folder / ".checkpoint.partial"
        partial.write_text(str(step))
        partial.rename(checkpoint)  # whole, whenever the server is killed
    if "fail" in order:
        say(event="failed", job=job["job"], message=order["fail"])
        return os._exit(1) if "leave" in order else None
    if "exit" in order:
        print("ran into a wall", file=sys.stderr, flush=True)
        os._exit(int(order["exit"]))
    if "kill" in order:
        os.kill(os.getpid(), int(order["kill"]))
    del hog
    (folder / "adapter").mkdir(exist_ok=True)
    (folder / "adapter" / "adapter_config.json").write_text("{}")
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(b"\0" * 8)
    return say(event="done", job=job["job"], billable_tokens=1000)


for line in sys.stdin:
    train(json.loads(line))
