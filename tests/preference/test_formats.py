"""What people have, read right: every shape by literal example, every fault with its place."""

import csv
import gzip
import io
import json
from decimal import Decimal
from pathlib import Path

import orjson
import pytest
import zstandard

from preference.formats import BadDataset, inspect, is_local, local_file, stage
from preference.formats_array import read_json_array
from preference.formats_scan import MAX_ROW_BYTES


def user(content):
    return {"role": "user", "content": content}


def assistant(content):
    return {"role": "assistant", "content": content}


def pair(prompt="Why is the sky blue?", chosen="Rayleigh scattering.", rejected="It is painted."):
    return {
        "input": {"messages": [user(prompt)]},
        "preferred_output": [assistant(chosen)],
        "non_preferred_output": [assistant(rejected)],
    }


PAIR = pair()


@pytest.fixture
def staged(tmp_path):
    """Stages rows, or bytes as they are; gives the intake and what was written."""

    def run(rows, name="data.jsonl"):
        source = tmp_path / name
        data = rows if isinstance(rows, bytes) else b"".join(orjson.dumps(row) + b"\n" for row in rows)
        source.write_bytes(data)
        target = tmp_path / "out" / "canonical.jsonl"
        intake = stage(source, target)
        return intake, [orjson.loads(line) for line in target.read_bytes().splitlines()]

    return run


@pytest.fixture
def refused(tmp_path, staged):
    """What is said about data that is refused; nothing may be written."""

    def run(rows, name="data.jsonl"):
        with pytest.raises(BadDataset) as error:
            staged(rows, name)
        assert not (tmp_path / "out" / "canonical.jsonl").exists()
        return str(error.value)

    return run


