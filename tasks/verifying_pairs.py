"""The pairs' part of a session, held to each pair's origin and to the journal: counts, lengths, usage, verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from hashlib import sha256
from typing import Any

from blocks.journal import Journal, answer_key
from blocks.workspace import Workspace
from preference.pair_judging import JudgedPairs, PairVerdict
from preference.pairs import Length, PairModelUse, PairsMade
from preference.plan import Plan
from tasks.evaluation import JOURNAL
from tasks.pair_models import STRONG, WEAK
from tasks.pairs import MADE, PAIRS, PROVENANCE, sampling_parameters

_NOTHING = sha256(b"").hexdigest()


def pair_differences(workspace: Workspace) -> list[str]:
    """Where pairs.json is not what the origins come to, or a pair is not what was bought; none without pairs."""
    made, plan = workspace.read(MADE, PairsMade), workspace.read("plan.json", Plan)
    if made is None or plan is None or plan.pairs is None:
        return []
    origins = workspace.lines(PROVENANCE)
    again = made.model_copy(
        update={
            "n_prompts": len(origins),
            "n_valid": sum(origin["kept"] for origin in origins),
            "drops": dict(Counter(origin["reason"] for origin in origins if not origin["kept"]).most_common()),
            "before": Length.of([_tokens(o) for o in origins if _has_text(o[STRONG]) and _has_text(o[WEAK])]),
            "after": Length.of([_tokens(o) for o in origins if o["kept"]]),
            "strong": _use(plan.pairs.strong.name, [o[STRONG] for o in origins]),
            "weak": _use(plan.pairs.weak.name, [o[WEAK] for o in origins]),
            "judged": _judged(made, origins),
        }
    )
    fields = ("n_prompts", "n_valid", "drops", "before", "after", "strong", "weak", "judged")
    found = [
        f"{MADE}: {field} is {getattr(made, field)!r}; by {PROVENANCE} it is {getattr(again, field)!r}"
        for field in fields
        if getattr(made, field) != getattr(again, field)
    ]
    return found + _texts(workspace, plan, [origin for origin in origins if origin["kept"]])


def _has_text(side: dict[str, Any]) -> bool:
    return bool(side.get("text_sha256", _NOTHING) != _NOTHING)


def _tokens(origin: dict[str, Any]) -> tuple[int, int]:
    return origin[STRONG]["n_tokens"], origin[WEAK]["n_tokens"]


def _use(model: str, sides: Sequence[dict[str, Any]]) -> PairModelUse:
    answered = [side for side in sides if "text_sha256" in side]
    return PairModelUse(
        model=model,
        n_answers=len(answered),
        prompt_tokens=sum(side["prompt_tokens"] for side in answered),
        completion_tokens=sum(side["completion_tokens"] for side in answered),
    )


def _judged(made: PairsMade, origins: Sequence[dict[str, Any]]) -> JudgedPairs | None:
    if made.judged is None:
        return None
    return JudgedPairs.of(made.judged.judge, [PairVerdict.model_validate(o["judge"]) for o in origins if "judge" in o])


def _texts(workspace: Workspace, plan: Plan, kept: Sequence[dict[str, Any]]) -> list[str]:
    """Answers in the pairs that are not the ones in the journal, or not those of the origins."""
    assert plan.pairs is not None
    rows, parameters, found = workspace.lines(PAIRS), sampling_parameters(plan.pairs.settings), []
    if len(rows) != len(kept):
        return [f"{PAIRS} has {len(rows)} pairs, and {PROVENANCE} keeps {len(kept)}"]
    models = (
        (STRONG, plan.pairs.strong.name, "preferred_output"),
        (WEAK, plan.pairs.weak.name, "non_preferred_output"),
    )
    with closing(Journal(workspace.folder / JOURNAL)) as journal:
        for row, origin in zip(rows, kept, strict=True):
            tools = {"tools": row["input"]["tools"]} if row["input"].get("tools") else {}
            for role, model, side in models:
                text = row[side][0]["content"]
                bought = journal.find(answer_key(model, row["input"]["messages"], {**parameters, **tools}))
                if bought is None or bought.text != text:
                    found.append(f"{PAIRS}: the {role} answer to line {origin['line']} is not the one in {JOURNAL}")
                if sha256(text.encode()).hexdigest() != origin[role]["text_sha256"]:
                    found.append(f"{PROVENANCE}: the {role} answer to line {origin['line']} has another hash")
    return found
