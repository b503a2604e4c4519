"""One sentence: what its items say, what is left over, and which clauses are not acted on."""

from __future__ import annotations

from collections.abc import Sequence

from preference.instruction_elsewhere import elsewhere
from preference.instruction_meaning import meaning
from preference.instruction_parse import Item
from preference.instruction_reading import TITLES, Mention, Reading, Refusal, Unread
from preference.instruction_refusals import refusal
from preference.instruction_scan import BREAKS, Atom

_STOPPERS = {"NOT", "NEVER", "IF", "OTHERWISE", "WARM", "RELATIVE", "HARM", "SET", "INSTEADOF", "PAST", "BESIDES"}
_THINGS = {"DATASET_REF", "EVALUATOR_REF", "DEPLOYMENT_REF", "RESOURCE_OTHER", "PATH", "FILE", "URL"}
_GOES_ON = {"COMMA", "AND", "OR", "ALSO", "KEEP", "EQ", "SLASH", "DASH", "TO", "THEN"}
_LOOSE_VALUES = {"INT", "DEC", "SCI", "NUMS", "COMMANUM", "RATIO"}
_ROLES = {"JUDGE", "STRONG", "WEAK", "CHAMPION", "BEAT", "LASTPROMOTED", "STUDENT"}
_VALUES = set("INT DEC SCI COMMANUM NUMS MONEY PCT FRAC RATIO SIZE NAME MODEL_NAME QUOTED WORD".split())
_LEADING = {"FOR", "OF", "AT", "TO", "BY", "EQ", "AS", "IN"}
_NO_DOUBT = BREAKS | {"CORRECT", "INSTEAD", "REFUSED", "QUESTION", "EQ", "AND", "OR", "AGAINST"}
_NUMERIC = set(
    "sweep.learning_rates sweep.betas sweep.orpo_lambdas sweep.lora_ranks sweep.epochs sweep.batch_size budget_usd "
    "sweep.max_context_length sampling.max_tokens sampling.temperature max_active_jobs auto_approve_up_to_usd "
    "gate_timeout_days".split()
)
_NO_SETTING = "no setting of a run here: the platform's default stays"
_SUBJECTS = {"SWEEP", "BASE", "DATASET", "PAIRS", "EVAL", "SPEND", "ANSWER", "JOBS", "AGAINST", "PER", "OR", "METHOD"}


def mentions_of(
    reading: Reading,
    text: str,
    n: int,
    sentence: list[Atom],
    items: list[Item],
    loose: list[int],
    before: Sequence[Mention] = (),
) -> list[Mention]:
    """What a sentence says, without the clauses of a loose "not" or "if": these are listed as not understood.

    before: what the sentences before it said, which a correction may take back.
    """
    stopped = _stopped(reading, text, sentence, items, loose)
    outside = [i for i in items if not any(first <= i.last and i.first <= last for first, last in stopped)]
    left = [i for i in loose if not any(first <= i <= last for first, last in stopped)]
    corrections = {i for i in left if sentence[i].kind == "CORRECT"}
    found: list[Mention] = []
    for item in outside:
        words = words_of(text, sentence, item.first, item.last)
        if item.rule == "out_path":
            reading.refused.append(Refusal(words=words, text="A path to write to is not taken from a text."))
        if item.rule == "no_setting":
            reading.not_understood.append(Unread(words=words, why=_NO_SETTING))
        if item.rule == "no_lora":
            reading.refused.append(Refusal(words=words, text=refusal("full parameter")))
        corrects = _corrects(sentence, item, outside, corrections)
        doubt = _doubt(text, sentence, item, left)
        for one in meaning(item, sentence):
            if doubt and not one.question and (one.bare or one.field in _NUMERIC):
                one.question = doubt.format(words=words, title=TITLES.get(one.field, one.field))
            if one.field == "base_models" and not one.question and (role := _role_beside(sentence, item, left)):
                one.question = f"{role!r} stands beside “{words}”: what part is it to play? Which are the base models?"
            found.append(
                Mention(
                    found=one,
                    sentence=n,
                    first=item.first,
                    last=item.last,
                    words=words,
                    start=sentence[item.first].start,
                    corrects=corrects,
                )
            )
    unread = _leftovers(text, sentence, items, left)
    if not (unread or items or stopped) and any(sentence[i].kind in _SUBJECTS for i in loose):
        unread = [words_of(text, sentence, 0, len(sentence) - 1)]
    reading.not_understood += [_unread(words, sentence) for words in unread]
    _question_what_was_corrected(text, sentence, corrections, left, [*before, *found])
    also = any(a.kind in ("ALSO", "BOTH") for a in sentence)
    return _joined(found, sentence, also=also)


