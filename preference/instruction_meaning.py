"""What the items of a sentence mean: fields of a request with their values, or a question where that is not clear."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pydantic import BaseModel

from preference.instruction_parse import Item
from preference.instruction_scan import Atom

RANGE = "That is a range"  # questions that only a grid has to ask: see instruction_search.py
HOW_MANY_JOBS = "in all?"
LORA_RANKS = (1, 2, 4, 8, 16, 32)
_NUMBERS = {"INT", "DEC", "SCI", "COMMANUM", "NUMS"}
_SHARES = {"PCT", "FRAC", "COMMAPCT", "INT", "DEC", "SCI", "COMMANUM", "NUMS"}
_DATA = {"DATASET_REF", "FILE", "PATH", "NAME", "QUOTED", "WORD"}
_EVALUATORS = {"EVALUATOR_REF", "CODE", "PATH", "NAME", "QUOTED", "WORD"}


class Found(BaseModel):
    """One field that an item gives; a question instead of a value where the words can be read in two ways."""

    field: str
    value: Any = None
    question: str = ""
    note: str = ""
    union: bool = False  # several mentions side by side add up
    implied: bool = False  # by something else that was said
    bare: bool = False  # nothing but a name or an amount: whatever is said with more words counts instead


def meaning(item: Item, sentence: Sequence[Atom]) -> list[Found]:
    """The fields that an item gives."""
    return list(_RULES[item.rule](_Said(item, sentence)))


class _Said:
    """An item's atoms, by kind."""

    def __init__(self, item: Item, sentence: Sequence[Atom]) -> None:
        self.item = item
        self.atoms = [sentence[n] for n in item.at]
        self._sentence = sentence

    def of(self, *kinds: str) -> list[Atom]:
        return [a for a in self.atoms if a.kind in kinds]

    def has(self, *kinds: str) -> bool:
        return bool(self.of(*kinds))

    def beside(self, *kinds: str) -> bool:
        """Whether its sentence has such words anywhere."""
        return any(a.kind in kinds for a in self._sentence)

    def numbers(self) -> list[float]:
        return [
            float(x)
            for a in self.of(*_NUMBERS)
            if a.kind != "COMMANUM"
            for x in (a.value if a.kind == "NUMS" else [a.value])
        ]

    def under(self, rule: str) -> bool:
        return any(str(tree.data) == rule for tree in self.item.tree.iter_subtrees())

    def doubt(self, what: str) -> str:
        """Why the item's numbers cannot be taken as they stand; empty where they can."""
        if comma := self.of("COMMANUM", "COMMAPCT", "COMMAMONEY"):
            return (
                f"{comma[0].text!r} can be read in two ways: as one number with a decimal comma, or as two. "
                f"Which {what} is meant? Write decimals with a point, and a blank after a comma between numbers."
            )
        if self.under("range"):
            return f"{RANGE}, and a sweep needs its values: which {what} are to be tried?"
        if any(a.note == "k" for a in self.of("INT", "DEC")) and what.startswith(("context", "tokens")):
            return f"Is {self.of('INT', 'DEC')[0].text} to be read in thousands or in 1,024s? Give the exact {what}."
        return ""


def _values(
    field: str, what: str, *, whole: bool, check: Callable[[float], str] | None = None
) -> Callable[[_Said], Iterator[Found]]:
    def read(said: _Said) -> Iterator[Found]:
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


def _counts_labels(said: _Said) -> bool:
    """ "16 ranks": a value, or how many there are to be."""
    return [a.kind for a in said.atoms] == ["INT", "RANK"] and said.atoms[1].text.casefold().endswith("s")


def _one(field: str, what: str, *, whole: bool = True) -> Callable[[_Said], Iterator[Found]]:
    many = _values(field, what, whole=whole)

    def read(said: _Said) -> Iterator[Found]:
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


def _method(said: _Said) -> Iterator[Found]:
    named = [a.kind for a in said.of("DPO", "ORPO")]
    if said.has("INSTEADOF"):
        named = [a.kind for a in said.atoms[: said.atoms.index(said.of("INSTEADOF")[0])] if a.kind in ("DPO", "ORPO")]
    question = "DPO, ORPO, or both side by side?" if said.has("OR") and len(set(named)) > 1 else ""
    yield Found(field="methods", value=list(dict.fromkeys(named)), question=question, union=True)


def _both_methods(said: _Said) -> Iterator[Found]:
    yield Found(field="methods", value=["DPO", "ORPO"])


def _method_unclear(said: _Said) -> Iterator[Found]:
    yield Found(field="methods", question="DPO, ORPO, or both side by side?")


def _no_method(said: _Said) -> Iterator[Found]:
    left = [m for m in ("DPO", "ORPO") if m not in {a.kind for a in said.of("DPO", "ORPO")}]
    if left:
        yield Found(field="methods", value=left, bare=True, note=f"so {left[0]} is left")
    else:
        yield Found(field="methods", question="Neither DPO nor ORPO: those two are what is offered. Which one?")