def test_format_a_goes_through_byte_for_byte(tmp_path):
    line = (
        b'{"preferred_output": [{"content":"yes","role":"assistant"}], "input":{"messages":'
        b'[{"role":"user","content":"\\u00e9?"}]},"non_preferred_output":[{"role":"assistant","content":"no"}]}'
    )
    (tmp_path / "a.jsonl").write_bytes(line + b"\n")
    intake = stage(tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    assert (tmp_path / "b.jsonl").read_bytes() == line + b"\n"
    assert (intake.kind, intake.n_rows, intake.conversions) == ("pairs", 1, {})


SAME_PAIR = {
    "OpenAI's": {
        "input": {"messages": [user("Why is the sky blue?")], "tools": [], "parallel_tool_calls": True},
        "preferred_output": [assistant("Rayleigh scattering.")],
        "non_preferred_output": [assistant("It is painted.")],
    },
    "messages beside the outputs": {
        "messages": [user("Why is the sky blue?")],
        "preferred_output": [assistant("Rayleigh scattering.")],
        "non_preferred_output": [assistant("It is painted.")],
    },
    "text parts": {
        "input": {"messages": [{"role": "user", "content": [{"type": "text", "text": "Why is the sky blue?"}]}]},
        "preferred_output": [assistant("Rayleigh scattering.")],
        "non_preferred_output": [assistant("It is painted.")],
    },
    "answers as text": PAIR
    | {"preferred_output": "Rayleigh scattering.", "non_preferred_output": assistant("It is painted.")},
    "TRL, standard": {
        "prompt": "Why is the sky blue?",
        "chosen": "Rayleigh scattering.",
        "rejected": "It is painted.",
    },
    "TRL, standard, implicit": {
        "chosen": "Why is the sky blue? Rayleigh scattering.",
        "rejected": "Why is the sky blue? It is painted.",
    },
    "TRL, conversational": {
        "prompt": [user("Why is the sky blue?")],
        "chosen": [assistant("Rayleigh scattering.")],
        "rejected": [assistant("It is painted.")],
    },
    "TRL, conversational, implicit": {
        "chosen": [user("Why is the sky blue?"), assistant("Rayleigh scattering.")],
        "rejected": [user("Why is the sky blue?"), assistant("It is painted.")],
    },
    "UltraFeedback": {
        "prompt": "Why is the sky blue?",
        "messages": [user("Why is the sky blue?"), assistant("Rayleigh scattering.")],
        "chosen": [user("Why is the sky blue?"), assistant("Rayleigh scattering.")],
        "rejected": [user("Why is the sky blue?"), assistant("It is painted.")],
    },
    "Fireworks' cookbook": {
        "chosen": {"messages": [user("Why is the sky blue?"), assistant("Rayleigh scattering.")]},
        "rejected": {"messages": [user("Why is the sky blue?"), assistant("It is painted.")]},
    },
    "dialogues as text": {
        "chosen": "\n\nHuman: Why is the sky blue?\n\nAssistant: Rayleigh scattering.",
        "rejected": "\n\nHuman: Why is the sky blue?\n\nAssistant: It is painted.",
    },
    "messages as JSON in texts": {
        "prompt": json.dumps([user("Why is the sky blue?")]),
        "chosen": json.dumps([assistant("Rayleigh scattering.")]),
        "rejected": json.dumps([assistant("It is painted.")]),
    },
    "dialogues as text, stripped": {
        "chosen": "Human: Why is the sky blue?\n\nAssistant: Rayleigh scattering.",
        "rejected": "Human: Why is the sky blue?\n\nAssistant: It is painted.",
    },
    "an input column": {
        "input": "Why is the sky blue?",
        "chosen": "Rayleigh scattering.",
        "rejected": "It is painted.",
    },
    "OpenAI": {
        "input": {**PAIR["input"], "tools": [], "parallel_tool_calls": True},
        "preferred_output": [assistant("Rayleigh scattering.")],
        "non_preferred_output": [assistant("It is painted.")],
    },
    "messages with more than the API takes": {
        "input": {"messages": [{**user("Why is the sky blue?"), "name": "Ann"}]},
        "preferred_output": [{**assistant("Rayleigh scattering."), "reasoning_content": "Hm.", "weight": 1}],
        "non_preferred_output": [assistant("It is painted.")],
    },
    "a dialogue as the prompt": {
        "prompt": "\n\nHuman: Why is the sky blue?\n\nAssistant:",
        "chosen": " Rayleigh scattering.",
        "rejected": " It is painted.",
    },
    "ShareGPT": {
        "conversations": [{"from": "human", "value": "Why is the sky blue?"}],
        "chosen": {"from": "gpt", "value": "Rayleigh scattering."},
        "rejected": {"from": "gpt", "value": "It is painted."},
    },
    "a question column": {
        "question": "Why is the sky blue?",
        "chosen": "Rayleigh scattering.",
        "rejected": "It is painted.",
    },
}


@pytest.mark.parametrize("row", SAME_PAIR.values(), ids=SAME_PAIR)
def test_every_known_shape_of_a_pair_becomes_the_same_row(staged, row):
    intake, rows = staged([row])
    for side in ("preferred_output", "non_preferred_output"):
        rows[0][side][0]["content"] = rows[0][side][0]["content"].strip()
    assert rows == [PAIR]
    assert intake.kind == "pairs"
    assert intake.conversions  # nothing is converted without being said


SAME_PROMPT = {
    "an SFT row": {"messages": [user("Name a prime."), assistant("Seven.")]},
    "ShareGPT": {"conversations": [{"from": "human", "value": "Name a prime."}, {"from": "gpt", "value": "7"}]},
    "a prompt column": {"prompt": "Name a prime."},
    "a prompt of messages": {"prompt": [user("Name a prime.")]},
    "a question": {"question": "Name a prime.", "answer": "7"},
    "an instruction": {"instruction": "Name a prime.", "input": "", "output": "7"},
    "turns": {"turns": ["Name a prime.", "And another."]},
}


@pytest.mark.parametrize("row", SAME_PROMPT.values(), ids=SAME_PROMPT)
def test_every_known_shape_of_a_prompt_becomes_the_same_row(staged, row):
    intake, rows = staged([row])
    assert rows == [{"messages": [user("Name a prime.")]}]
    assert intake.kind == "prompts"
    assert intake.conversions


def test_a_system_prompt_stays_where_a_prompt_column_lacks_it(staged):
    system = {"role": "system", "content": "Be brief."}
    row = {
        "prompt": "Why?",
        "chosen": [system, user("Why?"), assistant("Because.")],
        "rejected": [system, user("Why?"), assistant("Because of many things.")],
    }
    assert staged([row])[1][0]["input"]["messages"] == [system, user("Why?")]
    column = {"system": "Be brief.", "question": "Why?", "chosen": "Because.", "rejected": "Because of many things."}
    assert staged([column])[1][0]["input"]["messages"] == [system, user("Why?")]


def test_what_both_dialogues_ask_counts_and_a_prompt_column_that_says_another_thing_is_told(staged):
    dialogues = {"chosen": [user("a"), assistant("x")], "rejected": [user("a"), assistant("y")]}
    intake, rows = staged([{"prompt": "a ", **dialogues}, {"prompt": "b", **dialogues}])
    assert rows == [pair("a", "x", "y")] * 2
    assert intake.conversions["a prompt column that differs from both dialogues' own left out"].lines == [2]


def test_what_the_api_does_not_know_is_kept_for_evaluators_and_said(staged):
    intake, rows = staged([{"messages": [user("2 + 2?")], "ground_truth": "4"}])
    assert rows == [{"messages": [user("2 + 2?")], "ground_truth": "4"}]
    assert intake.conversions["fields the API does not know kept for evaluators"].n_rows == 1


def test_tools_may_stand_as_text_as_columns_of_one_type_have_them(staged):
    tools = [{"type": "function", "function": {"name": "look_up"}}]
    row = {"prompt": "a", "chosen": "b", "rejected": "c"}
    intake, rows = staged([row | {"tools": json.dumps(tools)}, row | {"tools": ""}])
    assert [found["input"].get("tools") for found in rows] == [tools, None]
    assert intake.conversions["tools read from text"].lines == [1]


DROPPED = {
    "more than one turn": {"messages": [user("a"), assistant("b"), user("c")]},
    "no user message": {"messages": [{"role": "system", "content": "Be brief."}]},
    "a system message after the first place": {"messages": [user("a"), {"role": "system", "content": "b"}]},
    "empty prompt": {"messages": [user("  ")]},
    "empty answer": pair(chosen=" "),
    "chosen equals rejected": pair(chosen="Same.", rejected="Same. "),
    "more than one answer message": PAIR | {"preferred_output": [assistant("a"), assistant("b")]},
    "an answer is not the assistant's": PAIR | {"preferred_output": [user("a")]},
    "the two prompts differ": {"chosen": [user("a"), assistant("x")], "rejected": [user("b"), assistant("y")]},
    "no prompt": {"chosen": "The sky is blue.", "rejected": "A sky is green."},
    "tool calls": {"messages": [user("a"), {"role": "assistant", "content": None, "tool_calls": [{}]}]},
    "content that is not text": {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]},
    "NUL character in a text": pair(chosen="a\0b"),
}


