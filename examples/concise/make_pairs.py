"""How train.jsonl and held_out.jsonl were made: from the base model's own answers, without any human or other model.

    python examples/concise/make_pairs.py --base-model FOLDER

The base model answers each prompt; the chosen answer is its first sentence, the rejected one goes on for another.
Whoever prefers the first over the second teaches the model to stop when the question is answered. FOLDER is a
Hugging Face folder such as the local server keeps under weights/. Takes some minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from local_server.training.environment import child_environment  # noqa: E402 (the script runs from a plain clone)

MAX_TOKENS = 56
SYSTEM = {"role": "system", "content": "You are a helpful assistant."}
Row = dict[str, Any]


def prompts(topics: list[str], templates: list[str]) -> list[str]:
    """One prompt a topic, the templates in turn."""
    return [templates[i % len(templates)].format(topic) for i, topic in enumerate(topics)]


def messages(prompt: str) -> list[dict[str, str]]:
    return [SYSTEM, {"role": "user", "content": prompt}]


def answers(base_model: Path, asked: list[str]) -> list[str]:
    """The base model's answer to each prompt at temperature 0.8, seeded, from the engine that also serves it."""
    command = [sys.executable, "-m", "local_server.generation"]
    found: dict[str, str] = {}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=child_environment()
    ) as child:
        assert child.stdin
        assert child.stdout
        for i, prompt in enumerate(asked):
            request = {
                "id": prompt,
                "base_model": str(base_model),
                "messages": messages(prompt),
                "max_tokens": MAX_TOKENS,
                "temperature": 0.8,
                "seed": i,
            }
            child.stdin.write(json.dumps(request) + "\n")
        child.stdin.flush()
        while len(found) < len(asked):
            answer = json.loads(child.stdout.readline())
            found[answer["id"]] = answer["choices"][0]["text"].strip()
    return [found[prompt] for prompt in asked]


def sentences(text: str) -> list[str]:
    """Finished sentences alone; what max_tokens cut off is dropped."""
    return re.findall(r"[^.!?]+[.!?](?=\s|$)", text.replace("\n", " "))


def pair(prompt: str, topic: str, answer: str) -> Row | None:
    """A training row; None where the answer shows no preference: one sentence only, or not about the topic."""
    parts = [" ".join(sentence.split()) for sentence in sentences(answer)]
    if len(parts) < 2 or not 6 <= len(parts[0].split()) <= 30 or len(parts[1].split()) < 4:
        return None
    if topic.split()[-1].lower().rstrip("s")[:6] not in parts[0].lower():
        return None
    return row(prompt, parts[0], " ".join(parts[:2]))


def held_out_pair(prompt: str, topic: str, answer: str) -> Row:
    """A held-out row: every prompt stays, however the base answered; only the prompts are used."""
    first = next(iter(sentences(answer)), answer.split(",")[0]).strip()
    return row(prompt, first, answer if answer != first else f"{first} {first}")


def row(prompt: str, chosen: str, rejected: str) -> Row:
    return {
        "input": {"messages": messages(prompt)},
        "preferred_output": [{"role": "assistant", "content": chosen}],
        "non_preferred_output": [{"role": "assistant", "content": rejected}],
    }


def write(path: Path, rows: list[Row]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    print(f"{path.name}: {len(rows)} pairs")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base-model", type=Path, required=True)
    parser.add_argument("--folder", type=Path, default=HERE, help="where the two files go")
    arguments = parser.parse_args()
    topics = json.loads((HERE / "topics.json").read_text(encoding="utf-8"))
    for name, make in (("train", pair), ("held_out", held_out_pair)):
        asked = prompts(topics[name], topics["templates"])
        answered = answers(arguments.base_model, asked)
        rows = [make(*each) for each in zip(asked, topics[name], answered, strict=True)]
        write(arguments.folder / f"{name}.jsonl", [each for each in rows if each])


if __name__ == "__main__":
    main()
