import copy
import json

import pytest

from local_server.rows import RowFault, check_examples, check_preference_rows, count_rows

ROW = {
    "input": {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]},
    "preferred_output": [{"role": "assistant", "content": "Because."}],
    "non_preferred_output": [{"role": "assistant", "content": [{"type": "text", "text": "Well, you see."}]}],
}
USER = {"role": "user", "content": "Why?"}
ASSISTANT = {"role": "assistant", "content": "So."}


def write(path, *rows):
    path.write_text("\n\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


def test_good_rows_are_counted_and_empty_lines_are_not(tmp_path):
    path = write(tmp_path / "rows.jsonl", ROW, ROW, ROW)
    assert check_preference_rows(path) == count_rows([path]) == 3


def test_two_rows_are_too_few(tmp_path):
    with pytest.raises(RowFault, match="2 rows; at least 3"):
        check_preference_rows(write(tmp_path / "rows.jsonl", ROW, ROW))


def changed(**changes):
    row = copy.deepcopy(ROW)
    for key, value in changes.items():
        target = row["input"] if key in ("messages", "tools") else row
        target[key] = value
    return row


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"messages": [USER]}, "input.messages must be"),
        (changed(messages=[]), "input.messages must be a non-empty list"),
        (changed(messages=[USER, ASSISTANT, USER]), r"input.messages\[1\] is an assistant turn; .* one-turn"),
        (changed(messages=[USER, USER]), "found user, user"),
        (changed(messages=[USER, {"role": "system", "content": "x"}]), "found user, system"),
        (changed(messages=[{"role": "tool", "content": "x"}]), r"role must be system, user or assistant, found 'tool'"),
        (changed(messages=[{"role": "user", "content": None}]), r"input.messages\[0\].content must be text"),
        (changed(messages=["Why?"]), r"input.messages\[0\] must be an object"),
        (changed(tools={}), "input.tools must be a list"),
        (changed(preferred_output=[]), "preferred_output must be a list of exactly one"),
        (changed(preferred_output="Because."), "preferred_output must be a list of exactly one"),
        (changed(non_preferred_output=[ASSISTANT, ASSISTANT]), "non_preferred_output must be a list of exactly one"),
        (changed(preferred_output=[USER]), r"preferred_output\[0\].role must be assistant, found user"),
        (
            changed(preferred_output=[{"role": "assistant", "content": " \n"}]),
            r"preferred_output\[0\].content is empty",
        ),
    ],
)
def test_a_bad_row_is_refused_with_its_line(tmp_path, row, said):
    with pytest.raises(RowFault, match=f"line 3: .*{said}"):
        check_preference_rows(write(tmp_path / "rows.jsonl", ROW, row, ROW))


@pytest.mark.parametrize(
    ("line", "said"), [("{", "not JSON"), ("[1]", "expected a JSON object, found list"), ('"a"', ".* found str")]
)
def test_a_line_that_is_no_object_is_refused(tmp_path, line, said):
    with pytest.raises(RowFault, match=f"rows.jsonl, line 3: {said}"):
        count_rows([write(tmp_path / "rows.jsonl", ROW, line)])


def test_a_line_that_is_not_utf8_is_refused(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": "\xff"}\n')
    with pytest.raises(RowFault, match="line 1: not UTF-8"):
        count_rows([path])


def test_a_row_counts_once_an_epoch_against_the_most_that_a_job_takes():
    check_examples(1_000_000, 3)
    with pytest.raises(RowFault, match="1000001 rows for 3 epochs are 3000003 examples; at most 3000000 are allowed"):
        check_examples(1_000_001, 3)