@pytest.mark.parametrize(("rule", "row"), DROPPED.items(), ids=DROPPED)
def test_a_row_of_no_use_is_dropped_under_its_rule(staged, rule, row):
    good = PAIR if "messages" not in row else {"messages": [user("A prompt.")]}
    intake, rows = staged([good, row, good])
    assert rows == [good, good]
    assert {kind: (count.n_rows, count.lines) for kind, count in intake.drops.items()} == {rule: (1, [2])}


def test_messages_of_one_side_in_a_row_are_joined(staged):
    assert staged([{"messages": [user("a"), user("b")]}])[1] == [{"messages": [user("a\n\nb")]}]


FAULTY = {
    b'{"messages": [{"role": "user", "content": "cut': "2, row: broken JSON; found unexpected end of data",
    b"[1, 2]": "2, row: not an object; found [1, 2], wanted a JSON object",
    b'{"text": "a"}': "2, row: unknown shape; found the fields ['text'], wanted Format A",
    b'{"messages": "a"}': "2, messages: wrong type; found 'a', wanted a list of messages",
    b'{"messages": []}': "2, messages: empty list",
    b'{"messages": [{"content": "a"}]}': "2, messages[0].role: missing; found the fields ['content']",
    b'{"messages": [{"role": "narrator", "content": "a"}]}': "2, messages[0].role: unknown role; found 'narrator'",
    b'{"messages": [{"role": "user", "content": 7}]}': "2, messages[0].content: wrong type; found 7, wanted text",
    b'{"messages": [{"role": "user"}]}': "2, messages[0].content: missing; found nothing, wanted text",
    b'{"prompt": "a", "chosen": "b"}': "2, rejected: missing; found nothing, wanted an answer, as there",
    b'{"input": "a", "preferred_output": []}': "2, input: not an object; found 'a', wanted an object with messages",
    b'{"messages": [{"role": "user", "content": "\\ud800"}]}': "2, row: lone surrogate",
    b'{"messages": [{"role": "user", "content": "\xed\xa0\x80"}]}': "2, row: lone surrogate",
    b'{"messages": [{"role": "user", "content": "caf\xe9"}]}': "2, row: not UTF-8; found byte 0xe9 at position 46",
    b'{"messages": [{"role": "user", "content": "a\x00"}]}': "2, row: NUL bytes; found 1 NUL bytes",
    b'{"messages": [{"role": "user", "content": NaN}]}': "2, row: broken JSON",
    b"[" * 5000: "2, row: broken JSON",
    b'{"messages": [{"role": "user", "content": "a", "content": "b"}]}': "2, content: given twice; found it 2 times",
    b'{"prompt": "a", "prompt": "b"}': "2, prompt: given twice",
    b'{"id": {"k": 1, "k": 2}, "prompt": "\\u0022"}': "2, k: given twice",
    b'{"prompt": "a", "tools": "[", "chosen": "b", "rejected": "c"}': "2, tools: broken JSON; found '['",
    b'{"prompt": "a"}\r{"prompt": "b"}': "2, row: lines end in CR alone",
    b'{"prompt": "a", "id": ' + b"1" * 5000 + b"}": "2, row: broken JSON; found number is infinity",
}


