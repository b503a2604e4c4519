"""Whatever comes in: either it is refused in words, or what is written is what the API takes."""

import json

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preference.formats import BadDataset, stage

any_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
roles = st.sampled_from(["system", "user", "assistant", "human", "gpt", "tool", "narrator", ""])
texts = st.text(max_size=12) | st.sampled_from(["", " ", "\n\nHuman: a\n\nAssistant: b", "\n\nHuman:", "\0"])
contents = texts | st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": texts}), max_size=2) | any_json
message = st.fixed_dictionaries({"role": roles, "content": contents}) | st.fixed_dictionaries(
    {"from": roles, "value": contents}
)
messages = st.lists(message, max_size=4)
side = texts | messages | message | st.fixed_dictionaries({"messages": messages}) | any_json
KEYS = (
    "input",
    "messages",
    "conversations",
    "preferred_output",
    "non_preferred_output",
    "chosen",
    "rejected",
    "prompt",
    "question",
    "instruction",
    "turns",
    "system",
    "tools",
    "output",
    "id",
)
rows = st.dictionaries(st.sampled_from(KEYS), side, max_size=6) | any_json

GOOD = (
    {
        "input": {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]},
        "preferred_output": [{"role": "assistant", "content": "a"}],
        "non_preferred_output": [{"role": "assistant", "content": "b"}],
    },
    {"messages": [{"role": "user", "content": "u"}], "id": 1},
    {"prompt": "p", "chosen": "a", "rejected": "b"},
    {"chosen": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}], "rejected": "x"},
    {"conversations": [{"from": "human", "value": "v"}]},
)


def is_prompt(found):
    assert [message["role"] for message in found] in (["user"], ["system", "user"])
    for message in found:
        assert set(message) == {"role", "content"}
        assert isinstance(message["content"], str)
        assert message["content"].strip()
    return True


def is_answer(found):
    assert len(found) == 1
    assert set(found[0]) == {"role", "content"}
    assert found[0]["role"] == "assistant"
    assert found[0]["content"].strip()
    return True


def each_key_once(pairs):
    value = dict(pairs)
    assert len(value) == len(pairs)
    return value


def without_nothings(value):
    """What is null, and an empty list of tools, may go without a word."""
    if isinstance(value, dict):
        return {k: without_nothings(v) for k, v in value.items() if v is not None and (k, v) != ("tools", [])}
    return [without_nothings(one) for one in value] if isinstance(value, list) else value


def check(path, intake):
    """What Fireworks' cookbook checks before it makes a DPO job, or what Format B says."""
    lines = path.read_bytes().split(b"\n")
    assert lines.pop() == b""
    assert len(lines) == intake.n_rows
    for line in lines:
        row = json.loads(line, object_pairs_hook=each_key_once)
        if intake.kind == "prompts":
            assert not {"input", "preferred_output", "non_preferred_output"} & set(row)
            assert is_prompt(row["messages"])
        else:
            assert "messages" not in row
            assert set(row["input"]) <= {"messages", "tools"}
            assert is_prompt(row["input"]["messages"])
            assert is_answer(row["preferred_output"])
            assert is_answer(row["non_preferred_output"])
            good, bad = row["preferred_output"][0]["content"], row["non_preferred_output"][0]["content"]
            assert good.strip() != bad.strip()


def take(folder, data):
    source, target = folder / "data.jsonl", folder / "canonical.jsonl"
    source.write_bytes(data)
    try:
        intake = stage(source, target)
    except BadDataset as error:
        said = str(error)
    else:
        assert intake.n_read == intake.n_rows + intake.n_dropped
        check(target, intake)
        return intake
    assert said
    assert not target.exists()
    return None


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("any")


@settings(max_examples=150, deadline=None)
@given(found=st.lists(rows, max_size=3))
def test_rows_of_any_shape(folder, found):
    (folder / "canonical.jsonl").unlink(missing_ok=True)
    intake = take(folder, b"".join(json.dumps(row).encode() + b"\n" for row in found))
    if intake and not (intake.conversions or intake.drops):  # nothing is changed without being said
        written = [orjson.loads(line) for line in (folder / "canonical.jsonl").read_bytes().splitlines()]
        assert without_nothings(written) == without_nothings(found)


@settings(max_examples=100, deadline=None)
@given(found=st.lists(rows, max_size=3), indent=st.sampled_from([None, 1]))
def test_arrays_of_any_rows(folder, found, indent):
    (folder / "canonical.jsonl").unlink(missing_ok=True)
    take(folder, json.dumps(found, indent=indent).encode())


NEW = [
    b"\\ud800",
    b"\\u0000",
    b'"',
    b"[" * 2000,
    b"null",
    b"\xed\xa0\x80",
    b'"role":"user",',
    b'"content":"",',
    b"\\u0022",
]


@settings(max_examples=150, deadline=None)
@given(
    row=st.sampled_from(GOOD),
    at=st.integers(0, 400),
    cut=st.integers(0, 6),
    new=st.binary(max_size=6) | st.sampled_from(NEW),
)
def test_mutations_of_good_rows(folder, row, at, cut, new):
    (folder / "canonical.jsonl").unlink(missing_ok=True)
    line = orjson.dumps(row)
    at %= len(line) + 1
    take(folder, orjson.dumps(row) + b"\n" + line[:at] + new + line[at + cut :] + b"\n")


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=200), start=st.sampled_from([b"", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"PAR1", b"["]))
def test_any_bytes(folder, data, start):
    (folder / "canonical.jsonl").unlink(missing_ok=True)
    take(folder, start + data)


@settings(max_examples=100, deadline=None)
@given(header=st.lists(st.sampled_from(KEYS), min_size=1, max_size=4), body=st.text(max_size=120))
def test_any_csv(folder, header, body):
    (folder / "canonical.jsonl").unlink(missing_ok=True)
    take(folder, (",".join(header) + "\n" + body).encode())


@settings(max_examples=100, deadline=None)
@given(row=st.sampled_from(GOOD), key=st.sampled_from(KEYS), value=side)
def test_a_field_changed_in_a_good_row(folder, row, key, value):
    (folder / "canonical.jsonl").unlink(missing_ok=True)
    take(folder, json.dumps({**row, key: value}).encode() + b"\n")
