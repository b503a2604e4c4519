"""MinHash finds the pairs, and the exact similarity decides: both are held to the slow definition."""

import itertools
import random

import orjson
import pytest

from preference.fingerprints import normalise, prompt_id
from preference.formats import stage
from preference.near import SHINGLE_CHARS, THRESHOLD, find_groups

ALPHABET = "abcdefghijklmnopqrstuvwxyz    "


def jaccard(one, other):
    sets = [{t[i : i + SHINGLE_CHARS] for i in range(max(1, len(t) - SHINGLE_CHARS + 1))} for t in (one, other)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def groups_of(folder, texts):
    source = folder / "source.jsonl"
    source.write_bytes(b"".join(orjson.dumps({"prompt": text}) + b"\n" for text in texts))
    stage(source, folder / "data.jsonl")
    found = find_groups(folder / "data.jsonl")
    numbers = {name.ljust(16, b"\0"): int(first) for name, first in zip(found.prompts, found.first, strict=True)}
    return [numbers[bytes.fromhex(prompt_id([{"content": text}]))] for text in texts]


def slow_groups(texts):
    """Connected components of all pairs at or above the threshold."""
    parents = list(range(len(texts)))

    def root(i):
        return i if parents[i] == i else root(parents[i])

    for i, j in itertools.combinations(range(len(texts)), 2):
        if jaccard(texts[i], texts[j]) >= THRESHOLD:
            parents[root(i)] = root(j)
    return [root(i) for i in range(len(texts))]


def partition(labels):
    return {tuple(i for i, other in enumerate(labels) if other == label) for label in labels}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_groups_are_those_of_the_slow_definition(tmp_path, seed):
    draw = random.Random(seed)
    texts = []
    for _ in range(40):
        text = list("".join(draw.choices(ALPHABET, k=draw.randint(20, 200))))
        for _ in range(draw.randint(1, 4)):
            texts.append(normalise("x" + "".join(text)))
            text[draw.randrange(len(text))] = draw.choice("0123456789")
    texts = list(dict.fromkeys(texts))
    assert len(partition(slow_groups(texts))) < len(texts)
    assert partition(groups_of(tmp_path, texts)) == partition(slow_groups(texts))


def test_prompts_shorter_than_a_shingle_are_near_only_to_themselves(tmp_path):
    assert len(set(groups_of(tmp_path, ["a", "b", "ab", "日本", "🙂"]))) == 5


def test_a_copy_of_a_file_with_another_prompt_does_not_use_the_old_groups(tmp_path):
    groups_of(tmp_path, ["What grows in a cold river?", "Who sings at night in the trees?"])
    again = groups_of(tmp_path, ["What grows in a cold river?", "Who sings at night in the trees of May?", "Why?"])
    assert len(again) == 3


SYSTEM = "You are a helpful assistant that answers in plain English, and says so where it does not know."


def prompts_near(one, other):
    """The slow definition, for (system, user): alike in what the user says, and as a whole."""
    wholes = [normalise("\n".join(filter(None, p))) for p in (one, other)]
    return jaccard(normalise(one[1]), normalise(other[1])) >= THRESHOLD and jaccard(*wholes) >= THRESHOLD


def rows_of(prompts):
    return [
        {"messages": [*([{"role": "system", "content": s}] if s else []), {"role": "user", "content": u}]}
        for s, u in prompts
    ]


def system_groups(folder, prompts):
    source = folder / "source.jsonl"
    source.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows_of(prompts)))
    stage(source, folder / "data.jsonl")
    found = find_groups(folder / "data.jsonl")
    numbers = {name.ljust(16, b"\0"): int(first) for name, first in zip(found.prompts, found.first, strict=True)}
    return [numbers[bytes.fromhex(prompt_id(row["messages"]))] for row in rows_of(prompts)]


def test_a_system_prompt_that_all_share_makes_no_prompts_near(tmp_path):
    topics = ("tea", "silk", "a wolf", "the Sun", "a fox", "a map")
    asked = [(SYSTEM, f"Tell me about {topic}.") for topic in topics]
    assert len(set(system_groups(tmp_path, asked))) == len(topics)


def test_nearly_the_same_question_is_near_under_the_same_system_prompt_and_not_under_another(tmp_path):
    question = "What should I bring for a week of walking in the hills of Wales in late October?"
    asked = [(SYSTEM, question), (SYSTEM, question + "!"), ("Answer as a pirate would.", question), ("", question)]
    one, nearly, pirate, bare = system_groups(tmp_path, asked)
    assert one == nearly
    assert len({one, pirate, bare}) == 3


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_with_system_prompts_groups_are_those_of_the_slow_definition(tmp_path, seed):
    draw = random.Random(seed)
    prompts = []
    for _ in range(30):
        text = list("".join(draw.choices(ALPHABET, k=draw.randint(20, 120))))
        for _ in range(draw.randint(1, 3)):
            prompts.append((draw.choice([SYSTEM, SYSTEM + " Be short.", "Hm."]), normalise("x" + "".join(text))))
            text[draw.randrange(len(text))] = draw.choice("0123456789")
    prompts = list(dict.fromkeys(prompts))
    labels = list(range(len(prompts)))
    for i, j in itertools.combinations(range(len(prompts)), 2):
        if prompts_near(prompts[i], prompts[j]):
            labels = [labels[i] if label == labels[j] else label for label in labels]
    assert len(set(labels)) < len(prompts)
    assert partition(system_groups(tmp_path, prompts)) == partition(labels)