@pytest.mark.parametrize(("line", "said"), FAULTY.items(), ids=range(len(FAULTY)))
def test_a_fault_has_its_line_its_field_what_was_found_and_what_is_wanted(refused, line, said):
    good = orjson.dumps({"messages": [user("A prompt.")]})
    assert f"line {said}" in refused(good + b"\n" + line + b"\n" + good + b"\n")


def test_a_fault_does_not_quote_a_secret(refused):
    key = "ghp_" + "wWPw5k4aXcaT4fNP0UcnZwJUVFk6LO0pINUx"
    said = refused(orjson.dumps({"messages": f"my token is {key}"}))
    assert "found text that is not shown, since it holds: GitHub Token, wanted a list of messages" in said


def test_all_faults_are_found_in_one_pass_and_the_first_20_shown(refused):
    said = refused([PAIR, *[{"text": i} for i in range(30)], PAIR, {"messages": 1}])
    assert said.startswith("data.jsonl has 31 faulty rows of 33:")
    assert said.count("unknown shape; found") == 20
    assert said.endswith("... and 11 more. All by kind:\n  30 × unknown shape\n  1 × wrong type")


def test_a_mixed_file_is_refused_with_the_place_of_the_first_of_the_few(refused):
    said = refused([PAIR, PAIR, {"messages": [user("a")]}, PAIR, {"messages": [user("b")]}])
    assert "3 rows are pairs (Format A) and 2 are prompts without pairs (Format B)" in said
    assert "the first of these on line 3" in said


def test_inspect_gives_the_faults_and_writes_nothing(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(orjson.dumps(PAIR) + b"\n{}\n")
    intake = inspect(tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    assert (intake.n_read, intake.n_rows, intake.n_faults) == (2, 1, 1)
    assert list(tmp_path.iterdir()) == [tmp_path / "a.jsonl"]


def test_a_file_that_was_staged_before_survives_a_bad_one(tmp_path):
    target = tmp_path / "b.jsonl"
    (tmp_path / "a.jsonl").write_bytes(orjson.dumps(PAIR))
    stage(tmp_path / "a.jsonl", target)
    (tmp_path / "a.jsonl").write_bytes(b"{}")
    with pytest.raises(BadDataset):
        stage(tmp_path / "a.jsonl", target)
    assert orjson.loads(target.read_bytes()) == PAIR


# How files are packed and damaged


def lines(n=5):
    return b"".join(orjson.dumps(pair(prompt=f"Prompt {i}?")) + b"\n" for i in range(n))


def test_byte_order_mark_crlf_blank_lines_and_a_missing_last_newline_are_no_faults(staged):
    data = b"\xef\xbb\xbf" + lines().replace(b"\n", b"\r\n\r\n").rstrip()
    intake, rows = staged(data)
    assert (intake.n_rows, intake.n_faults) == (5, 0)
    assert rows[4] == pair(prompt="Prompt 4?")


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("a.jsonl.gz", gzip.compress),
        ("a.jsonl.zst", zstandard.compress),
        ("named-for-nothing", zstandard.compress),
        ("two-frames.zst", lambda data: zstandard.compress(data[:100]) + zstandard.compress(data[100:])),
        ("two-members.gz", lambda data: gzip.compress(data[:100]) + gzip.compress(data[100:])),
    ],
)
def test_packed_files_are_unpacked_by_their_first_bytes(staged, name, pack):
    assert staged(pack(lines()), name)[1] == staged(lines())[1]


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst"])
def test_a_packed_file_that_was_cut_short_is_refused(refused, name):
    pack = gzip.compress if name.endswith("gz") else zstandard.compress
    assert f"{name} is damaged or cut short" in refused(pack(lines(5000))[:-20], name)