def _strength(field: str, what: str, method: str) -> Callable[[_Said], Iterator[Found]]:
    plain = _values(field, what, whole=False, check=_beta if method == "DPO" else _above_0(what))

    def read(said: _Said) -> Iterator[Found]:
        yield from plain(said)
        if said.item.rule.endswith("_for"):
            yield Found(field="methods", value=[method], implied=True)

    return read


def _strategy(said: _Said) -> Iterator[Found]:
    names = {"HALVING": "halving", "TPE": "tpe", "FULLGRID": "grid"}
    yield Found(field="strategy", value=next(names[a.kind] for a in said.atoms if a.kind in names))


def _one_by_one(said: _Said) -> Iterator[Found]:
    yield Found(field="max_active_jobs", value=1)


def _jobs_unclear(said: _Said) -> Iterator[Found]:
    n = said.numbers()
    if not said.has("UPTO") and any(a.harmless for a in said.of("INT")[:1]) and said.beside("ONCE", "REACH", "WINRATE"):
        return  # as soon as one candidate wins
    at_once = f"{n[0]:g} {'job' if n[0] == 1 else 'jobs'} at once"
    yield Found(
        field="max_active_jobs",
        question=f"{at_once}, or {n[0]:g} {HOW_MANY_JOBS} At once can be set; in all there are as many as "
        "there are combinations to sweep.",
    )


# ---- money -----------------------------------------------------------------------------------------------------------


def _usd(said: _Said) -> tuple[float | None, str]:
    """(amount, question)"""
    if other := said.of("OTHERMONEY"):
        return None, f"Prices are in US dollars, and {other[0].text!r} is another currency. How many dollars?"
    if doubt := said.doubt("amount in dollars"):
        return None, doubt
    amount = sum(a.value for a in said.of("MONEY"))
    if not said.has("MONEY"):
        values = [float(a.value) for a in said.of("INT", "DEC", "SCI", "FRAC")]
        if said.has("CENTS"):
            values[-1] /= 100
        amount = sum(values)
    return round(amount, 6), ""


def _budget(said: _Said) -> Iterator[Found]:
    amount, question = _usd(said)
    bare = said.item.rule == "bare_budget"
    unit = said.has("MONEY", "USD", "CENTS")
    yield Found(
        field="budget_usd", value=amount, question=question, bare=bare, note="" if unit else "taken as US dollars"
    )


def _budget_over(said: _Said) -> Iterator[Found]:
    yield Found(field="budget_usd", question="A budget is a ceiling, and this is a floor. How many dollars at most?")


def _budget_per(said: _Said) -> Iterator[Found]:
    yield Found(
        field="budget_usd", question="The budget is for the whole run, not for a part. How many dollars in all?"
    )


def _no_budget(said: _Said) -> Iterator[Found]:
    yield Found(field="budget_usd", value=None)


def _auto_approve(said: _Said) -> Iterator[Found]:
    amount, question = _usd(said)
    yield Found(field="auto_approve_up_to_usd", value=amount, question=question)


def _unasked(said: _Said) -> Iterator[Found]:
    yield Found(
        field="auto_approve_up_to_usd",
        bare=True,
        question="Up to how many dollars is the plan approved without asking?",
    )
    if said.has("UNASKED"):
        yield Found(field="auto_promote", bare=True, question="Is a clear winner deployed without asking?")


def _gate_days(said: _Said) -> Iterator[Found]:
    if doubt := said.doubt("number of days"):
        yield Found(field="gate_timeout_days", question=doubt)
        return
    n = said.numbers()[0]
    yield Found(field="gate_timeout_days", value=n / 24 if said.has("HOURS") else n)


# ---- targets ---------------------------------------------------------------------------------------------------------


_LEAST_BARE_PERCENT = 20  # below it a number without a sign may be a count: beat the base 7 times


def _share(said: _Said, what: str) -> tuple[float | None, str, str]:
    """(share from 0 to 1, question, note)"""
    if doubt := said.doubt(what):
        return None, doubt, ""
    atom = said.of(*_SHARES)[0]
    if atom.kind == "NUMS" or len(said.of("INT")) == 2:  # 2/3; 3 times out of 4
        both = atom.value if atom.kind == "NUMS" else [float(a.value) for a in said.of("INT")]
        if len(both) == 2 and 0 < both[0] < both[1]:
            return both[0] / both[1], "", ""
        return None, f"{' out of '.join(f'{x:g}' for x in both)} is no share. Which {what} is meant?", ""
    value = float(atom.value)
    if atom.kind in ("PCT", "FRAC"):
        if atom.kind == "PCT" and 0 < value < 0.05:
            return (
                None,
                f"{atom.text} is less than one in twenty. Is {100 * value:g} as a share meant? Which {what}?",
                "",
            )
        return (value, "", "") if 0 < value < 1 else (None, f"{atom.text} is no possible {what}. Which one?", "")
    if 0 < value < 1:
        return value, "", ""
    if _LEAST_BARE_PERCENT <= value < 100:
        return value / 100, "", f"read as {value:g} %"
    return None, f"{value:g} is no possible {what}. Which one is meant, in percent?", ""


