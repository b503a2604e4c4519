"""The items that are settings of a sweep: numbers that trials are made of, methods, the strategy, jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from preference.instruction_said import Found, Rule, Said

HOW_MANY_JOBS = "in all?"
LORA_RANKS = (1, 2, 4, 8, 16, 32)


def _values(field: str, what: str, *, whole: bool, check: Callable[[float], str] | None = None) -> Rule:
    def read(said: Said) -> Iterator[Found]:
        if said.item.rule == "rank" and (commas := said.of("COMMANUM")) and not said.under("range"):
            values = [float(x) for a in commas for x in a.text.split(",")] + said.numbers()  # a rank has no decimals
        elif doubt := said.doubt(what):
            yield Found(field=field, question=doubt)
            return
        else:
            values = said.numbers()
        if [a.kind for a in said.atoms[:3]][::2] == ["INT", "EQ"] and len(values) > 1:  # three learning rates: ...
            n, *values = values
            if n != len(values):
                yield Found(field=field, question=f"{n:g} {what} were announced, and {len(values)} given. Which ones?")
                return
        if said.item.rule == "rank" and len(values) == 1 and _counts_labels(said):
            yield Found(field=field, question=f"Is rank {values[0]:g} meant, or so many ranks? Which {what}?")
            return
        bounds = [a for a in said.of("ATLEAST") if a.text.casefold() != "over" or len(values) == 1]  # "sweep beta over"
        if bounds and not said.has("NOT", "NEVER"):
            yield Found(field=field, question=f"That is a bound, and a sweep needs its values: which {what}?")
            return
        for x in values:
            if whole and x != int(x):
                yield Found(field=field, question=f"{x:g} is no whole number. Which {what} is meant?")
                return
            if check and (fault := check(x)):
                yield Found(field=field, question=fault)
                return
        yield Found(field=field, value=list(dict.fromkeys(int(x) if whole else x for x in values)), union=True)

    return read


def _counts_labels(said: Said) -> bool:
    """ "16 ranks": a value, or how many there are to be."""
    return [a.kind for a in said.atoms] == ["INT", "RANK"] and said.atoms[1].text.casefold().endswith("s")


def _one(field: str, what: str, *, whole: bool = True) -> Rule:
    many = _values(field, what, whole=whole)

    def read(said: Said) -> Iterator[Found]:
        for found in many(said):
            if found.question:
                yield found
            elif len(found.value) != 1:
                values = " and ".join(f"{x:g}" for x in found.value)
                yield Found(field=field, question=f"Only one {what} can be given, and there are {values}. Which one?")
            else:
                yield Found(field=field, value=found.value[0])

    return read


def _rate(x: float) -> str:
    return "" if 0 < x <= 0.01 else f"A learning rate of {x:g} cannot be meant for LoRA. Which one is?"


def _rank(x: float) -> str:
    return "" if x in LORA_RANKS else f"LoRA rank {x:g} is not offered: 1, 2, 4, 8, 16 and 32 are. Which one?"


def _beta(x: float) -> str:
    return "" if 0 < x < 0.5 else f"Beta {x:g} is not offered: it must be above 0 and below 0.5. Which one?"


def _above_0(what: str) -> Callable[[float], str]:
    return lambda x: "" if x > 0 else f"{what} must be above 0. Which one is meant?"


def _method(said: Said) -> Iterator[Found]:
    named = [a.kind for a in said.of("DPO", "ORPO")]
    if said.has("INSTEADOF"):
        named = [a.kind for a in said.atoms[: said.atoms.index(said.of("INSTEADOF")[0])] if a.kind in ("DPO", "ORPO")]
    question = "DPO, ORPO, or both side by side?" if said.has("OR") and len(set(named)) > 1 else ""
    yield Found(field="methods", value=list(dict.fromkeys(named)), question=question, union=True)


def _both_methods(said: Said) -> Iterator[Found]:
    yield Found(field="methods", value=["DPO", "ORPO"])


def _method_unclear(said: Said) -> Iterator[Found]:
    yield Found(field="methods", question="DPO, ORPO, or both side by side?")


def _no_method(said: Said) -> Iterator[Found]:
    left = [m for m in ("DPO", "ORPO") if m not in {a.kind for a in said.of("DPO", "ORPO")}]
    if left:
        yield Found(field="methods", value=left, bare=True, note=f"so {left[0]} is left")
    else:
        yield Found(field="methods", question="Neither DPO nor ORPO: those two are what is offered. Which one?")


def _strength(field: str, what: str, method: str) -> Rule:
    plain = _values(field, what, whole=False, check=_beta if method == "DPO" else _above_0(what))

    def read(said: Said) -> Iterator[Found]:
        yield from plain(said)
        if said.item.rule.endswith("_for"):
            yield Found(field="methods", value=[method], implied=True)

    return read


def _strategy(said: Said) -> Iterator[Found]:
    names = {"HALVING": "halving", "TPE": "tpe", "FULLGRID": "grid"}
    yield Found(field="strategy", value=next(names[a.kind] for a in said.atoms if a.kind in names))


def _one_by_one(said: Said) -> Iterator[Found]:
    yield Found(field="max_active_jobs", value=1)


def _jobs_unclear(said: Said) -> Iterator[Found]:
    n = said.numbers()
    if not said.has("UPTO") and any(a.harmless for a in said.of("INT")[:1]) and said.beside("ONCE", "REACH", "WINRATE"):
        return  # as soon as one candidate wins
    at_once = f"{n[0]:g} {'job' if n[0] == 1 else 'jobs'} at once"
    yield Found(
        field="max_active_jobs",
        question=f"{at_once}, or {n[0]:g} {HOW_MANY_JOBS} At once can be set; in all there are as many as "
        "there are combinations to sweep.",
    )


RULES: dict[str, Rule] = {
    "lr": _values("sweep.learning_rates", "learning rates", whole=False, check=_rate),
    "bare_lr": _values("sweep.learning_rates", "learning rates", whole=False, check=_rate),
    "epochs": _values("sweep.epochs", "epochs", whole=True, check=_above_0("The number of epochs")),
    "rank": _values("sweep.lora_ranks", "LoRA ranks", whole=True, check=_rank),
    "beta": _strength("sweep.betas", "beta", "DPO"),
    "beta_for": _strength("sweep.betas", "beta", "DPO"),
    "lambda_": _strength("sweep.orpo_lambdas", "lambda", "ORPO"),
    "lambda_for": _strength("sweep.orpo_lambdas", "lambda", "ORPO"),
    "batch": _one("sweep.batch_size", "batch size"),
    "context": _one("sweep.max_context_length", "context length"),
    "max_tokens": _one("sampling.max_tokens", "tokens per answer"),
    "temperature": _one("sampling.temperature", "temperature", whole=False),
    "method": _method,
    "no_method": _no_method,
    "both_methods": _both_methods,
    "method_unclear": _method_unclear,
    "strategy": _strategy,
    "jobs": _one("max_active_jobs", "number of jobs at once"),
    "one_by_one": _one_by_one,
    "jobs_unclear": _jobs_unclear,
}