def test_a_json_array_is_read_element_by_element(staged):
    rows = [pair(prompt=f"Prompt {i}?") for i in range(3)]
    assert staged(json.dumps(rows, indent=2).encode(), "a.json")[1] == rows
    assert staged(json.dumps(rows).encode(), "a.json")[1] == rows


def test_an_array_has_its_faults_by_row(refused):
    rows = [pair(prompt=f"Prompt {i}?") for i in range(3)]
    assert "row 3, row: broken JSON; found the array does not end" in refused(json.dumps(rows)[:-1].encode() + b",")
    assert "row 2, row: broken JSON" in refused(json.dumps([PAIR]).encode()[:-1] + b', {"messages": ]')
    assert "row 1, row: not UTF-8" in refused(b'[{"messages": [{"role": "user", "content": "caf\xe9"}]}]')
    assert "row 1, row: not UTF-8" in refused(b'[{"messages": [{"role": "user", "content": "\\ud800"}]}]')
    assert "has no row that can be used" in refused(b"[]")


BROKEN_ARRAYS = {  # what stands for the second row, and what is said of it; the third is looked at in any case
    b'{"prompt": "p",}': "row 2, row: broken JSON; found Expecting property name",
    b"{'prompt': 'p'}": "row 2, row: broken JSON; found Expecting property name",
    b'{"prompt": "p", "id": NaN}': "row 2, row: broken JSON; found NaN, wanted a number or null",
    b'{"prompt": "p", "id": 1e999}': "row 2, row: broken JSON; found 1e999, wanted a number",
    b'{"prompt": "p", "id": ' + b"1" * 5000 + b"}": "row 2, row: broken JSON; found a number of thousands of digits",
    b'{"prompt": "p", "prompt": "q"}': "row 2, prompt: given twice",
    b'{"\\ud800": 1, "\\ud800": 2}': "row 2, '\\ud800': given twice; found it 2 times, wanted each name once",
    b'{"id": ' + b"[" * 5000 + b"]" * 5000 + b"}": "row 2, row: broken JSON; found brackets within brackets",
    b'{"prompt": "' + b"x" * MAX_ROW_BYTES + b'"}': "row 2, row: row too long; found 8,388,",
    b'{"prompt": "' + b"\\\\" * 600_000 + b'", "\\"]}": 1, }': "row 2, row: broken JSON",
    b"": "row 2, row: broken JSON; found Expecting value",
    b"oops": "row 2, row: broken JSON; found Expecting value near",
}


@pytest.mark.parametrize(("row", "said"), BROKEN_ARRAYS.items(), ids=range(len(BROKEN_ARRAYS)))
def test_a_broken_element_does_not_hide_what_is_wrong_after_it(refused, row, said):
    found = refused(b"[" + b", ".join([orjson.dumps(PAIR), row, b'{"text": 1}']) + b"]")
    assert "has 2 faulty rows of 3" in found
    assert said in found
    assert "row 3, row: unknown shape; found the fields ['text']" in found


