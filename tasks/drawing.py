"""The report's pictures: which there are, drawn into the session's folder, and put into the artifact's text."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable

from blocks.workspace import Workspace
from preference.figures import lengths_figure, training_curves_figure, win_rates_figure
from preference.plan import Plan
from preference.standings import Comparison, ScoredAnswer
from tasks.training import TrainedTrial

_PICTURE = re.compile(r"\]\((figures/[a-z-]+\.png)\)")


def drawings(workspace: Workspace) -> dict[str, Callable[[], bytes]]:
    """The pictures that the folder's contents allow: name without ending, and what draws it as PNG."""
    found: dict[str, Callable[[], bytes]] = {}
    comparison = workspace.read("comparison.json", Comparison)
    if comparison is not None:
        if any(s.win_rate and s.win_rate.value is not None for s in comparison.candidates):
            found["win-rates"] = lambda: win_rates_figure(comparison)
        if (sides := headline_answers(workspace, comparison)) is not None:
            name = comparison.headline.candidate if comparison.headline else ""
            found["lengths"] = lambda: lengths_figure(*sides, name)
    metrics = {t.trial.name: t.metrics for t in trained_trials(workspace) if t.metrics}
    if metrics:
        found["training"] = lambda: training_curves_figure(metrics)
    return found


def draw(workspace: Workspace) -> None:
    """figures/NAME.png for each of them."""
    for name, picture in drawings(workspace).items():
        workspace.write_bytes(f"figures/{name}.png", picture())


def with_pictures_inside(workspace: Workspace, text: str) -> str:
    """The report for an artifact, which has no files beside it: its pictures as data URIs."""

    def inside(found: re.Match[str]) -> str:
        path = workspace.folder / found[1]
        if not path.is_file():
            return found[0]
        return f"](data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()})"

    return _PICTURE.sub(inside, text)


def trained_trials(workspace: Workspace) -> list[TrainedTrial]:
    """The trials whose jobs have ended, in the plan's order."""
    plan = workspace.read("plan.json", Plan)
    found = [workspace.read(f"trials/{t.name}/result.json", TrainedTrial) for t in (plan.trials if plan else [])]
    return [result for result in found if result is not None]


def headline_answers(
    workspace: Workspace, comparison: Comparison
) -> tuple[list[ScoredAnswer], list[ScoredAnswer]] | None:
    """The base's and the proposed candidate's answers to the headline's prompts; None where there is no headline."""
    if comparison.headline is None:
        return None
    part = "confirmation" if comparison.headline.confirmed else "selection"
    base, tuned = (
        [ScoredAnswer.model_validate(line) for line in workspace.lines(f"verdicts/{part}-{name}.jsonl")]
        for name in (comparison.base.contestant.name, comparison.headline.candidate)
    )
    return (base, tuned) if base and len(base) == len(tuned) else None
