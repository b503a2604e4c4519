"""One sentence: what its items say, what is left over, and which clauses are not acted on."""

from __future__ import annotations

from collections.abc import Sequence

from preference.instruction_meaning import meaning
from preference.instruction_parse import Item
from preference.instruction_reading import Mention, Reading, Refusal, Unread
from preference.instruction_refusals import refusal
from preference.instruction_scan import BREAKS, Atom

_STOPPERS = {"NOT", "NEVER", "IF", "RELATIVE", "HARM", "SET", "INSTEADOF"}
_SUBJECTS = {"SWEEP", "BASE", "DATASET", "PAIRS", "EVAL", "SPEND", "ANSWER", "JOBS", "AGAINST", "PER", "OR"}


def mentions_of(
    reading: Reading, text: str, n: int, sentence: list[Atom], items: list[Item], loose: list[int]
) -> list[Mention]:
    """What a sentence says, without the clauses of a loose "not" or "if": these are listed as not understood."""
    stopped = _stopped(reading, text, sentence, items, loose)
    found: list[Mention] = []
    for item in items:
        if any(first <= item.last and item.first <= last for first, last in stopped):
            continue
        words = words_of(text, sentence, item.first, item.last)
        if item.rule == "out_path":
            reading.refused.append(Refusal(words=words, text="A path to write to is not taken from a text."))
        bound = _bound_before(sentence, item.first)
        for one in meaning(item, sentence):
            if bound and one.field.startswith("sweep.") and not one.question:
                one.question = f"“{bound} {words}” is a bound, and a sweep needs its values. Which ones?"
            found.append(
                Mention(
                    found=one,
                    sentence=n,
                    first=item.first,
                    last=item.last,
                    words=words,
                    start=sentence[item.first].start,
                )
            )
    left = [i for i in loose if not any(first <= i <= last for first, last in stopped)]
    unread = _leftovers(text, sentence, items, left)
    if not (unread or items or stopped) and any(sentence[i].kind in _SUBJECTS for i in loose):
        unread = [words_of(text, sentence, 0, len(sentence) - 1)]
    reading.not_understood += [Unread(words=words) for words in unread]
    also = any(a.kind in ("ALSO", "BOTH") for a in sentence)
    return _joined(found, sentence, also=also)


def _bound_before(sentence: Sequence[Atom], first: int) -> str:
    """More than 5 epochs are not 5."""
    before = next((a for a in reversed(sentence[:first]) if not a.filler), None)
    return before.text if before is not None and before.kind == "ATLEAST" else ""


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
        if atom.kind == "REFUSED":
            reading.refused.append(Refusal(words=atom.text, text=refusal(atom.text)))
        if atom.kind not in _STOPPERS:
            continue
        ends = {"IF": {"END"}, "HARM": {"END", "SEMI"}}.get(atom.kind, BREAKS - {"LINE"})
        last = i
        while last + 1 < len(sentence) and sentence[last + 1].kind not in ends and not _turns(sentence, last + 1):
            last += 1
        first = i
        if atom.kind in ("HARM", "IF") or not any(i < item.first <= last for item in items):
            while first > 0 and sentence[first - 1].kind not in ends | {"AND", "BUT", "WITH"}:
                first -= 1
        found.append((first, last))
        words = words_of(text, sentence, first, last)
        if atom.kind == "HARM":
            reading.refused.append(
                Refusal(
                    words=words,
                    text="A text changes nothing that exists and writes nowhere: a run only makes new things of its "
                    "own, and its report is in the session's folder.",
                )
            )
        else:
            reading.not_understood.append(
                Unread(words=words, why=f"{atom.text!r} was not understood here, so none of it is done")
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
        if sentence[i].kind == "REFUSED":
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