@pytest.mark.parametrize("size", range(1, 8))
def test_wherever_what_is_read_of_an_array_ends_it_is_the_same(size):
    class Trickle(io.BytesIO):
        def read(self, n=-1):
            return super().read(min(n, size))

    first = '{"a": "é\\u00e9\\\\\\"", "b": [true, null, -1.5e3, {}]}'
    whole = f'[{first} ,\n{{"c": "日本"}}, [1], {{"d": "\\ud83d\\ude42"}}]'.encode()
    assert list(read_json_array(Trickle(whole), 1000)) == list(enumerate(json.loads(whole), 1))
    cut = list(read_json_array(Trickle(whole[:-12]), 1000))
    assert [number for number, _ in cut] == [1, 2, 3, 4]
    assert "the file ends within it" in str(cut[3][1])


def test_what_stands_between_and_after_the_elements_is_read_too(refused):
    one = orjson.dumps(PAIR)
    assert "row 1, row: broken JSON; found '[' after the array's end" in refused(b"[" + one + b"]\n[" + one + b"]")
    assert "row 1, row: broken JSON; found no comma after it" in refused(b"[" + one + b" " + one + b"]")
    assert "row 1, row: broken JSON; found a comma between it and the array's end" in refused(b"[" + one + b",]")
    cut = refused(b"[" + one + b', {"prompt": "abc')
    assert "1 faulty rows of 2" in cut
    assert (
        'row 2, row: broken JSON; found Unterminated string starting at near \'{"prompt": "abc\'; the file ends' in cut
    )


def test_an_array_longer_than_what_is_held_of_it_is_read_whole(staged):
    rows = [pair(prompt=f"Prompt {i}: {'é' * 300_000}?") for i in range(12)]
    assert staged(json.dumps(rows, ensure_ascii=False).encode(), "a.json")[0].n_rows == 12


