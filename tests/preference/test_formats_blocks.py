"""The quick way over a block says of each line what the rules for single rows say, or nothing."""

import io
import json

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xxhash import xxh3_128_digest

from preference.fingerprints import normalise, prompt_hash, prompt_text
from preference.formats_blocks import Block
from preference.formats_faults import RowDropped, RowFault
from preference.formats_ready import Reader
from preference.formats_rows import convert
from preference.formats_scan import FileSink, Scanner

WRITERS = {
    "compact": lambda row: orjson.dumps(row),
    "spaced": lambda row: json.dumps(row, ensure_ascii=False).encode(),
    "spaced, ASCII": lambda row: json.dumps(row).encode(),
}
odd_texts = st.sampled_from(
    ["", " ", "a  b", " a", "a ", "\ta\n\nb ", "Straße", "\0", "İ", "\x1c", "\x7f", "\u3000", "\u00a0a", "a\u2003",
     "b\u0085", "c\\n", 'd"', "\\", '\\"', "😀", "e\u2028", "/", "。"]
)  # fmt: skip
texts = st.lists(st.text(max_size=8) | odd_texts, max_size=3).map("".join)
writers = st.sampled_from(list(WRITERS.values()))


@st.composite
def rows(draw):
    messages = [{"role": "user", "content": draw(texts)}]
    if draw(st.booleans()):
        messages.insert(0, {"role": "system", "content": draw(texts)})
    if draw(st.booleans()):
        return {"messages": messages}
    answers = [[{"role": "assistant", "content": draw(texts)}] for _ in "ab"]
    return {"input": {"messages": messages}, "preferred_output": answers[0], "non_preferred_output": answers[1]}


def found_in(data):
    """(kind, prompt hash, row hash) of each line that the quick way takes, by its number."""
    return {
        int(line): (ready.kind, ready.prompt_hashes[16 * i : 16 * i + 16], ready.row_hashes[16 * i : 16 * i + 16])
        for ready in Block(data).find_ready()
        for i, line in enumerate(ready.lines)
    }


def expected_of(row):
    """The same by the named rules, or None; a ready row is one that convert leaves as it is."""
    try:
        kept = convert(row)
    except (RowFault, RowDropped):
        return None
    if kept.value != row or kept.conversions:
        return None
    messages = row.get("input", row)["messages"]
    return kept.kind, prompt_hash(prompt_text(messages)), xxh3_128_digest(orjson.dumps(row))


@settings(max_examples=500, deadline=None)
@given(written=st.lists(st.tuples(rows(), writers), min_size=1, max_size=6), end=st.sampled_from([b"\n", b""]))
def test_what_is_taken_is_what_the_named_rules_say(written, end):
    lines = [write(row) for row, write in written]
    for number, found in found_in(b"\n".join(lines) + end).items():
        assert found == expected_of(written[number][0])


@settings(max_examples=500, deadline=None)
@given(row=rows(), write=writers, at=st.floats(0, 1), put=st.binary(max_size=3), cut=st.integers(0, 3))
def test_no_line_that_was_damaged_is_taken_for_something_else(row, write, at, put, cut):
    line = write(row)
    place = int(at * len(line))
    damaged = line[:place] + put.replace(b"\n", b"") + line[place + cut :]
    found = found_in(damaged + b"\n")
    if found:
        assert found == {0: expected_of(orjson.loads(damaged))}
        assert Reader().read(damaged)


@settings(max_examples=300, deadline=None)
@given(row=rows(), write=writers)
def test_one_row_by_itself_is_read_as_the_named_rules_say(row, write):
    ready, expected = Reader().read(write(row)), expected_of(row)
    if ready:
        assert (ready.kind, prompt_hash(ready.prompt), xxh3_128_digest(ready.compact)) == expected
    assert bool(ready) == bool(expected)


@pytest.mark.parametrize("write", [WRITERS["compact"], WRITERS["spaced"]])
@pytest.mark.parametrize("system", [False, True])
def test_usual_rows_are_taken_by_the_quick_way(write, system):
    messages = [{"role": "system", "content": "Be brief."}] * system + [
        {"role": "user", "content": 'Say "hi"\n\\now  é'}
    ]
    pair = {
        "input": {"messages": messages},
        "preferred_output": [{"role": "assistant", "content": "日本語 - tell \\ me."}],
        "non_preferred_output": [{"role": "assistant", "content": 'a\tb "quoted"'}],
    }
    lines = [write(row) for row in (pair, {"messages": messages}, pair)]
    assert found_in(b"\n".join(lines) + b"\n") == {i: expected_of(orjson.loads(line)) for i, line in enumerate(lines)}


