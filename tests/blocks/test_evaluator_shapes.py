"""Evaluators of the shapes that people write, as they come from the platform: each runs by its entry point."""

import json
import os
from pathlib import Path

import pytest

from blocks.evaluators import EvaluatorError, Limits, inspect_source, prepare, quality_gate, run
from preference.wire import Evaluator

EVALUATORS = Path(__file__).with_name("evaluators")
LIMITS = Limits(total_wall_s=240)


def source(name: str, entry_point: str | None = None):
    return inspect_source(EVALUATORS / name, Evaluator(entry_point=entry_point))


def row(completion: str, **fields):
    return {
        "messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": completion}],
        **fields,
    }


def test_a_package_with_helpers_and_data(tmp_path):
    mine = source("word_budget", "quality.score::evaluate")
    assert mine.entry_point == "quality/score.py::evaluate"
    scores = run(mine, [row("It is blue."), row("It is just really blue.", budget=2)], limits=LIMITS, scratch=tmp_path)
    assert scores[0].score == 1.0
    assert scores[1].score == pytest.approx((2 / 5) * (3 / 5))
    assert scores[1].metrics == pytest.approx({"brevity": 0.4, "plain": 0.6})
    assert scores[1].reason == "5 words of 2"


def test_a_coroutine_that_runs_programs_from_completions(tmp_path):
    mine = source("python_answer", "reward.py::evaluate")
    cases = [{"call": "double(2)", "expected": 4}, {"call": "double(0)", "expected": 0}]
    right = "Here:\n```python\ndef double(x):\n    return 2 * x\n```"
    wrong = "```python\ndef double(x):\n    return x\n```"
    rows = [row(text, ground_truth=cases) for text in (right, wrong, "I cannot.")]
    scores = run(mine, rows, limits=LIMITS, scratch=tmp_path)
    assert [s.score for s in scores] == [1.0, 0.5, 0.0]
    assert [s.reason for s in scores] == ["2 of 2 cases", "1 of 2 cases", "no program"]


def test_a_batch_function_scores_all_rows_together(tmp_path):
    mine = source("ranked_replies", "batch.py::rank")
    scores = run(mine, [row("ab"), row("abcd"), row("")], limits=LIMITS, scratch=tmp_path)
    assert [s.score for s in scores] == [0.5, 1.0, 0.0]


def test_inline_criteria_are_averaged_and_kept_as_metrics(tmp_path):
    evaluator = Evaluator.parse(json.loads((EVALUATORS / "snippets.json").read_text()))
    mine = inspect_source(tmp_path, evaluator)
    assert mine.name == "two-criteria"
    assert mine.entry_point == "inline_criteria/1/main.py::evaluate, inline_criteria/2/main.py::score_entry"
    scores = run(mine, [row("Yes."), row("Yes, yes")], limits=LIMITS)
    assert [s.score for s in scores] == [1.0, 0.25]
    assert scores[1].metrics == {"ends-with-a-stop": 0.0, "few-commas": 0.5}
    assert scores[1].reason == "ends-with-a-stop: no stop; few-commas: 1 commas"
    assert inspect_source(tmp_path, evaluator).sha256 == mine.sha256


ROWS_FUNCTION = """
def evaluate(rows):
    assert len({row.input_metadata.row_id for row in rows}) == GROUP_OF
    best = max(len(row.messages[-1].content) for row in rows)
    for row in rows:
        row.evaluation_result = {"score": len(row["messages"][-1]["content"]) / best, "reason": str(len(rows))}
    return sorted(rows, key=lambda row: row.messages[-1].content)
"""


def test_a_group_is_the_rows_of_one_prompt(tmp_path):
    code = "GROUP_OF = 1\n" + ROWS_FUNCTION + "evaluate._metainfo = {'mode': 'groupwise'}\n"
    (tmp_path / "main.py").write_text(code)
    rows = [row(text, input_metadata={"row_id": name}) for text, name in (("aa", "p"), ("b", "q"), ("a", "p"))]
    scores = run(inspect_source(tmp_path), rows, limits=LIMITS)
    assert [(s.score, s.reason) for s in scores] == [(1.0, "2"), (1.0, "1"), (0.5, "2")]


