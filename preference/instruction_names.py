"""The models that an instruction names, put together from their words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from preference import instruction_models as models
from preference.instruction_lexicon import lexicon
from preference.instruction_models import KnownModel
from preference.instruction_scan import BREAKS, Atom, text_of


def find_models(row: list[Atom], catalogue: Sequence[KnownModel]) -> list[Atom]:
    """Qwen3 32B and Llama 3.1 8B Instruct as one atom each; "and 32B" after Qwen3 8B is a model, too."""
    found: list[Atom] = []
    at = 0
    while at < len(row):
        n = _model_length(row, at, catalogue)
        if n:
            name = text_of(row[at : at + n])
            found.append(Atom("MODEL_NAME", name, row[at].start, row[at + n - 1].end, value=name))
            at += n
            continue
        sized, n = _sizes_before_family(row, at)
        if n:
            found += sized
            at += n
            continue
        atom = row[at]
        before = next((a for a in reversed(found) if a.kind == "MODEL_NAME"), None)
        if atom.kind == "ALNUM" and models.is_size(atom.text) and before and _joined_by_list(found, before):
            named = str(before.value)
            family = re.match(r"[A-Za-z]+[\d.]*", named.split("/")[-1])
            name = f"{family[0] if family else named} {atom.text}"
            found.append(Atom("MODEL_NAME", atom.text, atom.start, atom.end, value=name, note=f"taken as {name}"))
        else:
            found.append(atom)
        at += 1
    return found


def _sizes_before_family(row: list[Atom], at: int) -> tuple[list[Atom], int]:
    """ "the 8B and 32B Qwen3 models": each size with the family after them, and how many atoms that takes."""
    end, n_sizes = at, 0
    while end < len(row) and n_sizes < 8:
        if row[end].kind == "ALNUM" and models.is_size(row[end].text) and row[end].text[-1] in "bBmM":
            n_sizes += 1
        elif not (n_sizes and (row[end].kind in ("COMMA", "AND", "SLASH") or _joins(row[end]))):
            break
        end += 1
    if not n_sizes or end >= len(row) or row[end].kind not in ("WORD", "ALNUM") or row[end - 1].kind != "ALNUM":
        return [], 0
    n = _model_length(row, end, ())
    family = text_of(row[end : end + n]) if n else ""
    if not family or re.search(r"\d[bBmM]\b", family):
        return [], 0
    found = []
    for i in range(at, end):
        atom = row[i]
        if atom.kind == "ALNUM":
            name = f"{family} {atom.text}"
            last = row[end + n - 1].end if i == end - 1 else atom.end
            atom = Atom("MODEL_NAME", atom.text, atom.start, last, value=name, note=f"taken as {name}")
        found.append(atom)
    return found, end - at + n


def _joins(atom: Atom) -> bool:
    return atom.kind == "WORD" and atom.text.casefold() in ("and", "or", "the")


def _joined_by_list(found: list[Atom], before: Atom) -> bool:
    between = found[found.index(before) + 1 :]
    return bool(between) and all(a.kind in ("COMMA", "AND", "SLASH") or _joins(a) for a in between)


def _model_length(row: list[Atom], at: int, catalogue: Sequence[KnownModel]) -> int:
    """How many atoms from here are a model's name; 0 for none."""
    first = row[at]
    if first.kind not in ("WORD", "ALNUM", "QUOTED"):
        return 0
    if first.kind == "QUOTED":
        inside = str(first.value)
        return int(bool(models.matches(inside, catalogue)) or models.starts_model(inside))
    exact = [n for n in range(6, 0, -1) if _exact(row[at : at + n], n, catalogue)]
    if exact:
        return exact[0]
    word = first.text
    sized = models.almost_family(word) and at + 1 < len(row) and row[at + 1].kind in ("NUM", "INT", "DEC", "ALNUM")
    if not models.starts_model(word) and not sized:
        return 0
    n, sized = 1, bool(re.search(r"\d+[bBmM]\b", word))
    versioned = bool(re.search(r"\d", word))
    while at + n < len(row):
        atom = row[at + n]
        gap = atom.start - row[at + n - 1].end
        if gap > 1 or (atom.kind == "DASH" and gap):
            break
        if atom.kind == "DASH" and at + n + 1 < len(row) and row[at + n + 1].start == atom.end:
            n += 1
            continue
        if atom.kind == "ALNUM" and models.is_size(atom.text) and not (sized and atom.text[0] not in "aA"):
            sized = True
        elif atom.kind == "WORD" and (models.is_variant(atom.text) or re.fullmatch(r"[A-Za-z]\d[\w.]*", atom.text)):
            pass
        elif atom.kind in ("INT", "DEC") and not versioned and not sized and _version(row, at + n):
            versioned = True
        elif atom.kind == "INT" and re.fullmatch(r"2[3-9](0[1-9]|1[0-2])", atom.text):
            pass
        else:
            break
        n += 1
    while row[at + n - 1].kind == "DASH":
        n -= 1
    plain = n == 1 and not re.search(r"[\d/]", word)
    if plain and word.casefold() in ("phi", "muse", "gpt", "falcon", "granite"):
        return 0  # ordinary words
    if models.almost_family(word) and not any(re.search(r"\d+(?:\.\d+)?[bBmM]", a.text) for a in row[at : at + n]):
        return 0 if word.casefold() not in models.FAMILIES else n
    return n


def _version(row: list[Atom], at: int) -> bool:
    """Whether a bare number belongs to the name before it: Llama 3.1 8B, Qwen 3; not Qwen 3 epochs."""
    if at + 1 >= len(row) or row[at + 1].kind in BREAKS:
        return True
    after = row[at + 1]
    if after.kind == "ALNUM":
        return models.is_size(after.text)
    if after.kind != "WORD":
        return True
    section, terminal = lexicon().phrases.get((after.text.casefold(),), ("filler", ""))
    return section == "filler" or terminal in (
        "AND", "OR", "WITH", "ON", "FOR", "AS", "INSTEAD", "AT", "IN", "TO", "JUDGE", "BUT",
    )  # fmt: skip


def _exact(row: Sequence[Atom], n: int, catalogue: Sequence[KnownModel]) -> bool:
    """Whether these atoms are, spelling aside, a name of the catalogue."""
    if len(row) < n or not catalogue or any(a.kind in BREAKS or a.kind in ("QUOTED", "EQ") for a in row):
        return False
    name = text_of(row)
    if n == 1 and name.isalpha() and (name.casefold(),) in lexicon().phrases:
        return False
    key = models.parts(name)
    return bool(key[0] or key[1]) and any(key == spelt and (len(name) > 3) for m in catalogue for spelt in m.spellings)
