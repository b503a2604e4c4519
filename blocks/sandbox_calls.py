"""How an evaluator's function is found, called and understood. Runs inside the sandbox, beside sandbox_harness.

It imports nothing of ours, since the evaluator's Python has none of our packages. What counts as a score is for
the parent to say: here a number is a number, NaN too.

Forms, as of eval-protocol 0.3 and reward-kit 0.4: `@evaluation_test` on functions of `row` or `rows` (its raw
function is called, never its pytest flow, which would generate and upload); `@reward_function` on functions of
`messages` or, in batches, `rollouts_messages`; plain functions of any of these; `evaluate(entry)` of old snippets.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

POINTWISE, GROUPWISE, ALL = "pointwise", "groupwise", "all"
MAX_TEXT, MAX_METRICS = 4000, 64
Json = dict[str, Any]
_LIBRARIES = ("eval_protocol", "reward_kit")


class Row(dict[str, Any]):
    """A row or message whose fields are keys and attributes: evaluators are written for either."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"there is no field {name!r}, only {', '.join(self)}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


class Entry:
    """One function of the evaluator, and how it wants to be called."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name = name
        decorated = getattr(function, "_metainfo", None)
        self.extra = _test_kwargs(getattr(function, "__ep_params__", None))
        self.function = getattr(function, "_origin_func", function)
        if inspect.iscoroutinefunction(self.function):
            import asyncio  # noqa: F401  # here, once for all forks; the others do without its hundred modules
        self.parameters = _parameters(self.function)
        self.takes_all_fields = any(p.kind is p.VAR_KEYWORD for p in self.parameters.values())
        self.takes = next((n for n in ("rows", "row", "rollouts_messages") if n in self.parameters), "messages")
        self.mode = ALL if self.takes in ("rows", "rollouts_messages") else POINTWISE
        if decorated and self.takes == "rows":
            self.mode = decorated.get("mode", ALL)

    def outcomes(self, rows: list[Json]) -> list[Json]:
        """One outcome a row, in their order."""
        if self.takes == "rows":
            given = [_evaluation_row(row) for row in rows]
            return _in_order(given, _finish(self.function(rows=list(given), **self.extra)))
        if self.takes == "rollouts_messages":
            given = [_messages(row) for row in rows]
            columns = self._fields({key: [row.get(key) for row in rows] for row in rows for key in row})
            return _in_order(given, _finish(self.function(**{**columns, "rollouts_messages": given})))
        return [outcome_of(_finish(self._call(row))) for row in rows]

    def _call(self, row: Json) -> Any:
        if self.takes == "row":
            return self.function(row=_evaluation_row(row), **self.extra)
        if "messages" not in self.parameters and "entry" in self.parameters:
            return self.function(entry=_plain_row(row))
        fields = {"original_messages": _messages(row), "ground_truth": None, **row, "messages": _messages(row)}
        arguments = self._fields(fields)
        required = (p for p in self.parameters.values() if p.default is p.empty)
        named = [p.name for p in required if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        if missing := [name for name in named if name not in arguments]:
            raise TypeError(f"it needs {', '.join(missing)}, and a row has only {', '.join(row)}")
        return self.function(**arguments)

    def _fields(self, fields: Json) -> Json:
        return {key: fields[key] for key in fields if self.takes_all_fields or key in self.parameters}


def load_all(entries: Sequence[dict[str, str]]) -> list[Entry]:
    """All entries. What one criterion imports from its own folder is not what the next one gets by that name."""
    loaded = []
    for entry in entries:
        loaded.append(load(**entry))
        folder = os.path.dirname(entry["file"]) + os.sep
        for name, module in list(sys.modules.items()) if len(entries) > 1 else ():
            if (getattr(module, "__file__", None) or "").startswith(folder):
                del sys.modules[name]
    return loaded


def load(name: str, file: str, function: str) -> Entry:
    """Import the file as pytest does, from the topmost folder that is not a package, and find its function."""
    folder, base = os.path.split(file)
    parts = [] if base == "__init__.py" else [os.path.splitext(base)[0]]
    while os.path.exists(os.path.join(folder, "__init__.py")):
        folder, package = os.path.split(folder)
        parts.insert(0, package)
    sys.path.insert(0, folder)
    dotted = ".".join(parts)
    if len(parts) > 1:
        found: Any = importlib.import_module(dotted)
    else:
        if dotted in sys.modules:  # criteria are all called main.py
            dotted += "_" + hashlib.sha256(file.encode()).hexdigest()[:8]
        spec = importlib.util.spec_from_file_location(dotted, file)
        assert spec is not None
        assert spec.loader is not None
        found = sys.modules[dotted] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found)
    for part in function.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise AttributeError(f"{base} has no function {function}")
    return Entry(name, found)


def outcomes_of(entries: Sequence[Entry], rows: list[Json]) -> list[Json]:
    """One outcome a row, over all entries."""
    each = [entry.outcomes(rows) for entry in entries]
    return [_combined(entries, outcomes) for outcomes in zip(*each, strict=True)]


def outcome_of(returned: Any) -> Json:
    """{"score", "reason", "metrics"}, or {"error"}, from whatever an evaluator returns."""
    if hasattr(returned, "evaluation_result") or (isinstance(returned, dict) and "messages" in returned):
        returned = _field(returned, "evaluation_result")
        if returned is None:
            return {"error": "the evaluator returned the row without an evaluation_result"}
    if returned is None:
        return {"error": "the evaluator returned nothing"}
    if not isinstance(returned, dict) and not hasattr(returned, "score"):
        return _scored(returned, None, {})
    reason = _field(returned, "reason")
    if error := _field(returned, "error"):
        return {"error": _cut(f"the evaluator reported an error: {error}")}
    if _field(returned, "is_score_valid") is False:
        return {"error": _cut(f"the evaluator marked its score as invalid: {reason or 'no reason given'}")}
    if isinstance(returned, dict) and "score" not in returned:
        return {"error": _cut(f"the evaluator returned a dict without a score, only {', '.join(map(str, returned))}")}
    return _scored(_field(returned, "score"), reason, _field(returned, "metrics"))


def _test_kwargs(params: Any) -> Json:
    """evaluation_test_kwargs of @evaluation_test: its first set, as one call takes one."""
    given = params.get("evaluation_test_kwargs") if isinstance(params, dict) else None
    given = given or getattr(params, "evaluation_test_kwargs", None)
    first = given[0] if isinstance(given, (list, tuple)) and given else given
    return dict(first) if isinstance(first, dict) else {}


def _parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return {}


def _finish(returned: Any) -> Any:
    """What an async function returns in the end; other values as they are."""
    if not inspect.isawaitable(returned):
        return returned
    import asyncio

    async def wait() -> Any:
        return await returned

    return asyncio.run(wait())


def _messages(row: Json) -> list[Row]:
    return [Row(message) for message in row.get("messages") or []]


def _plain_row(row: Json) -> Row:
    fields = {"ground_truth": None, "input_metadata": {}, **row, "messages": _messages(row)}
    return Row({**fields, "input_metadata": Row(fields["input_metadata"] or {})})


def _evaluation_row(row: Json) -> Any:
    """The library's own EvaluationRow where the evaluator has imported it, else a Row."""
    for library in _LIBRARIES:
        models: Any = sys.modules.get(f"{library}.models")
        if hasattr(models, "EvaluationRow"):
            return models.EvaluationRow(**row)
    return _plain_row(row)