def test_without_row_ids_a_group_is_what_has_the_same_messages_before_the_completion(tmp_path):
    code = "GROUP_OF = 1\n" + ROWS_FUNCTION.replace("row.input_metadata.row_id", "row.messages[0].content")
    (tmp_path / "main.py").write_text(code + "evaluate._metainfo = {'mode': 'groupwise'}\n")
    other = {"messages": [{"role": "user", "content": "else"}, {"role": "assistant", "content": "xxxx"}]}
    scores = run(inspect_source(tmp_path), [row("aa"), other, row("a")], limits=LIMITS)
    assert [s.score for s in scores] == [1.0, 1.0, 0.5]


def test_rows_without_a_mode_are_all_rows(tmp_path):
    (tmp_path / "main.py").write_text("GROUP_OF = 2\n" + ROWS_FUNCTION)
    rows = [row(text, input_metadata={"row_id": name}) for text, name in (("aa", "p"), ("bbbb", "q"), ("a", "p"))]
    assert [s.score for s in run(inspect_source(tmp_path), rows, limits=LIMITS)] == [0.5, 1.0, 0.25]


def test_a_set_that_loses_rows_fails_as_a_whole(tmp_path):
    (tmp_path / "main.py").write_text("def evaluate(rows):\n    return rows[1:]\n")
    with pytest.raises(EvaluatorError, match="3 rows went in, and 2 came back"):
        run(inspect_source(tmp_path), [row("a"), row("b"), row("c")], limits=LIMITS)


def test_a_function_whose_field_is_missing_names_it(tmp_path):
    (tmp_path / "main.py").write_text("def evaluate(messages, rubric):\n    return 1.0\n")
    with pytest.raises(EvaluatorError, match="TypeError: it needs rubric, and a row has only messages"):
        run(inspect_source(tmp_path), [row("a")], limits=LIMITS)


def test_the_gate_finds_nothing_in_a_good_one():
    mine = source("word_budget", "quality/score.py::evaluate")
    assert quality_gate(mine, [row("short"), row("word " * 30), row("really")], limits=LIMITS) == []


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    """eval-protocol, installed as an evaluator's own requirements say: minutes, and half a gigabyte."""
    mine = source("json_shape", "test_json_shape.py::test_json_shape")
    cache = tmp_path_factory.mktemp("cache")
    environment = prepare(mine, cache)
    assert prepare(mine, cache) == environment
    return environment


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_eval_protocols_own_functions_run_with_eval_protocol_itself(library, tmp_path):
    pointwise = source("json_shape", "test_json_shape.py::test_json_shape")
    rows = [
        row('{"city": "Rom"}', ground_truth=["city", "country"]),
        row("Rom", ground_truth=["city", "country"]),
    ]
    scores = run(pointwise, rows, limits=LIMITS, scratch=tmp_path, environment=library)
    assert [s.score for s in scores] == [0.75, 0.0]
    assert scores[0].metrics == {"fields": 0.5}
    assert scores[1].reason.startswith("no JSON")

    rows = [row(text, input_metadata={"row_id": name}) for text, name in (("aaa", "p"), ("b", "q"), ("a", "p"))]
    groupwise = source("pairwise_rank", "test_rank.py::test_shortest_wins")
    scores = run(groupwise, rows, limits=LIMITS, scratch=tmp_path, environment=library)
    assert [s.score for s in scores] == [0.5, 1.0, 1.0]
    together = source("pairwise_rank", "test_rank.py::test_share_of_all")
    scores = run(together, rows, limits=LIMITS, scratch=tmp_path, environment=library)
    assert [s.score for s in scores] == [0.6, 0.2, 0.2]

    legacy = source("judged_tone", "main.py::tone")
    assert legacy.requirements == ("eval-protocol",)
    rows = [row("Thank you!", ground_truth="kind"), row("No.", ground_truth="kind")]
    scores = run(legacy, rows, limits=LIMITS, scratch=tmp_path, environment=library)
    assert [s.score for s in scores] == [1.0, 0.0]


