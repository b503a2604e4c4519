"""Runs the program in the completion against the row's cases, each in a process of its own with a timeout."""

import json
import re
import subprocess
import sys

FENCE = re.compile(r"```(?:python)?\n(.*?)```", re.DOTALL)


def check(program: str, case: dict) -> bool:
    code = f"{program}\nimport json\nprint(json.dumps({case['call']}))"
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=5)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0 and json.loads(done.stdout or "null") == case["expected"]


async def evaluate(messages, ground_truth, **kwargs):
    found = FENCE.findall(messages[-1].content)
    if not found:
        return {"score": 0.0, "reason": "no program", "is_score_valid": True}
    passed = [check(found[-1], case) for case in ground_truth]
    return {"score": sum(passed) / len(passed), "reason": f"{sum(passed)} of {len(passed)} cases"}
