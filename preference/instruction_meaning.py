"""What the items of a sentence mean: fields of a request with their values, or a question where that is not clear."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from preference import instruction_meaning_money as money
from preference import instruction_meaning_names as names
from preference import instruction_meaning_shares as shares
from preference import instruction_meaning_values as values
from preference.instruction_parse import Item
from preference.instruction_said import Found, Rule, Said, flag
from preference.instruction_scan import Atom


def meaning(item: Item, sentence: Sequence[Atom]) -> list[Found]:
    """The fields that an item gives."""
    return list(_RULES[item.rule](Said(item, sentence)))


def _pairs_for(said: Said) -> Iterator[Found]:
    yield Found(field="pairs.generate", value=True)
    n = said.numbers()[0]
    counted = said.item.rule == "pairs_counted"
    question = "Some prompts give no pair, so prompts are counted and not pairs. How many are asked, at most?"
    yield Found(field="pairs.max_prompts", value=None if counted else int(n), question=question if counted else "")


def _wait(said: Said) -> Iterator[Found]:
    yield Found(field="wait", value="suspend" if said.has("SUSPEND") else "pause")


def _nothing(said: Said) -> Iterator[Found]:
    return iter(())


_RULES: dict[str, Rule] = {
    **values.RULES,
    **money.RULES,
    **shares.RULES,
    **names.RULES,
    "pairs": flag("pairs.generate", True),
    "pairs_for": _pairs_for,
    "pairs_counted": _pairs_for,
    "no_pairs": flag("pairs.generate", False),
    "batch_inference": flag("pairs.batch", True),
    "no_batch_inference": flag("pairs.batch", False),
    "judge_filter": flag("pairs.judge_filter", True),
    "no_judge_filter": flag("pairs.judge_filter", False),
    "auto_promote": flag("auto_promote", "clear_winner"),
    "no_promote": flag("auto_promote", "never"),
    "deploy_unasked": flag("auto_promote", "clear_winner"),
    "deploy_asked": flag("auto_promote", "never"),
    "wait": _wait,
    "no_setting": _nothing,
    "not_method": _nothing,
    "not_model": _nothing,
    "not_refused": _nothing,
    "not_value": _nothing,
    "not_split": _nothing,
    "no_lora": _nothing,
    "out_path": _nothing,
}
