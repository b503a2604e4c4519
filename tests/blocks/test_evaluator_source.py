"""What is read from a source before anything of it runs."""

import os
from pathlib import Path

import pytest

from blocks.evaluator_source import copy_source, inspect_source
from blocks.evaluator_tree import EvaluatorError
from preference.wire import CodeSnippets, Criterion, Evaluator

CODE = "def evaluate(messages, **kwargs):\n    return 1.0\n"


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_a_source_is_described_without_running_it(tmp_path):
    write(tmp_path, {"main.py": "raise SystemExit\n" + CODE, "requirements.txt": "numpy>=2\n# why\n\nscipy # more\n"})
    source = inspect_source(tmp_path, Evaluator(name="accounts/a/evaluators/mine", entry_point="main.py::evaluate"))
    assert (source.name, source.entry_point) == ("mine", "main.py::evaluate")
    assert source.requirements == ("numpy>=2", "scipy")
    assert source.n_files == 2
    assert source.n_bytes == sum((tmp_path / name).stat().st_size for name in ("main.py", "requirements.txt"))


def test_the_archives_own_root_folder_is_found(tmp_path):
    write(tmp_path / "project", {"main.py": CODE, "requirements.txt": ""})
    assert inspect_source(tmp_path).folder == (tmp_path / "project").resolve()


@pytest.mark.parametrize(
    ("text", "path", "function"),
    [
        ("tests/test_it.py::test_quality", "tests/test_it.py", "test_quality"),
        ("tests.test_it::test_quality", "tests/test_it.py", "test_quality"),
        ("tests/test_it.py::test_quality[model-0]", "tests/test_it.py", "test_quality"),
        ("package::evaluate", "package/__init__.py", "evaluate"),
    ],
)
def test_entry_points_in_both_forms(tmp_path, text, path, function):
    write(tmp_path, {"tests/test_it.py": "def test_quality(row):\n    return row\n", "package/__init__.py": CODE})
    entry = inspect_source(tmp_path, Evaluator(entry_point=text)).entry_points[0]
    assert (entry.path, entry.function) == (path, function)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("main.py", "not of the form"),
        ("other.py::evaluate", "names other.py, which the source does not have"),
        ("../main.py::evaluate", "does not have"),
        ("/etc/x.py::evaluate", "does not have"),
        ("main.py::grade", "names grade, which main.py does not define"),
    ],
)
def test_entry_points_that_lead_nowhere_are_named(tmp_path, text, error):
    write(tmp_path, {"main.py": CODE})
    with pytest.raises(EvaluatorError, match=error):
        inspect_source(tmp_path, Evaluator(entry_point=text))


def test_the_only_candidate_needs_no_entry_point_and_two_are_listed(tmp_path):
    decorated = (
        "from eval_protocol.pytest import evaluation_test\n\n\n@evaluation_test()\ndef test_a(row):\n    return row\n"
    )
    write(tmp_path, {"test_a.py": decorated})
    assert inspect_source(tmp_path).entry_point == "test_a.py::test_a"
    write(tmp_path, {"main.py": CODE})
    with pytest.raises(EvaluatorError, match=r"found: main.py::evaluate, test_a.py::test_a"):
        inspect_source(tmp_path)


@pytest.mark.parametrize(
    ("code", "mode"),
    [
        (CODE, "pointwise"),
        ("def evaluate(row):\n    return row\n", "pointwise"),
        ("def evaluate(rows):\n    return rows\n", "all"),
        ("def evaluate(rollouts_messages, **kwargs):\n    return []\n", "all"),
        ("@reward_function(mode='batch')\ndef evaluate(rollouts_messages, **kwargs):\n    return []\n", "all"),
        ("@evaluation_test(mode='groupwise')\nasync def evaluate(rows):\n    return rows\n", "groupwise"),
        ("@evaluation_test(mode='all')\ndef evaluate(rows):\n    return rows\n", "all"),
    ],
)
def test_what_it_wants_in_one_run_is_read_from_its_source(tmp_path, code, mode):
    write(tmp_path, {"main.py": code})
    assert inspect_source(tmp_path).mode == mode