def _target(said: _Said) -> Iterator[Found]:
    score = said.item.rule in ("score_target", "stop_score", "until_score")
    field, what = ("target_score", "score") if score else ("target_win_rate", "win rate")
    value, question, note = _share(said, what)
    if said.has("UPTO") and not question:
        question = f"A target is reached from below, and this is a ceiling. Which {what} is to be reached at least?"
    if said.has("MODEL_NAME") and not question:
        question = "A win rate is measured against the base model, or against a champion. Is this model the champion?"
    yield Found(field=field, value=None if question else value, question=question, note=note)
    if said.item.rule.startswith(("stop_", "until_")):
        yield Found(field="stop_at_target", value=True)


def _deploy_target(said: _Said) -> Iterator[Found]:
    yield Found(
        field="target_win_rate",
        question="A clear winner is deployed after a yes, whatever the target; the report says whether it was met. "
        "Which win rate is the target, in percent?",
    )


def _stop(value: bool) -> Callable[[_Said], Iterator[Found]]:
    def read(said: _Said) -> Iterator[Found]:
        yield Found(field="stop_at_target", value=value)

    return read


# ---- names -----------------------------------------------------------------------------------------------------------


def _named(said: _Said, kinds: set[str]) -> str:
    return str(next(a.value if a.value is not None else a.text for a in reversed(said.atoms) if a.kind in kinds))


def _data(field: str, *, bare: bool = False) -> Callable[[_Said], Iterator[Found]]:
    def read(said: _Said) -> Iterator[Found]:
        first = next((a for a in said.atoms if a.kind in _DATA), None)
        if first is not None:
            yield Found(field=field, value=str(first.value if first.value is not None else first.text), bare=bare)

    return read


def _held_share(said: _Said) -> Iterator[Found]:
    if ratio := said.of("RATIO"):
        train, held = ratio[0].value
        if abs(train + held - 1) > 1e-9:
            yield Found(
                field="held_out_share", question=f"{ratio[0].text} does not add up to 100. What share is held out?"
            )
        elif held > train:
            yield Found(
                field="held_out_share",
                question=f"{ratio[0].text} would hold out more than is trained on. What share is held out?",
            )
        else:
            yield Found(field="held_out_share", value=round(held, 6))
        return
    shares = said.of(*_SHARES)
    if len(shares) == 2 and said.item.rule == "train_share":
        train, held = (float(a.value) / (100 if a.kind in ("INT", "DEC") and a.value > 1 else 1) for a in shares)
        fits = abs(train + held - 1) < 0.005
        yield Found(
            field="held_out_share",
            value=round(held, 6) if fits else None,
            question="" if fits else "The two shares do not add up to 100 %. What share of the prompts is held out?",
        )
        return
    whole = [a for a in shares if a.kind == "INT"]
    if whole and not said.has("PCT", "FRAC"):
        yield Found(
            field="held_out_share",
            question=f"Is {whole[0].text} % of the prompts meant? A number of prompts cannot be held out, a share can.",
        )
        return
    value, question, note = _share(said, "share")
    if value is not None and said.item.rule == "train_only":
        value = 1 - value
    yield Found(
        field="held_out_share", value=round(value, 6) if value is not None else None, question=question, note=note
    )


def _split_rows(said: _Said) -> Iterator[Found]:
    yield Found(field="held_out_share", question="A number of prompts cannot be held out, a share can. Which share?")


def _evaluator(said: _Said) -> Iterator[Found]:
    yield Found(field="evaluator", value=_named(said, _EVALUATORS), bare=said.item.rule == "bare_evaluator")


def _models(said: _Said) -> Iterator[Found]:
    kinds = {"MODEL_NAME"} if said.has("MODEL_NAME") else {"NAME", "WORD", "QUOTED"}
    named = [a for a in said.atoms if a.kind in kinds]
    question = "Both of these, or one of them? Which?" if said.has("OR") and len(named) > 1 else ""
    yield Found(
        field="base_models",
        value=list(dict.fromkeys(str(a.value or a.text) for a in named)),
        question=question,
        note="; ".join(a.note for a in named if a.note),
        union=True,
        bare=said.item.rule == "bare_models",
    )


def _model_sweep(said: _Said) -> Iterator[Found]:
    yield Found(field="base_models", value=[], note="a sweep over the supported base models")


