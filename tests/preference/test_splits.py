"""A split is a promise: no prompt on both sides, the same everywhere, in any order of rows."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preference.fingerprints import normalise, prompt_id
from preference.formats import BadDataset, stage
from preference.formats_scan import Scan
from preference.near import alone, find_groups
from preference.row_index import RowIndex
from preference.splits import MAX_TRAIN_ROWS, _Side, _write, halves, pair_up, read_prompts, split


def row(prompt, n=0):
    return {
        "input": {"messages": [{"role": "user", "content": prompt}]},
        "preferred_output": [{"role": "assistant", "content": f"Good {n}."}],
        "non_preferred_output": [{"role": "assistant", "content": f"Bad {n}."}],
    }


def write(folder, rows, name="data"):
    source = folder / f"{name}.source.jsonl"
    source.write_bytes(b"".join(orjson.dumps(r) + b"\n" for r in rows))
    stage(source, folder / f"{name}.jsonl")
    return folder / f"{name}.jsonl"


def cut(folder, rows, **options):
    return split(write(folder, rows), train=folder / "train.jsonl", held_out=folder / "held_out.jsonl", **options)


def prompts_of(path):
    return [orjson.loads(line)["input"]["messages"][-1]["content"] for line in path.read_bytes().splitlines()]


# prompts that differ in every word, so that none is near another
PLAIN = [" ".join(f"{word}{i * 7919 % 1000:03}" for word in ("why", "does", "grow", "under")) for i in range(100)]


def test_the_split_by_its_definition(tmp_path):
    done = cut(tmp_path, [row(prompt) for prompt in PLAIN])
    by_hash = sorted(PLAIN, key=lambda prompt: prompt_id([{"content": prompt}]))
    assert set(prompts_of(done.train)) == set(by_hash[:80])
    assert set(prompts_of(done.held_out)) == set(by_hash[80:])
    assert (done.n_train_rows, done.n_held_out_prompts, done.n_near_duplicates) == (80, 20, 0)


def test_the_split_is_the_same_tomorrow(tmp_path):
    """Written down once: a change of these would move held-out prompts of running sessions into training."""
    cut(tmp_path, [row(prompt) for prompt in PLAIN[:20]])
    held = [PLAIN.index(prompt) for prompt in prompts_of(tmp_path / "held_out.jsonl")]
    assert held == [5, 6, 10, 17]
    assert prompt_id([{"content": "Straße  Ä\n"}]) == prompt_id([{"content": "strasse ä"}])
    assert prompt_id([{"content": "Why?"}]) == "6ddc26d8c71cec2ce11a5e06f01bd5f7"


prompts = st.lists(st.text(min_size=1, max_size=12).filter(lambda text: text.strip("\0 \n\t\r") and "\0" not in text))


@settings(max_examples=40, deadline=None)
@given(prompts=prompts, share=st.floats(0.2, 0.9), seed=st.randoms(use_true_random=False))
def test_no_prompt_on_both_sides_and_no_order_matters(tmp_path_factory, prompts, share, seed):
    folder = tmp_path_factory.mktemp("split")
    rows = [row(prompt, n % 3) for n, prompt in enumerate(prompts) if normalise(prompt)]
    shuffled = seed.sample(rows, len(rows))
    try:
        one = cut(folder, rows, share=share)
        sides = [set(map(normalise, prompts_of(path))) for path in (one.train, one.held_out)]
    except BadDataset:
        with pytest.raises(BadDataset):
            cut(folder, shuffled, share=share)
        return
    assert not sides[0] & sides[1]
    assert sides[0] | sides[1] == set(map(normalise, prompts_of(folder / "data.jsonl")))
    groups = find_groups(folder / "data.jsonl")
    largest = np.unique(groups.first, return_counts=True)[1].max()
    assert abs(one.n_train_prompts - share * len(groups.prompts)) <= largest
    other = cut(folder, shuffled, share=share)
    assert [set(map(normalise, prompts_of(path))) for path in (other.train, other.held_out)] == sides
    selection, confirmation = halves(one.held_out)
    assert {prompt.prompt_id for prompt in read_prompts(one.held_out)} == {*selection, *confirmation}


def test_another_process_splits_alike(tmp_path):
    done = cut(tmp_path, [row(prompt) for prompt in PLAIN])
    code = (
        "import sys; from pathlib import Path; from preference.splits import split\n"
        "f = Path(sys.argv[1]); split(f / 'data.jsonl', train=f / 't2.jsonl', held_out=f / 'h2.jsonl')"
    )
    root = Path(__file__).parents[2]
    for name in ("data.jsonl.index.npz", "data.jsonl.near.npz"):
        (tmp_path / name).unlink()  # made again from the rows
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, cwd=root, env={"PYTHONHASHSEED": "1"})
    assert (tmp_path / "t2.jsonl").read_bytes() == done.train.read_bytes()
    assert (tmp_path / "h2.jsonl").read_bytes() == done.held_out.read_bytes()


def test_case_unicode_form_and_white_space_make_no_other_prompt(tmp_path):
    same = ["Caf\u00e9 au  lait?", "cafe\u0301 AU lait?", "CAFÉ\nau lait? "]
    done = cut(tmp_path, [row(prompt, n) for n, prompt in enumerate([*PLAIN[:10], *same])], share=0.7)
    assert done.n_train_prompts + done.n_held_out_prompts == 11
    assert sum(prompt in same for prompt in prompts_of(done.train)) in (0, 3)


def test_nearly_the_same_prompts_stay_together(tmp_path):
    story = "Tell me a story about a fox who learns to swim in a cold mountain river, in three short parts"
    near = [f"{story}{end}" for end in (".", "!", ", please", "...", " ?")]
    done = cut(tmp_path, [row(prompt) for prompt in [*PLAIN[:15], *near]])
    assert done.n_near_duplicates == 4
    assert sum(prompt in near for prompt in prompts_of(done.train)) in (0, 5)
    apart = cut(tmp_path, [row(prompt) for prompt in [*PLAIN[:15], *near]], near_duplicates=False)
    assert (apart.n_train_prompts, apart.n_near_duplicates) == (16, None)


def test_prompts_of_one_template_are_not_near(tmp_path):
    asked = [f"What is the capital of {place}?" for place in ("France", "Spain", "Peru", "Chad", "Kenya", "Nepal")]
    assert find_groups(write(tmp_path, [row(prompt) for prompt in asked])).n_near == 0


def test_all_pairs_of_a_prompt_go_with_it_and_exact_duplicates_go(tmp_path):
    rows = [row(prompt, n) for prompt in PLAIN[:20] for n in range(3)]
    done = cut(tmp_path, [*rows, rows[0], rows[7]])
    assert (done.n_train_rows, done.n_held_out_rows, done.n_duplicates) == (48, 12, 2)


def test_another_ratio_by_request(tmp_path):
    done = cut(tmp_path, [row(prompt) for prompt in PLAIN], share=0.7)
    assert (done.n_train_prompts, done.n_held_out_prompts) == (70, 30)
    with pytest.raises(ValueError, match=r"share is 1\.5; the training share"):
        cut(tmp_path, [row("a")], share=1.5)


def test_too_little_on_a_side_is_refused_with_the_numbers(tmp_path):
    with pytest.raises(BadDataset, match="leaves 8 training rows and 2 held-out prompts; at least 3 rows and 3"):
        cut(tmp_path, [row(prompt) for prompt in PLAIN[:10]])
    assert not (tmp_path / "train.jsonl").exists()
    assert cut(tmp_path, [row(prompt) for prompt in PLAIN[:10]], share=0.7).n_held_out_prompts == 3


def test_more_rows_than_a_job_takes_are_refused(tmp_path):
    index = RowIndex.of(Scan())
    numbers, chosen = np.zeros(MAX_TRAIN_ROWS + 1, np.int64), np.ones(MAX_TRAIN_ROWS + 1, np.bool_)
    train = _Side(tmp_path / "data", index, numbers, chosen, tmp_path / "train", strip=True)
    held_out = _Side(tmp_path / "data", index, np.arange(3), np.ones(3, np.bool_), tmp_path / "held", strip=False)
    with pytest.raises(BadDataset, match="leaves 3,000,001 training rows, and a job takes 3,000,000 at most"):
        _write((train, held_out), alone(index.prompts), keep_groups=False)


def test_fields_for_evaluators_stay_with_the_held_out_rows_only(tmp_path):
    done = cut(tmp_path, [row(prompt) | {"ground_truth": prompt[:3]} for prompt in PLAIN])
    for line in done.train.read_bytes().splitlines():
        assert set(orjson.loads(line)) == {"input", "preferred_output", "non_preferred_output"}
    assert {prompt.row["ground_truth"] for prompt in read_prompts(done.held_out)} == {"why"}


def test_the_sides_have_the_index_that_their_rows_would_give(tmp_path):
    done = cut(tmp_path, [row(prompt) | ({"id": 1} if n % 2 else {}) for n, prompt in enumerate(PLAIN)])
    for path in (done.train, done.held_out):
        kept, made = RowIndex.load(path), RowIndex.rebuild(path)
        assert np.array_equal(kept.offsets, made.offsets)
        assert np.array_equal(kept.prompts, made.prompts)
        assert np.array_equal(kept.extras, made.extras)
        rows = [orjson.loads(line)["input"]["messages"][0]["content"] for line in path.read_bytes().splitlines()]
        assert [PLAIN[line - 1] for line in kept.lines] == rows  # lines are the source's


def test_two_files_are_used_as_given_but_for_leaks(tmp_path):
    near = PLAIN[22] + "?"
    ours = write(tmp_path, [row(p) for p in [*PLAIN[:20], PLAIN[21].upper(), near]], "ours")
    theirs = write(tmp_path, [row(p) for p in PLAIN[20:30]], "theirs")
    sides = {"train": tmp_path / "train.jsonl", "held_out": tmp_path / "held_out.jsonl"}
    done = pair_up(ours, theirs, **sides)
    assert prompts_of(done.train) == PLAIN[:20]
    assert prompts_of(done.held_out) == PLAIN[20:30]
    assert (done.n_leaks, done.n_near_leaks, done.leak_lines) == (1, 1, [21, 22])
    kept = pair_up(ours, theirs, **sides, keep_leaks=True)
    assert (kept.n_train_rows, kept.n_leaks, kept.leaks_kept) == (22, 1, True)
    with pytest.raises(BadDataset, match="leaves 0 training rows"):
        pair_up(theirs, theirs, **sides)


def test_halves_part_the_held_out_prompts_by_hash(tmp_path):
    done = cut(tmp_path, [row(prompt) for prompt in PLAIN])
    selection, confirmation = halves(done.held_out)
    assert (len(selection), len(confirmation)) == (10, 10)
    assert max(selection) < min(confirmation)
    assert done.has_confirmation
    small = cut(tmp_path, [row(prompt) for prompt in PLAIN[:55]])
    assert (len(halves(small.held_out)[0]), halves(small.held_out)[1]) == (11, [])
    assert not small.has_confirmation


def test_read_prompts_gives_each_distinct_prompt_once(tmp_path):
    path = write(tmp_path, [row("Why?", 1), row("WHY?", 2), row("How?", 3)])
    assert [prompt.messages[0]["content"] for prompt in read_prompts(path)] == ["Why?", "How?"]