def test_requirements_without_an_environment_are_asked_for():
    with pytest.raises(EvaluatorError, match=r"json_shape has requirements.*call prepare\(\) first"):
        run(source("json_shape", "test_json_shape.py::test_json_shape"), [row("a")], limits=LIMITS)


def test_a_requirement_that_cannot_be_had_is_named(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "main.py").write_text("def evaluate(messages):\n    return 1.0\n")
    (folder / "requirements.txt").write_text("--no-index\n--find-links nowhere\nno-such-distribution==1.0\n")
    with pytest.raises(EvaluatorError, match=r"cannot be installed: ERROR.*no-such-distribution==1.0"):
        prepare(inspect_source(folder), tmp_path / "cache")
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


BACKEND = """
import os, zipfile

def attempt(act):
    try:
        return repr(act())
    except OSError as error:
        return type(error).__name__

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    found = [
        attempt(lambda: open(SECRET).read()),
        attempt(lambda: open(SECRET + ".new", "w")),
        "a key" if any(key.startswith("FIREWORKS") for key in os.environ) else "no key",
    ]
    with zipfile.ZipFile(os.path.join(wheel_directory, "tinyscore-1.0-py3-none-any.whl"), "w") as file:
        file.writestr("tinyscore.py", f"FOUND = {found}\\ndef score(text):\\n    return len(text) / 10\\n")
        info = "tinyscore-1.0.dist-info"
        file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: tinyscore\\nVersion: 1.0\\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        file.writestr(f"{info}/RECORD", "")
    return "tinyscore-1.0-py3-none-any.whl"
"""


def test_a_requirement_is_built_and_installed_once_within_the_sandbox(tmp_path, monkeypatch):
    """A package that the source brings along, so that no index is asked; its build code looks for what is not its."""
    monkeypatch.setenv("FIREWORKS_API_KEY", "fw_secret")
    secret = tmp_path / "journal.txt"
    secret.write_text("another run's answers")
    folder = tmp_path / "source"
    (folder / "tiny").mkdir(parents=True)
    (folder / "tiny" / "backend.py").write_text(f"SECRET = {str(secret)!r}\n" + BACKEND)
    (folder / "tiny" / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "tinyscore"\nversion = "1.0"\n'
    )
    (folder / "requirements.txt").write_text("--no-index\n./tiny\n")
    (folder / "main.py").write_text(
        "import sys\nimport tinyscore\n\n\ndef evaluate(messages):\n"
        "    ours = [m for m in sys.modules if m.split('.')[0] in ('pydantic', 'prefect', 'blocks')]\n"
        "    score = tinyscore.score(messages[-1]['content'])\n"
        "    return {'score': score, 'reason': ', '.join(tinyscore.FOUND + ours)}\n"
    )
    mine = inspect_source(folder)
    environment = prepare(mine, tmp_path / "cache")
    made = environment.with_suffix(".done").stat().st_mtime_ns
    assert prepare(mine, tmp_path / "cache") == environment
    assert environment.with_suffix(".done").stat().st_mtime_ns == made
    assert environment.stat().st_uid == os.geteuid()
    assert not (environment / "tmp").exists()
    scores = run(mine, [row("abcde")], limits=LIMITS, scratch=tmp_path, environment=environment)
    assert scores[0].score == 0.5
    unread, unwritten, key = scores[0].reason.split(", ")
    assert unread in ("FileNotFoundError", "PermissionError")
    assert unwritten.endswith("Error")
    assert key == "no key"
    assert not Path(f"{secret}.new").exists()