def _model(field: str) -> Callable[[_Said], Iterator[Found]]:
    def read(said: _Said) -> Iterator[Found]:
        yield Found(field=field, value=_named(said, {"MODEL_NAME", "DEPLOYMENT_REF", "NAME", "QUOTED"}))

    return read


def _pair_models(said: _Said) -> Iterator[Found]:
    yield Found(field="pairs.generate", value=True)
    yield Found(
        field="pairs.strong",
        question="Which of these models gives the preferred answers (strong), and which the others (weak)?",
    )


def _pairs_for(said: _Said) -> Iterator[Found]:
    yield Found(field="pairs.generate", value=True)
    n = said.numbers()[0]
    counted = said.item.rule == "pairs_counted"
    question = "Some prompts give no pair, so prompts are counted and not pairs. How many are asked, at most?"
    yield Found(field="pairs.max_prompts", value=None if counted else int(n), question=question if counted else "")


def _against_model(said: _Said) -> Iterator[Found]:
    yield Found(
        field="champion",
        question=f"Is {_named(said, {'MODEL_NAME'})} the champion, to be beaten? The base models are always compared.",
    )


def _size_alone(said: _Said) -> Iterator[Found]:
    sizes = " and ".join(a.text for a in said.of("SIZE"))
    yield Found(field="base_models", question=f"{sizes} of which model family? Name the base models.")


def _unclear_name(said: _Said) -> Iterator[Found]:
    name = _named(said, {"NAME"})
    yield Found(field="dataset", question=f"What is {name!r}: a dataset, a base model or an evaluator?")


def _flag(field: str, value: Any) -> Callable[[_Said], Iterator[Found]]:
    def read(said: _Said) -> Iterator[Found]:
        yield Found(field=field, value=value)

    return read


def _wait(said: _Said) -> Iterator[Found]:
    yield Found(field="wait", value="suspend" if said.has("SUSPEND") else "pause")


def _rubric(said: _Said) -> Iterator[Found]:
    yield Found(field="rubric", value=said.of("RUBRIC_TEXT")[0].value)


def _nothing(said: _Said) -> Iterator[Found]:
    return iter(())


_RULES: dict[str, Callable[[_Said], Iterator[Found]]] = {
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
    "no_setting": _nothing,
    "not_method": _nothing,
    "not_model": _nothing,
    "not_refused": _nothing,
    "not_value": _nothing,
    "not_split": _nothing,
    "versus": _models,
    "strategy": _strategy,
    "jobs": _one("max_active_jobs", "number of jobs at once"),
    "one_by_one": _one_by_one,
    "jobs_unclear": _jobs_unclear,
    "budget": _budget,
    "bare_budget": _budget,
    "budget_over": _budget_over,
    "budget_per": _budget_per,
    "budget_part": _budget_per,
    "no_budget": _no_budget,
    "auto_approve": _auto_approve,
    "unasked": _unasked,
    "ask_above": _auto_approve,
    "gate_days": _gate_days,
    "target": _target,
    "target_share": _target,
    "score_target": _target,
    "stop_target": _target,
    "until_target": _target,
    "until_score": _target,
    "stop_score": _target,
    "stop_share": _target,
    "no_stop": _stop(False),
    "stop_alone": _stop(True),
    "dataset": _data("dataset"),
    "bare_dataset": _data("dataset", bare=True),
    "held_out": _data("held_out"),
    "labelled": _data("labelled"),
    "share": _held_share,
    "bare_share": _held_share,
    "train_share": _held_share,
    "train_only": _held_share,
    "split_rows": _split_rows,
    "evaluator": _evaluator,
    "bare_evaluator": _evaluator,
    "judge": _model("judge"),
    "rubric": _rubric,
    "base": _models,
    "bare_models": _models,
    "model_sweep": _model_sweep,
    "champion": _model("champion"),
    "last_promoted": _flag("champion", "last promoted"),
    "against_model": _against_model,
    "size_alone": _size_alone,
    "strong": _model("pairs.strong"),
    "weak": _model("pairs.weak"),
    "pairs": _flag("pairs.generate", True),
    "pairs_for": _pairs_for,
    "pairs_counted": _pairs_for,
    "no_pairs": _flag("pairs.generate", False),
    "pair_models": _pair_models,
    "pair_rivals": _pair_models,
    "batch_inference": _flag("pairs.batch", True),
    "no_batch_inference": _flag("pairs.batch", False),
    "auto_promote": _flag("auto_promote", "clear_winner"),
    "no_promote": _flag("auto_promote", "never"),
    "deploy_unasked": _flag("auto_promote", "clear_winner"),
    "deploy_target": _deploy_target,
    "deploy_asked": _flag("auto_promote", "never"),
    "no_lora": _nothing,
    "wait": _wait,
    "unclear_name": _unclear_name,
    "out_path": _nothing,
}