def _in_order(given: Sequence[Any], returned: Any) -> list[Json]:
    """Outcomes in the order of what was given, even where the evaluator sorted its list."""
    n = len(given)
    if not isinstance(returned, (list, tuple)):
        raise TypeError(f"{n} rows went in, and {_described(returned)} came back instead of a list")
    if len(returned) != n:
        raise ValueError(f"{n} rows went in, and {len(returned)} came back")
    places = {id(row): place for place, row in enumerate(given)}
    if {id(item) for item in returned} == places.keys():
        returned = sorted(returned, key=lambda item: places[id(item)])
    return [outcome_of(item) for item in returned]


def _combined(entries: Sequence[Entry], outcomes: Iterable[Json]) -> Json:
    """Several criteria make one outcome: the mean of their scores, each kept as a metric; one's error is the row's."""
    named = {entry.name: outcome for entry, outcome in zip(entries, outcomes, strict=True)}
    if len(named) == 1:
        return named.popitem()[1]
    for name, outcome in named.items():
        if "error" in outcome:
            return {"error": _cut(f"{name}: {outcome['error']}")}
    scores = {name: outcome["score"] for name, outcome in named.items()}
    reasons = [f"{name}: {outcome['reason']}" for name, outcome in named.items() if outcome["reason"]]
    mean = sum(scores.values()) / len(scores)
    return {"score": mean, "reason": _cut("; ".join(reasons)) or None, "metrics": scores}


def _scored(score: Any, reason: Any, metrics: Any) -> Json:
    number = _number(score)
    if number is None:
        return {"error": _cut(f"the evaluator returned {_described(score)} as a score")}
    parts = {}
    for name, metric in list(metrics.items())[:MAX_METRICS] if isinstance(metrics, dict) else ():
        value = _field(metric, "score") if isinstance(metric, dict) or hasattr(metric, "score") else metric
        if (part := _number(value)) is not None:
            parts[str(name)[:200]] = part
    return {"score": number, "reason": None if reason is None else _cut(str(reason)), "metrics": parts}


def _number(value: Any) -> float | None:
    """value as a float, NaN and infinity too; None for what is no number, as a text is none."""
    if isinstance(value, (str, bytes, bytearray)) or not hasattr(type(value), "__float__"):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return None


def _field(thing: Any, name: str) -> Any:
    return thing.get(name) if isinstance(thing, dict) else getattr(thing, name, None)


def _described(value: Any) -> str:
    return f"{type(value).__name__} {repr(value)[:80]}"


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 20] + " ... [cut]"
