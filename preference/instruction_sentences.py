"""An instruction's atoms cut into sentences: at full stops, blank lines, bullets. A list stays with its label."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from preference.instruction_scan import Atom

_LABELS = {"LR", "BETA", "LAMBDA", "RANK", "EPOCH", "BATCH", "BASE", "MODEL", "SWEEP", "METHOD"}  # of a list of values
_JUDGING = {"JUDGE", "RUBRIC", "EVAL", "SCORE", "PREFER"}
_LONGEST_LIST = 60  # atoms
_LONGEST = 64  # atoms of one sentence: the parser's time is bounded by its length


@dataclass
class _Sentence:
    atoms: list[Atom] = field(default_factory=list)
    bullet: int = -1  # how far its bullet is indented; -1 for none
    new_paragraph: bool = True

    @property
    def said(self) -> list[Atom]:
        return [a for a in self.atoms if a.kind not in ("END", "LINE")]

    @property
    def open(self) -> bool:
        """Whether it ends in a colon, so that what follows belongs to it."""
        return bool(self.said) and self.said[-1].kind in ("EQ", "BY") and self.said[-1].text.strip() != "="

    def is_about(self, kinds: set[str]) -> bool:
        return any(a.kind in kinds for a in self.said)


def sentences(row: Iterable[Atom]) -> list[list[Atom]]:
    """A list under a label ("Base models:", "Judge by:") is one sentence with it; a very long one is several."""
    cut = _cut(row)
    found: list[list[Atom]] = []
    at = 0
    while at < len(cut):
        listed = _listed(cut, at)
        if listed and cut[at].is_about(_JUDGING):
            found.append([a for s in [cut[at], *listed] for a in s.atoms])
        elif (
            listed
            and cut[at].is_about(_LABELS)
            and all(s.bullet >= 0 for s in listed)
            and sum(len(s.atoms) for s in listed) <= _LONGEST_LIST
        ):
            found.append(_in_line(cut[at], listed))
        else:
            listed = []
            found += _short(cut[at].atoms)
        at += 1 + len(listed)
    return found


def _cut(row: Iterable[Atom]) -> list[_Sentence]:
    found = [_Sentence()]
    for atom in row:
        found[-1].atoms.append(atom)
        if atom.kind != "END":
            continue
        bulleted = atom.note == "bullet"
        before = found.pop() if not found[-1].said else None  # nothing but the end of a paragraph
        if before and found:
            found[-1].atoms += before.atoms
        blank = "\n" in atom.text or (before is not None and before.new_paragraph and not bulleted)
        indent = len(atom.text) - len(atom.text.lstrip()) if bulleted else -1
        found.append(_Sentence(bullet=indent, new_paragraph=blank))
    return [s for s in found if s.said]


def _listed(cut: Sequence[_Sentence], at: int) -> list[_Sentence]:
    """What follows an open sentence as its list: bullets further in than its own, and the sentences that go on them.

    Where no bullets are, the rest of its paragraph.
    """
    head = cut[at]
    if not head.open:
        return []
    found: list[_Sentence] = []
    for sentence in cut[at + 1 :]:
        if sentence.bullet > head.bullet or (sentence.bullet < 0 and not sentence.new_paragraph and found):
            found.append(sentence)
        else:
            break
    return found


def _in_line(head: _Sentence, listed: Sequence[_Sentence]) -> list[Atom]:
    """ "Base models:" and its bullets as "Base models: a, b, c"."""
    atoms = [a for a in head.atoms if a.kind not in ("END", "LINE")]
    for n, sentence in enumerate(listed):
        if n:
            atoms.append(replace(sentence.said[0], kind="COMMA", text="", end=sentence.said[0].start, harmless=True))
        atoms += sentence.said
    return [*atoms, *(a for a in listed[-1].atoms[-1:] if a.kind == "END")]


def _short(atoms: list[Atom]) -> list[list[Atom]]:
    """A sentence of more atoms than the parser is given, cut at its last comma or "and" before that."""
    found = []
    while len(atoms) > _LONGEST:
        breaks = [n for n in range(_LONGEST // 2, _LONGEST) if atoms[n].kind in ("COMMA", "SEMI", "AND", "LINE")]
        n = breaks[-1] + 1 if breaks else _LONGEST
        found.append(atoms[:n])
        atoms = atoms[n:]
    return [*found, atoms]
