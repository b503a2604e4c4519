"""The items that are shares: targets to reach, and what part of the prompts is held out."""

from __future__ import annotations

from collections.abc import Iterator

from preference.instruction_said import Found, Rule, Said, flag

_SHARES = {"PCT", "FRAC", "COMMAPCT", "INT", "DEC", "SCI", "COMMANUM", "NUMS"}
_LEAST_BARE_PERCENT = 20  # below it a number without a sign may be a count: beat the base 7 times


def _share(said: Said, what: str) -> tuple[float | None, str, str]:
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


def _target(said: Said) -> Iterator[Found]:
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


def _deploy_target(said: Said) -> Iterator[Found]:
    yield Found(
        field="target_win_rate",
        question="A clear winner is deployed after a yes, whatever the target; the report says whether it was met. "
        "Which win rate is the target, in percent?",
    )


def _held_share(said: Said) -> Iterator[Found]:
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


def _split_rows(said: Said) -> Iterator[Found]:
    yield Found(field="held_out_share", question="A number of prompts cannot be held out, a share can. Which share?")


RULES: dict[str, Rule] = {
    "target": _target,
    "target_share": _target,
    "score_target": _target,
    "stop_target": _target,
    "until_target": _target,
    "until_score": _target,
    "stop_score": _target,
    "stop_share": _target,
    "no_stop": flag("stop_at_target", False),
    "stop_alone": flag("stop_at_target", True),
    "deploy_target": _deploy_target,
    "share": _held_share,
    "bare_share": _held_share,
    "train_share": _held_share,
    "train_only": _held_share,
    "split_rows": _split_rows,
}
