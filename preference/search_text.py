"""What a plan and a report say of a search."""

from __future__ import annotations

from collections.abc import Sequence

from preference import wire
from preference.search import Draws, Search, Space


def search_text(search: Search) -> list[str]:
    """What is drawn from where, and what that saves, for the plan's page and the report; markdown."""
    columns = [_searched(space) for space in search.spaces]
    several = len(columns) > 1
    names = [wire.resource_id(space.base_model) for space in search.spaces] if several else ["searched"]
    turns = "The base models take turns, each with a search of its own. " if several else ""
    return [
        f"Search by TPE (Optuna): {search.n_trials} trials in {search.n_batches} batches of at most "
        f"{search.batch_size}. {turns}The first batch is drawn at random; each later one when all before it were "
        "measured, from what they came to on the prompts that choose. The seed comes from this search, so the same "
        "request with the same scores draws the same trials. Priced as if each had the most epochs.",
        "",
        _saving(search),
        "",
        f"| setting | {' | '.join(names)} |",
        "| --- |" + " --- |" * len(names),
        *(f"| {what} | {' | '.join(column[what] for column in columns)} |" for what in columns[0]),
    ]


def _saving(search: Search) -> str:
    """In trainings bought, which is all that is known beforehand."""
    n, n_grid = search.n_trials, search.n_grid
    if n < n_grid:
        bought = f"{n} trainings instead of the {n_grid} of a grid over the same settings ({1 - n / n_grid:.0%} fewer)"
    else:
        more = f", and {n - n_grid} more are bought to look between its values" if n > n_grid else ""
        bought = f"a grid over the same settings has {n_grid} trainings: none are saved{more}"
    return f"Saving: {bought}. Whether it finds as good a candidate as the grid would is not known beforehand."


def _searched(space: Space) -> dict[str, str]:
    rows = {"learning rate": _interval(space.learning_rate), "method": " or ".join(space.methods)}
    rows |= {"beta": _interval(space.beta)} if space.beta else {}
    rows |= {"lambda": _interval(space.orpo_lambda)} if space.orpo_lambda else {}
    return rows | {"LoRA rank": _one_of(space.lora_ranks), "epochs": _one_of(space.epochs)}


def draws_text(draws: Draws) -> str:
    """Which trials were drawn from what, for the report."""
    told = []
    for batch in draws.batches:
        names = ", ".join(trial.name for trial in batch.trials)
        good = {name: value for name, value in batch.known.items() if value is not None}
        best = max(good, key=lambda name: good[name], default="")
        seen = f"from {len(batch.known)} before" + (f", of which {best} was best ({good[best]:.2f})" if best else "")
        told.append(f"{names} {seen if batch.known else 'at random'}")
    return f"Drawn by TPE: {'; '.join(told)}. What each batch was drawn from is in `search.json`."


def _interval(ends: tuple[float, float]) -> str:
    return f"{ends[0]:g} to {ends[1]:g}, by its logarithm" if ends[0] < ends[1] else f"{ends[0]:g}"


def _one_of(values: Sequence[int]) -> str:
    return " or ".join(str(value) for value in values)