def test_csv_cells_may_hold_messages_line_breaks_and_delimiters(tmp_path):
    rows = [
        {"prompt": 'Say "hi",\nnow', "chosen": "hi", "rejected": "no; never", "id": "1"},
        {"prompt": "b", "chosen": json.dumps([assistant("x")]), "rejected": str([assistant("y")]), "id": "2"},
    ]
    with (tmp_path / "a.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    intake = stage(tmp_path / "a.csv", tmp_path / "b.jsonl")
    assert [orjson.loads(line) for line in (tmp_path / "b.jsonl").read_bytes().splitlines()] == [
        pair('Say "hi",\nnow', "hi", "no; never") | {"id": "1"},
        pair("b", "x", "y") | {"id": "2"},
    ]
    assert intake.conversions["chosen and rejected text put into messages"].lines == [2]


def test_spaces_after_the_delimiters_of_csv_are_no_part_of_names_and_cells(staged):
    assert staged(b'prompt, chosen, rejected\np, "a, b", c\n', "a.csv")[1] == [pair("p", "a, b", "c")]


def test_a_text_that_only_looks_like_json_stays_a_text(staged):
    answers = [{"prompt": "p", "chosen": '[{"a": 1}]', "rejected": "[{x"}]
    assert staged(answers)[1] == [pair("p", '[{"a": 1}]', "[{x")]


def test_csv_faults_have_the_line_they_start_on(refused):
    said = refused(b'prompt,chosen,rejected\n"a\nb",x,y\na,x\nb,"[{1","z"\nc,d,"e', "a.csv")
    assert "line 4, row: wrong number of cells; found 2, wanted 3" in said
    assert "line 5, chosen: broken JSON; found a cell that starts with '[{1', wanted JSON" in said
    assert "line 6, row: broken CSV; found unexpected end of data" in said


def test_a_broken_line_of_csv_does_not_hide_what_is_wrong_after_it(refused):
    long = b"x" * (MAX_ROW_BYTES + 1)
    said = refused(b'prompt,chosen,rejected\n"a"b,x,y\nc,d,e\n' + long + b",f,g\nh,i", "a.csv")
    assert "3 faulty rows of 4" in said
    assert "line 2, row: broken CSV; found ',' expected after '\"'" in said
    assert f"line 4, row: row too long; found {MAX_ROW_BYTES + 6:,} bytes" in said
    assert "line 5, row: wrong number of cells; found 2, wanted 3" in said


def test_parquet_is_read_in_batches_with_row_numbers(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = [{"prompt": f"p{i}", "chosen": [assistant("a")], "rejected": [assistant("b")]} for i in range(300)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    intake = stage(tmp_path / "a.parquet", tmp_path / "b.jsonl")
    assert (intake.n_rows, intake.unit) == (300, "row")
    assert orjson.loads((tmp_path / "b.jsonl").read_bytes().splitlines()[299]) == pair("p299", "a", "b")
    row = {"prompt": b"p", "chosen": b"a", "rejected": b"b", "picture": b"\xff", "price": Decimal("1.5")}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "c.parquet")
    stage(tmp_path / "c.parquet", tmp_path / "d.jsonl")
    beside = {"picture": "1 bytes that are no text", "price": 1.5}
    assert orjson.loads((tmp_path / "d.jsonl").read_bytes()) == pair("p", "a", "b") | beside
    (tmp_path / "a.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-100])
    with pytest.raises(BadDataset, match=r"a\.parquet: a damaged Parquet file"):
        stage(tmp_path / "a.parquet", tmp_path / "b.jsonl")


NOT_DATA = {
    b"": "is empty",
    b" \n \n": "has only white space",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n": "is a Git LFS pointer",
    b"<!DOCTYPE html>\n<html><body>Not found</body></html>": "is a web page",
    b"\n<HTML>": "is a web page",
    b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>': "is XML",
    "[]".encode("utf-16"): "is UTF-16 text",
    '{"messages": []}'.encode("utf-16-le"): "is UTF-16 text",
    '{"messages": []}'.encode("utf-16-be"): "is UTF-16 text",
    '{"messages": []}'.encode("utf-32"): "is UTF-32 text",
    b"<!-- 404 -->\n<body>": "is XML or HTML",
    b"a.jsonl" + bytes(250) + b"ustar\x0000": "is a tar archive",
    b"\x89PNG\r\n\x1a\n": "is a picture",
    bytes(5000): "starts with 4,096 zero bytes",
    gzip.compress(b""): "has nothing inside",
    gzip.compress(gzip.compress(b"{}")): "is packed twice",
    b'{\n  "messages": []\n}\n': "has JSON objects over several lines",
    b"PK\x03\x04rest of a zip": "is a zip archive",
    b"BZh9rest": "is a bzip2 file",
}


@pytest.mark.parametrize(("data", "said"), NOT_DATA.items(), ids=NOT_DATA.values())
def test_a_file_that_is_something_else_is_named_for_what_it_is(refused, data, said):
    assert f"data.jsonl {said}" in refused(data)


@pytest.mark.parametrize("name", ["a.gz", "a.zst", "a.parquet"])
def test_a_name_that_promises_a_packing_is_held_to_it(refused, name):
    assert f"{name} is named .{name[2:]} and starts with b'{{" in refused(lines(), name)
    assert f"{name} is a Git LFS pointer" in refused(b"version https://git-lfs.github.com/spec/v1\noid", name)


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path):
    with pytest.raises(BadDataset, match="nothing-here does not exist"):
        stage(tmp_path / "nothing-here", tmp_path / "b.jsonl")
    with pytest.raises(BadDataset, match="is a folder"):
        stage(tmp_path, tmp_path / "b.jsonl")
    with pytest.raises(BadDataset, match="File name too long"):
        stage(tmp_path / ("x" * 300), tmp_path / "b.jsonl")
    with pytest.raises(BadDataset, match="is no file but a device"):
        stage(Path("/dev/null"), tmp_path / "b.jsonl")


def test_a_name_is_the_platforms_where_the_platform_may_have_it_and_no_file_is_called_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for name in ("prefs", "accounts/me/datasets/prefs"):
        assert not is_local(name)
    for name in ("prefs.jsonl", "data/prefs", "Prefs", "", "x" * 300, "folder"):
        assert is_local(name)
        with pytest.raises(BadDataset, match=r"there is no file|folder is a folder; name one file in it"):
            local_file(name)


def test_a_line_of_50_mb_is_a_fault_and_not_held(refused):
    huge = orjson.dumps(pair(prompt="x" * 50_000_000))
    said = refused(lines(1) + huge + b"\n" + lines(1) + b"{}\n")
    assert f"line 2, row: row too long; found {len(huge) + 1:,} bytes, wanted at most {MAX_ROW_BYTES:,} bytes" in said
    assert "line 4, row: unknown shape" in said