def _unread(words: str, sentence: Sequence[Atom]) -> Unread:
    if any(a.kind == "UNSET" and a.text in words for a in sentence):
        return Unread(words=words, why=_NO_SETTING)
    return Unread(words=words, why=elsewhere(words) or "not understood")


def _corrects(sentence: Sequence[Atom], item: Item, items: Sequence[Item], corrections: set[int]) -> bool:
    """Whether an item takes the place of what was said before: "no, 3 epochs", "3 epochs instead"."""
    before = max((other.last for other in items if other.last < item.first), default=-1)
    after = min((other.first for other in items if other.first > item.last), default=len(sentence))
    instead = any(sentence[i].kind == "INSTEAD" for i in [*item.at, *range(item.last + 1, min(item.last + 3, after))])
    return instead or any(before < i < item.first for i in corrections)


def _question_what_was_corrected(
    text: str, sentence: Sequence[Atom], corrections: set[int], left: Sequence[int], said: Sequence[Mention]
) -> None:
    """ "beta 0.1, or rather 0.2": what was said before does not hold, and what holds has no label."""
    for i in corrections:
        j = i + 1
        while j < len(sentence) and (sentence[j].filler or sentence[j].kind in ("COMMA", "SEMI")):
            j += 1
        if j not in left or sentence[j].kind not in _VALUES:
            continue
        earlier = [m for m in said if m.start < sentence[i].start]
        if earlier:
            words = words_of(text, sentence, i, j)
            earlier[-1].found.question = f"“{earlier[-1].words}” was corrected by “{words}”. What is meant?"


def _doubt(text: str, sentence: Sequence[Atom], item: Item, left: Sequence[int]) -> str:
    """A question where words beside an item may change what it says: more than 5 epochs, warm up for 5 epochs."""
    i = item.first - 1
    while i >= 0 and (sentence[i].filler or sentence[i].kind in _LEADING):
        i -= 1
    j = item.last + 1
    while j < len(sentence) and sentence[j].filler:
        j += 1
    before, after = sentence[max(i, 0)], sentence[min(j, len(sentence) - 1)]
    if i in left and (before.kind in ("ATLEAST", "UPTO", "ONCE", "BEFORE") or before.text.casefold() == "every"):
        return f"“{before.text} {{words}}” does not say which. What is meant as {{title}}?"
    if i in left and not before.harmless and before.kind not in _NO_DOUBT:
        words = _escaped(text, sentence, i, item.last)
        return f"{before.text!r} was not understood in “{words}”. What is meant as {{title}}?"
    if j in left and not after.harmless and after.kind not in _NO_DOUBT:
        words = _escaped(text, sentence, item.first, j)
        return f"{after.text!r} was not understood in “{words}”. What is meant as {{title}}?"
    while j < len(sentence) and (sentence[j].filler or sentence[j].kind in _GOES_ON):
        j += 1
    if j in left and sentence[j].kind in _LOOSE_VALUES:
        words = _escaped(text, sentence, item.first, j)
        return f"Does {sentence[j].text!r} belong to it in “{words}”? What is meant as {{title}}?"
    return ""


def _role_beside(sentence: Sequence[Atom], item: Item, left: Sequence[int]) -> str:
    """A word in the same clause that may give a model another part to play; "" for none."""
    first, last = item.first, item.last
    while first > 0 and sentence[first - 1].kind not in BREAKS:
        first -= 1
    while last + 1 < len(sentence) and sentence[last + 1].kind not in BREAKS:
        last += 1
    after = last + 2  # "..., our champion"
    while after < len(sentence) and sentence[after].filler:
        after += 1
    if last + 1 < len(sentence) and sentence[last + 1].kind == "COMMA" and after in left:
        last = after
    return next((sentence[i].text for i in left if first <= i <= last and sentence[i].kind in _ROLES), "")


def _escaped(text: str, sentence: Sequence[Atom], first: int, last: int) -> str:
    return words_of(text, sentence, first, last).replace("{", "{{").replace("}", "}}")


def words_of(text: str, sentence: Sequence[Atom], first: int, last: int) -> str:
    while last > first and sentence[last].kind in ("WITH", "FROM", "FOR", "COMMA", "AND", "TO", "BY", "OF"):
        last -= 1
    while last > first and sentence[first].kind in ("COMMA", "TO", "AND", "FOR"):
        first += 1
    words = " ".join(text[sentence[first].start : sentence[last].end].split())
    after = text[sentence[last].end : sentence[last].end + 1]
    return words + after if after in ("]", ")", "}") and words.count({"]": "[", ")": "(", "}": "{"}[after]) else words


