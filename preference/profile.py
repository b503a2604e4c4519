"""What a dataset holds, in numbers that decide a plan: one pass over the staged rows.

The JSON keys are the field names; they are stable, and new ones may be added.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel
from xxhash import xxh3_64_intdigest

from preference.findings import find
from preference.fingerprints import normalise, prompt_text
from preference.formats import Count, Intake, counts_of
from preference.formats_rows import Kind
from preference.formats_scan import Tally
from preference.languages import language
from preference.near import find_groups
from preference.row_index import RowIndex, group_hashes
from preference.tokens import CountArray, TokenCounter, answers_of, count_file, lacks_system, prompt_error, read_batches

LANGUAGE_ROWS = 300


class TokenStats(BaseModel):
    """Tokens a row of one part."""

    mean: float
    p50: int
    p95: int
    p99: int
    max: int
    total: int

    @classmethod
    def of(cls, counts: npt.NDArray[np.uint32]) -> Self:
        p50, p95, p99 = np.percentile(counts, [50, 95, 99], method="higher").tolist()
        return cls(
            mean=round(float(counts.mean()), 1),
            p50=p50,
            p95=p95,
            p99=p99,
            max=int(counts.max()),
            total=int(counts.sum(dtype=np.int64)),
        )

    def text(self) -> str:
        ranks = f"p50 {self.p50:,}, p95 {self.p95:,}, p99 {self.p99:,}, max {self.max:,}"
        return f"mean {self.mean:,}, {ranks}, total {self.total:,}"


class TokenProfile(BaseModel):
    """Token statistics, and how far they may be off."""

    counter: str  # the tokenizer's name, or "estimate"
    error: float | None  # share by which the answers' totals may be off; None: exact
    prompt_error: float | None = None  # of the prompts': more, since a template may add a system prompt of its own
    prompt: TokenStats
    chosen: TokenStats | None  # None for prompts without answers
    rejected: TokenStats | None
    longest: TokenStats  # prompt with its longer answer: what has to fit into a context


class Profile(BaseModel):
    """What `prefworks inspect --json` prints under `profile`."""

    format: Kind
    n_rows: int
    n_prompts: int  # distinct, as the split counts them
    n_duplicates: int  # exact copies of an earlier row
    n_near_duplicates: int  # prompts that are nearly the same as another, beyond the first of each group
    n_contradictions: int  # pairs that another row with the same prompt, as the split sees it, has the other way round
    chosen_longer_share: float | None  # in characters; None for prompts
    tokens: TokenProfile
    n_over_context: dict[str, int]  # rows that do not fit, by model
    languages: dict[str, float]  # share of a sample of rows by ISO 639-1 code
    n_language_rows: int  # the size of the sample
    findings: dict[str, Count]  # secrets and personal data by kind, with the first lines of the source
    intake: Intake | None

    def to_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json")

    def rows(self) -> list[dict[str, str]]:
        """For a table with the columns `what` and `value`."""
        return [{"what": what, "value": value} for what, value in _rows(self)]


def profile(
    path: Path,
    counter: TokenCounter,
    *,
    intake: Intake | None = None,
    context_lengths: Mapping[str, int] | None = None,
    cache: Path | None = None,
) -> Profile:
    """Statistics of a canonical file. context_lengths: tokens by model; cache: a folder for token counts."""
    index = RowIndex.load(path)
    counts = count_file(path, counter, cache)
    texts = _read_texts(path, index)
    longest = counts[:, 0] + counts[:, 1:].max(axis=1)
    return Profile(
        format="pairs" if texts.n_pairs else "prompts",
        n_rows=len(index),
        n_prompts=len(group_hashes(index.prompts).distinct),
        n_duplicates=len(index) - len(group_hashes(index.rows).distinct),
        n_near_duplicates=find_groups(path).n_near,
        n_contradictions=texts.n_contradictions,
        chosen_longer_share=texts.n_longer / texts.n_pairs if texts.n_pairs else None,
        tokens=_token_profile(counter, counts, longest, texts),
        n_over_context={name: int((longest > limit).sum()) for name, limit in (context_lengths or {}).items()},
        languages={name: n / texts.languages.total() for name, n in texts.languages.most_common()},
        n_language_rows=texts.languages.total(),
        findings=counts_of(texts.findings),
        intake=intake,
    )


def rows_over(path: Path, counter: TokenCounter, limit: int) -> int:
    """Rows of a canonical file whose prompt and longer answer together are more than limit tokens."""
    counts = count_file(path, counter)
    return int((counts[:, 0] + counts[:, 1:].max(axis=1) > limit).sum())


def _token_profile(
    counter: TokenCounter, counts: CountArray, longest: npt.NDArray[np.uint32], texts: _Texts
) -> TokenProfile:
    prompt = TokenStats.of(counts[:, 0])
    return TokenProfile(
        counter=counter.name,
        error=counter.error,
        prompt_error=prompt_error(counter, texts.n_without_system, prompt.total),
        prompt=prompt,
        chosen=TokenStats.of(counts[:, 1]) if texts.n_pairs else None,
        rejected=TokenStats.of(counts[:, 2]) if texts.n_pairs else None,
        longest=TokenStats.of(longest),
    )


class _Texts:
    """What only the texts themselves tell, added up row by row."""

    def __init__(self, index: RowIndex) -> None:
        self.n_pairs = 0
        self.n_longer = 0
        self.n_without_system = 0
        self.findings = Tally()
        self.languages: Counter[str] = Counter()
        self._lines = index.lines
        self._at = 0
        # the rows with the smallest hashes: the same sample in any order of rows
        self._sample = set(np.argsort(index.rows, kind="stable")[:LANGUAGE_ROWS].tolist())
        self._labels: list[npt.NDArray[np.uint64]] = []

    def add(self, batch: list[dict[str, Any]]) -> None:
        labels = []
        for row in batch:
            prompt = prompt_text(row.get("input", row)["messages"])
            self.n_without_system += lacks_system(row)
            good, bad = answers_of(row)
            self._look(prompt, good or "", bad or "")
            if good is None or bad is None:
                continue
            self.n_pairs += 1
            self.n_longer += len(good) > len(bad)
            same = normalise(prompt)
            labels.append((_hash(same, good, bad), _hash(same, bad, good)))
        if labels:
            self._labels.append(np.array(labels, dtype=np.uint64))

    def _look(self, *texts: str) -> None:
        for kind in sorted(find("\n".join(texts))):  # a set: else what is equally frequent would change places
            self.findings.add(kind, int(self._lines[self._at]))
        if self._at in self._sample:
            self.languages[language(texts)] += 1
        self._at += 1

    @property
    def n_contradictions(self) -> int:
        if not self._labels:
            return 0
        ours, theirs = np.concatenate(self._labels).T
        return int(np.isin(ours, theirs).sum())


def _hash(*texts: str) -> int:
    return xxh3_64_intdigest("\0".join(texts).encode())


def _read_texts(path: Path, index: RowIndex) -> _Texts:
    texts = _Texts(index)
    for batch in read_batches(path):
        texts.add(batch)
    return texts


def _rows(profile: Profile) -> list[tuple[str, str]]:
    tokens = profile.tokens
    sure = f"exact, {tokens.counter}" if tokens.error is None else f"estimated, ± {tokens.error:.0%}"
    of_prompts = sure if tokens.prompt_error is None else f"estimated, ± {tokens.prompt_error:.0%}"
    rows = [
        ("format", "A: pairs" if profile.format == "pairs" else "B: prompts"),
        ("rows", f"{profile.n_rows:,}"),
        ("distinct prompts", f"{profile.n_prompts:,}"),
        ("exact duplicates", f"{profile.n_duplicates:,}"),
        ("nearly the same prompts", f"{profile.n_near_duplicates:,}"),
    ]
    if profile.chosen_longer_share is not None:
        rows.append(("pairs with contradicting labels", f"{profile.n_contradictions:,}"))
        rows.append(("chosen longer than rejected", f"{profile.chosen_longer_share:.1%}"))
    for name in ("prompt", "chosen", "rejected"):
        stats: TokenStats | None = getattr(tokens, name)
        if stats:
            rows.append((f"{name} tokens ({of_prompts if name == 'prompt' else sure})", stats.text()))
    rows += [(f"rows over the context of {model}", f"{n:,}") for model, n in profile.n_over_context.items()]
    if not profile.n_over_context:
        rows.append(("rows over a context", "not counted: name --base-model or --context-length"))
    shares = ", ".join(f"{name} {share:.1%}" for name, share in list(profile.languages.items())[:8])
    rows.append((f"languages, roughly (of {profile.n_language_rows:,} rows)", shares))
    rows += [
        (f"found: {kind}", f"{count.n_rows:,}, lines {', '.join(map(str, count.lines))}")
        for kind, count in profile.findings.items()
    ]
    if profile.intake:
        rows += _intake_rows(profile.intake)
    return rows


def _intake_rows(intake: Intake) -> list[tuple[str, str]]:
    rows = [(f"converted: {what}", f"{count.n_rows:,}") for what, count in intake.conversions.items()]
    rows += [(f"dropped: {what}", f"{count.n_rows:,}") for what, count in intake.drops.items()]
    return [*rows, ("faults", f"{intake.n_faults:,}")]