def test_the_library_that_code_imports_is_a_requirement_unless_it_is_said_or_brought(tmp_path):
    write(tmp_path, {"main.py": "from eval_protocol.models import EvaluateResult\n" + CODE})
    assert inspect_source(tmp_path).requirements == ("eval-protocol",)
    for said in ("eval_protocol==0.3.33", "eval-protocol[all]>=0.3", "git+https://host/eval-protocol.git"):
        write(tmp_path, {"requirements.txt": said + "\n"})
        assert inspect_source(tmp_path).requirements == (said,)
    write(tmp_path, {"requirements.txt": "", "eval_protocol/__init__.py": ""})
    assert inspect_source(tmp_path).requirements == ()


def test_requirements_of_the_evaluator_and_of_included_files_count_too(tmp_path):
    write(tmp_path, {"main.py": CODE, "requirements.txt": "-r more/base.txt\nscipy\n", "more/base.txt": "numpy\n"})
    assert inspect_source(tmp_path, Evaluator(requirements="rich\nscipy")).requirements == ("numpy", "scipy", "rich")
    write(tmp_path, {"requirements.txt": "-r ../outside.txt\n"})
    with pytest.raises(EvaluatorError, match=r"outside.txt, which the source does not have"):
        inspect_source(tmp_path)


def test_the_hash_is_of_everything_that_decides_what_runs(tmp_path):
    def digest(**fields):
        return inspect_source(tmp_path, Evaluator(**fields)).sha256

    write(tmp_path, {"main.py": CODE + "\n\ndef other(messages):\n    return 0.0\n", "data.txt": "1"})
    first = digest(entry_point="main.py::evaluate")
    assert digest(entry_point="main.py::evaluate") == first
    assert digest(entry_point="main.py::other") != first
    assert digest(entry_point="main.py::evaluate", requirements="numpy") != first
    write(tmp_path, {"data.txt": "2"})
    assert digest(entry_point="main.py::evaluate") != first
    write(tmp_path, {"data.txt": "1", "__pycache__/main.pyc": "x", ".git/HEAD": "y"})
    assert digest(entry_point="main.py::evaluate") == first
    (tmp_path / "data.txt").rename(tmp_path / "data2.txt")
    assert digest(entry_point="main.py::evaluate") != first


def test_links_out_of_the_source_are_refused(tmp_path):
    write(tmp_path / "source", {"main.py": CODE})
    (tmp_path / "secret").write_text("s")
    os.symlink(tmp_path / "secret", tmp_path / "source" / "data")
    with pytest.raises(EvaluatorError, match="data is a link that leads out of the source"):
        inspect_source(tmp_path / "source")


def test_inline_criteria_are_not_written_through_a_link(tmp_path):
    outside = write(tmp_path / "outside", {"1/keep.txt": "kept"})
    source = tmp_path / "source"
    source.mkdir()
    os.symlink(outside, source / "inline_criteria")
    criterion = Criterion(name="c", code_snippets=CodeSnippets(file_contents={"main.py": CODE}))
    with pytest.raises(EvaluatorError, match="inline_criteria is a link that leads out"):
        inspect_source(source, Evaluator(criteria=[criterion]))
    assert os.listdir(outside / "1") == ["keep.txt"]


def test_what_changed_after_it_was_inspected_is_not_run(tmp_path):
    write(tmp_path / "source", {"main.py": CODE})
    source = inspect_source(tmp_path / "source")
    assert copy_source(source, tmp_path / "copy").sha256 == source.sha256
    write(tmp_path / "source", {"main.py": CODE + "# more\n"})
    with pytest.raises(EvaluatorError, match="has changed since it was inspected"):
        copy_source(source, tmp_path / "again")


@pytest.mark.parametrize(
    ("snippets", "error"),
    [
        ({"file_contents": {"../main.py": CODE}}, "a file outside of its folder"),
        ({"file_contents": {"/main.py": CODE}}, "a file outside of its folder"),
        ({"file_contents": {"main.js": "x"}, "language": "javascript"}, "only Python can be run"),
        ({"file_contents": {"main.py": "def evaluate(:"}}, "main.py is not valid Python"),
        ({"file_contents": {"main.py": CODE}, "entry_func": "grade"}, "names grade"),
    ],
)
def test_snippets_that_cannot_be_run_are_refused(tmp_path, snippets, error):
    criterion = Criterion(name="c", code_snippets=CodeSnippets(**snippets))
    with pytest.raises(EvaluatorError, match=error):
        inspect_source(tmp_path, Evaluator(criteria=[criterion]))