def _stopped(
    reading: Reading, text: str, sentence: list[Atom], items: list[Item], loose: list[int]
) -> list[tuple[int, int]]:
    """(first, last) atoms of the clauses that are not acted on."""
    found: list[tuple[int, int]] = []
    for i in loose:
        atom = sentence[i]
        if any(first <= i <= last for first, last in found):
            continue
        if atom.kind in ("REFUSED", "WARM"):
            reading.refused.append(Refusal(words=atom.text, text=refusal(atom.text)))
        if atom.kind not in _STOPPERS:
            continue
        ends = {"IF": {"END"}, "HARM": {"END", "SEMI"}, "PAST": {"END", "SEMI"}}.get(atom.kind, BREAKS - {"LINE"})
        last = i
        while last + 1 < len(sentence) and sentence[last + 1].kind not in ends and not _turns(sentence, last + 1):
            last += 1
        first = i
        if atom.kind == "OTHERWISE":
            pass
        elif atom.kind in ("HARM", "IF", "PAST") or not any(i < item.first <= last for item in items):
            while first > 0 and sentence[first - 1].kind not in ends | {"AND", "BUT", "WITH"}:
                first -= 1
        found.append((first, last))
        words = words_of(text, sentence, first, last)
        if atom.kind == "HARM" or (
            (atom.kind == "SET" or atom.text.casefold() in ("remove", "replace", "rename", "cancel", "kill"))
            and any(a.kind in _THINGS for a in sentence[i : last + 1])
        ):
            reading.refused.append(
                Refusal(
                    words=words,
                    text="A text changes nothing that exists and writes nowhere: a run only makes new things of its "
                    "own, and its report is in the session's folder.",
                )
            )
        elif atom.kind != "WARM":
            reading.not_understood.append(
                Unread(
                    words=words,
                    why=elsewhere(words) or f"{atom.text!r} was not understood here, so none of it is done",
                )
            )
    return found


def _turns(sentence: Sequence[Atom], i: int) -> bool:
    """A "but use", "and use": what follows is said plainly again."""
    return (
        sentence[i].kind == "AND"
        and i + 1 < len(sentence)
        and sentence[i + 1].kind in ("KEEP", "TRAIN", "SWEEP", "STOP")
    )


def _leftovers(text: str, sentence: list[Atom], items: list[Item], loose: list[int]) -> list[str]:
    """Runs of loose words that say something, without the harmless ones at their ends."""
    taken = {i for item in items for i in range(item.first, item.last + 1)}
    runs: list[list[int]] = []
    for i in loose:
        if sentence[i].kind in ("REFUSED", "CORRECT") or (sentence[i].kind == "INSTEAD" and items):
            continue
        if runs and all(j not in taken and sentence[j].kind not in ("REFUSED",) for j in range(runs[-1][-1], i)):
            runs[-1].append(i)
        else:
            runs.append([i])
    found = []
    for run in runs:
        while run and sentence[run[0]].harmless:
            run.pop(0)
        while run and sentence[run[-1]].harmless:
            run.pop()
        if run:
            found.append(words_of(text, sentence, run[0], run[-1]))
    return found


def _joined(found: list[Mention], sentence: Sequence[Atom], *, also: bool) -> list[Mention]:
    """Mentions of one field side by side ("rank 8 and rank 16", "DPO and ORPO") as one."""
    result: list[Mention] = []
    for mention in found:
        before = next((m for m in reversed(result) if m.found.field == mention.found.field), None)
        if (
            before
            and mention.found.union
            and before.found.union
            and not mention.corrects
            and not (before.found.question or mention.found.question)
            and (
                also
                or all(
                    a.filler
                    or a.kind in ("COMMA", "AND", "OR", "SLASH", "WITH", "KEEP", "BASE", "MODEL", "AGAINST", "LORA")
                    for a in sentence[before.last + 1 : mention.first]
                )
            )
        ):
            if mention.found.field in ("base_models", "methods") and any(
                a.kind == "OR" for a in sentence[before.last + 1 : mention.first]
            ):
                before.found.question = "Both of these, or one of them? Which?"
            before.found.value = list(dict.fromkeys([*before.found.value, *mention.found.value]))
            before.last = max(before.last, mention.last)
            before.words += f" … {mention.words}"
            before.found.bare = before.found.bare and mention.found.bare
        else:
            result.append(mention)
    return result
