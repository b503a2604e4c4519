"""An instruction's text cut into words, numbers, money, names and signs, each with its place in the text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from preference import instruction_numbers as numbers

BREAKS = {"END", "BULLET", "LINE", "COMMA", "SEMI", "BUT"}
_FILES = r"\.(?:jsonl|json|csv|tsv|parquet|gz|zst)"
_SCAN: list[tuple[str, re.Pattern[str]]] = [
    ("BULLET", re.compile(r"^[^\S\n]*(?:[-*•–]|\(?\d{1,2}[.)]|[a-h]\))[^\S\n]+", re.M)),
    ("QUOTED", re.compile(r"\"([^\"\n]*)\"|“([^”\n]*)”|„([^“”\n]*)[“”]|`([^`\n]*)`|(?<!\w)['‘]([^'’\n]+)['’](?!\w)")),
    ("RESOURCE", re.compile(r"accounts/[\w.-]*\w/([A-Za-z]+)/[\w.-]*\w(?:#accounts/[\w.-]+/\w+/[\w.-]*\w)?")),
    ("URL", re.compile(r"\w+://\S*[^\s.,;:!?)\]\"']")),
    ("CODE", re.compile(r"(?:~|\.{0,2}/)?[\w./~\\:-]*\.py(?:::\w+)?\b|[\w./~-]+::\w+")),
    ("FILE", re.compile(rf"(?:[A-Za-z]:\\|~|\.{{0,2}}/)?[\w.\\/~-]*{_FILES}\b(?!\.?\w)")),
    ("PATH", re.compile(r"(?<![\w/])(?:~|\.{1,2})?/[\w.-]+(?:/[\w.-]+)*/?(?<!\.)")),
    ("COMMAMONEY", re.compile(r"(?:US)?\$\s?\d+(?:,\d{1,2}(?!\d)|\.\d{3}(?![\d]))")),
    ("MONEY", re.compile(r"(?:US|USD\s?)?\$\s?\d[\d,]*(?:\.\d+)?(?:\s?[kK](?!\w))?|\d+(?:\.\d+)?\s?\$(?!\s?\d)")),
    ("OTHERMONEY", re.compile(r"[€£¥]")),
    ("SCI", numbers.SCIENTIFIC),
    ("COMMAPCT", re.compile(r"\d+,\d+\s?(?:%|percent\b|per cent\b)")),
    ("SLASHED", numbers.SLASHED),
    ("RATIO", numbers.RATIO),
    ("PCT", re.compile(r"(?:\d+(?:\.\d+)?|\.\d+)\s?(?:-\s?)?(?:%|percent\b|per cent\b|pct\b)")),
    ("THOUSANDS", numbers.THOUSANDS),
    ("COMMAS", numbers.COMMA_LIST),
    ("COMMANUM", numbers.COMMA_DECIMAL),
    ("ALNUM", re.compile(r"\d+(?:\.\d+)?[A-Za-z][\w.-]*(?<![.-])")),
    ("NUM", numbers.PLAIN),
    ("ABBREVIATED", re.compile(r"(?:max|min|approx|ca)\.(?=\s*[\d$])|(?:vs|incl)\.(?=\s+\w)|w/(?:o\b)?(?=\s)", re.I)),
    ("WORD", re.compile(r"[^\W\d_](?:\w|[-.'’+](?=\w))*(?:/(?=[\w-]*\d)\w(?:\w|[-.](?=\w))*)?")),
    ("DASH", re.compile(r"(?<=\d)\.{2,3}(?=\d)")),
    ("END", re.compile(r"[.!?]+(?=\s|$|[)\]\"'])|\.{2,}|\n[^\S\n]*(?=\n)")),
    ("LINE", re.compile(r"\n")),
    ("COMMA", re.compile(r",|\(|\)")),
    ("SEMI", re.compile(r";|—|\s–\s|\s-\s")),
    ("EQ", re.compile(r":=|==|=|:(?!\w+//)|→|->")),
    ("UPTO", re.compile(r"<=|≤|<")),
    ("ATLEAST", re.compile(r">=|≥|>")),
    ("AND", re.compile(r"&|\+")),
    ("SLASH", re.compile(r"/|\|")),
    ("DASH", re.compile(r"[-–−]+(?![A-Za-z])|…")),
    ("OTHER", re.compile(r"[^\s\w\[\]{}*_~•×%@–−.\-\"'“”‘’`]")),
]
COLLECTIONS = {
    "datasets": "DATASET_REF", "evaluators": "EVALUATOR_REF", "models": "MODEL_NAME",
    "deployments": "DEPLOYMENT_REF", "deployedModels": "DEPLOYMENT_REF",
}  # fmt: skip


@dataclass(frozen=True)
class Atom:
    """A piece of the text: its terminal, what it is worth, and where it stands."""

    kind: str
    text: str
    start: int
    end: int
    value: Any = None
    harmless: bool = False  # may be left over without being reported
    filler: bool = False
    note: str = ""


def scan(text: str) -> Iterator[Atom]:
    place = 0
    while place < len(text):
        for kind, pattern in _SCAN:
            if (found := pattern.match(text, place)) and found.end() > place:
                yield _valued(kind, found)
                place = found.end()
                break
        else:
            place += 1


def _valued(kind: str, found: re.Match[str]) -> Atom:
    atom = Atom(kind, found[0], found.start(), found.end())
    bare = re.sub(r"[^\d.]", "", found[0])
    match kind:
        case "BULLET":
            return replace(atom, kind="END", note="bullet")
        case "ABBREVIATED":
            return replace(atom, kind="WORD", text=(word := found[0].rstrip(".")), end=found.start() + len(word))
        case "QUOTED":
            inside = next(x for x in found.groups() if x is not None).strip()
            return _quoted(replace(atom, value=inside))
        case "RESOURCE":
            return replace(atom, kind=COLLECTIONS.get(found[1], "RESOURCE_OTHER"), value=found[0])
        case "PATH" if found[0].count("/") == 1 and not found[0].startswith(("~", ".")) and len(found[0]) < 3:
            return replace(atom, kind="OTHER")
        case "PATH":
            return replace(atom, value=found[0])
        case "FILE" | "CODE" | "URL":
            return replace(atom, value=found[0])
        case "MONEY":
            thousand = 1000 if found[0].rstrip()[-1] in "kK" else 1
            return replace(atom, value=float(bare) * thousand)
        case "SCI":
            return replace(atom, value=numbers.scientific(found[0]))
        case "PCT":
            return replace(atom, value=float(bare) / 100)
        case "SLASHED":
            return _slashed(atom)
        case "RATIO":
            one, other = float(found[1]), float(found[2])
            if one + other == 100 or "%" in found[0]:
                return replace(atom, value=(one / 100, other / 100))
            return replace(atom, kind="RANGE_TEXT")
        case "THOUSANDS":
            return replace(atom, kind="INT" if "." not in bare else "DEC", value=float(bare))
        case "COMMAS":
            return replace(atom, kind="NUMS", value=[float(x) for x in found[0].split(",")])
        case "NUM":
            value = float(found[0])
            kind = "INT" if found[0].isdigit() else "SCI" if 0 < value < 1e-3 else "DEC"
            return replace(atom, kind=kind, value=value)
    return atom


def _quoted(atom: Atom) -> Atom:
    """A name or a path in quotes is one all the same; what else is quoted stays a quotation."""
    inside = str(atom.value)
    for kind, pattern in _SCAN[1:]:
        if kind in ("RESOURCE", "CODE") and (found := pattern.fullmatch(inside)):
            return replace(_valued(kind, found), text=atom.text, start=atom.start, end=atom.end, value=inside)
    if re.search(rf"{_FILES}$", inside):
        return replace(atom, kind="FILE")
    if re.match(r"(~|\.{1,2})?/.", inside):
        return replace(atom, kind="PATH")
    if re.search(r"\.py(::\w+)?$", inside):
        return replace(atom, kind="CODE")
    return atom


def _slashed(atom: Atom) -> Atom:
    values = [float(re.sub(r"[^\d.]", "", x)) for x in atom.text.split("/")]
    if len(values) == 2 and (sum(values) == 100 or abs(sum(values) - 1) < 1e-9):
        scale = 100 if sum(values) == 100 else 1
        return replace(atom, kind="RATIO", value=(values[0] / scale, values[1] / scale))
    return replace(atom, kind="NUMS", value=values)


# ---- models ----------------------------------------------------------------------------------------------------------


def text_of(row: Sequence[Atom]) -> str:
    text = row[0].text
    for before, atom in pairwise(row):
        text += ("" if atom.start == before.end else " ") + atom.text
    return text