def test_every_character_is_escaped_as_both_writers_of_json_do():
    every = "".join(map(chr, [*range(1, 0xD800), *range(0xE000, 0x10000), 0x1F600]))
    row = {"messages": [{"role": "user", "content": f"a{every}"}]}
    ready = Reader().read(json.dumps(row).encode())
    assert ready
    assert ready.compact == orjson.dumps(row)


TWICE = {
    "a role": b'{"input":{"messages":[{"role":"user","role":"user","content":"a"}]},',
    "a content": b'{"input":{"messages":[{"role":"user","content":"a","content":"a"}]},',
    "the input": b'{"input":{"messages":[{"role":"user","content":"b"}]},'
    b'"input":{"messages":[{"role":"user","content":"a"}]},',
}


@pytest.mark.parametrize("start", TWICE.values(), ids=TWICE)
@pytest.mark.parametrize("spaced", [False, True])
def test_neither_way_takes_a_line_with_a_key_given_twice(start, spaced):
    rest = b'"preferred_output":[{"role":"assistant","content":"b"}],'
    line = start + rest + b'"non_preferred_output":[{"role":"assistant","content":"c\\n"}]}'
    if spaced:
        line = line.replace(b":", b": ").replace(b",", b", ")
    assert not found_in(line + b"\n")
    assert Reader().read(line) is None


@pytest.mark.parametrize("content", [b"\xff", b"\xed\xa0\x80", b"\xc3", b"a\x01", b"\\x", b"\\", b'a"b', b"\\u0000"])
def test_what_is_no_json_text_is_not_taken(content):
    line = b'{"messages":[{"role":"user","content":"ok %b"}]}' % content
    assert not found_in(line + b"\n")


def test_rows_are_copies_only_where_roles_tools_and_texts_are_the_same():
    def hashed(row, write=orjson.dumps):
        scanner = Scanner(FileSink(io.BytesIO()))
        scanner.take_lines(write(row) + b"\n")
        return bytes(scanner.scan.row_hashes)

    def pair(*messages, tools=None, **beside):
        return {
            "input": {"messages": list(messages)} | ({"tools": tools} if tools else {}),
            "preferred_output": [{"role": "assistant", "content": "c"}],
            "non_preferred_output": [{"role": "assistant", "content": "r"}],
        } | beside

    system, user, both = ({"role": r, "content": c} for r, c in (("system", "A"), ("user", "B"), ("user", "A\nB")))
    different = [
        pair(system, user),
        pair(both),
        pair(both, tools=[{"type": "function"}]),
        {"messages": [both]},
        {"messages": [system, user]},
    ]
    assert len({hashed(row) for row in different}) == len(different)
    for row in different:
        assert {hashed(row, write) for write in WRITERS.values()} == {hashed(row | {"id": 7})}


def test_odd_lines_keep_their_place_between_ready_ones():
    def prompt(text):
        return b'{"messages":[{"role":"user","content":"%b"}]}' % text

    lines = [
        prompt(b"one"),
        b"",
        b'{"prompt":"two"}',
        prompt(b" three"),
        b"{broken",
        prompt(b"four") + b"\r",
        prompt(b"five"),
    ]
    out = io.BytesIO()
    scanner = Scanner(FileSink(out))
    scanner.take_lines(b"\n".join(lines))
    texts = [orjson.loads(line)["messages"][0]["content"] for line in out.getvalue().splitlines()]
    assert texts == ["one", "two", " three", "four", "five"]
    assert scanner.scan.lines.tolist() == [1, 3, 4, 6, 7]
    assert [fault.line for fault in scanner.scan.faults] == [5]
    assert np.cumsum(scanner.scan.sizes).tolist() == [
        i + 1 for i, byte in enumerate(out.getvalue()) if byte == ord("\n")
    ]
    hashes = [bytes(scanner.scan.prompt_hashes[i : i + 16]) for i in range(0, 80, 16)]
    assert hashes == [prompt_hash(text) for text in texts]


@given(text=st.text())
def test_normalising_again_changes_nothing_and_folds_all_white_space(text):
    done = normalise(text)
    assert normalise(done) == done
    assert done == " ".join(done.split())
    if text.isascii():
        assert done == " ".join(text.lower().split())
