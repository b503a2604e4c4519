"""Parts side by side give what one pass over the lines gives, whatever stands where a part ends."""

import io
import os

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preference.formats_faults import RowFault
from preference.formats_lines import find_parts, read_blocks
from preference.formats_parallel import _Crew, scan_file
from preference.formats_scan import FileSink, Scanner


def pair(prompt, chosen="a", rejected="b"):
    return orjson.dumps(
        {
            "input": {"messages": [{"role": "user", "content": prompt}]},
            "preferred_output": [{"role": "assistant", "content": chosen}],
            "non_preferred_output": [{"role": "assistant", "content": rejected}],
        }
    )


LINES = (
    pair("Plain."),
    pair('Escapes:\n\t"quoted"'),
    pair("Straße  Ä"),
    b' {"messages": [{"role": "user", "content": "spaces around"}]} ',
    orjson.dumps({"prompt": "converted", "chosen": "x", "rejected": "y", "id": 7}),
    pair("dropped", "same", "same"),
    b"{broken",
    b"",
    b"\r",
)


def one_pass(data):
    out = io.BytesIO()
    scanner = Scanner(FileSink(out))
    for lines in read_blocks(io.BytesIO(data), 1 << 20):
        scanner.take_lines(lines)
    return scanner.scan, out.getvalue()


def in_parts(folder, data, n_at_once, part_bytes):
    (folder / "data.jsonl").write_bytes(data)
    with (folder / "out.jsonl").open("wb") as out:
        out.write(b"before ")
        scan = scan_file(folder / "data.jsonl", out, n_at_once, part_bytes)
        out.write(b"after")
    return scan, (folder / "out.jsonl").read_bytes().removeprefix(b"before ").removesuffix(b"after")


@pytest.mark.parametrize("n_at_once", [1, 2, 3])
def test_parts_give_what_one_pass_gives(tmp_path, n_at_once):
    rows = [LINES[i * 7 % len(LINES)] if i % 5 == 0 else pair(f"Prompt {i}") for i in range(2000)]
    data = b"\n".join(rows)
    assert in_parts(tmp_path, data, n_at_once, 5000) == one_pass(data)


@settings(max_examples=150, deadline=None)
@given(
    lines=st.lists(st.sampled_from(LINES), max_size=30),
    end=st.sampled_from([b"", b"\n", b"\n\n"]),
    part_bytes=st.integers(1, 400),
    mark=st.booleans(),
)
def test_no_end_of_a_part_changes_anything(tmp_path_factory, lines, end, part_bytes, mark):
    folder = tmp_path_factory.getbasetemp()
    data = b"\n".join(lines) + end
    scan, written = in_parts(folder, (b"\xef\xbb\xbf" if mark and data else b"") + data, 1, part_bytes)
    assert (scan, written) == one_pass(data)


@settings(max_examples=200, deadline=None)
@given(data=st.lists(st.sampled_from([b"a", b"\n", b"bb" * 40])).map(b"".join), part_bytes=st.integers(1, 100))
def test_parts_are_whole_lines_and_leave_nothing_out(data, part_bytes):
    file = io.BytesIO(data)
    parts = list(find_parts(file, part_bytes))
    assert b"".join(data[start:end] for start, end in parts) == data
    assert all(data[end - 1 : end] == b"\n" for _, end in parts[:-1])
    for limit in (50, 10_000):
        read = []
        for start, end in parts:
            file.seek(start)
            for lines in read_blocks(file, limit, end - start):
                read += [lines] if isinstance(lines, RowFault) else lines.splitlines(keepends=True)
        expected = data.splitlines(keepends=True)
        assert len(read) == len(expected)
        assert all(isinstance(got, RowFault) or got == line for got, line in zip(read, expected, strict=True))
        assert [isinstance(got, RowFault) for got in read] == [
            len(line) > limit + line.endswith(b"\n") for line in expected
        ]


def test_a_process_that_dies_ends_the_reading_with_a_message(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_bytes(b"\n".join([orjson.dumps({"prompt": "x" * 1000, "chosen": "a", "rejected": "b"})] * 3000))
    with path.open("rb") as file:
        parts = list(find_parts(file, 20_000))

    def read_on():
        with _Crew(path, 1) as crew:
            results = crew.scan(parts)
            next(results)
            crew.processes[0].kill()
            return list(results)

    with pytest.raises(RuntimeError, match=r"a process that read a part of data\.jsonl ended"):
        read_on()


def test_a_ctrl_c_at_the_terminal_reaches_us_alone(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_bytes(pair("Plain."))
    with _Crew(path, 1) as crew:
        assert os.getpgid(crew.processes[0].pid) != os.getpgid(0)
    assert crew.processes[0].returncode is not None
