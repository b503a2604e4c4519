"""Evaluators end to end: real sources in folders, run in the sandbox; what counts as a score and what does not."""

from pathlib import Path

import pytest

from blocks.evaluators import EvaluatorError, Limits, inspect_source, prepare, quality_gate, run
from preference.wire import Evaluator

QUICK = Limits(row_wall_s=20, import_wall_s=60, total_wall_s=120)


def source(folder: Path, code: str, *, entry_point: str | None = None, file: str = "main.py"):
    folder.mkdir(exist_ok=True)
    (folder / "requirements.txt").write_text("")
    (folder / file).write_text(code)
    return inspect_source(folder, Evaluator(name="accounts/local/evaluators/mine", entry_point=entry_point))


def row(completion: str, **fields):
    return {
        "messages": [{"role": "user", "content": "Say it."}, {"role": "assistant", "content": completion}],
        **fields,
    }


def test_a_plain_function_scores_each_row_by_its_last_message(tmp_path):
    mine = source(
        tmp_path / "s",
        "def evaluate(messages, **kwargs):\n"
        "    text = messages[-1]['content']\n"
        "    return {'score': len(text) / 10, 'reason': text, 'metrics': {'n': {'score': 0.5}}}\n",
    )
    scores = run(mine, [row("aaaaa"), row("a"), row("")], limits=QUICK, scratch=tmp_path)
    assert [s.score for s in scores] == [0.5, 0.1, 0.0]
    assert (scores[0].reason, scores[0].metrics, scores[0].error) == ("aaaaa", {"n": 0.5}, None)


def test_an_evaluator_is_told_to_upload_nothing(tmp_path):
    mine = source(
        tmp_path / "s",
        "import os\n"
        "def evaluate(messages, **kwargs):\n"
        "    return {'score': 1.0, 'reason': os.environ['EP_NO_UPLOAD']}\n",
    )
    assert run(mine, [row("a")], limits=QUICK, scratch=tmp_path)[0].reason == "1"


@pytest.mark.parametrize(
    ("returned", "error"),
    [
        ("float('nan')", "returned nan as a score"),
        ("float('inf')", "returned inf as a score"),
        ("1e308", "1e+308 is not between 0 and 1"),
        ("10 ** 400", "as a score"),
        ("-0.1", "-0.1 is not between 0 and 1"),
        ("'0.7'", "returned str '0.7' as a score"),
        ("None", "returned nothing"),
        ("{}", "a dict without a score, only"),
        ("{'score': None}", "returned NoneType None as a score"),
        ("{'score': '1'}", "returned str '1' as a score"),
        (
            "{'score': 1.0, 'is_score_valid': False, 'reason': 'no answer'}",
            "marked its score as invalid: no answer",
        ),
        ("{'score': 0.0, 'error': 'judge was away'}", "reported an error: judge was away"),
        ("1 / 0", "ZeroDivisionError: division by zero (main.py, line 2)"),
        ("__import__('sys').exit()", "SystemExit"),
        ("[1.0]", "returned list"),
    ],
)
def test_what_is_not_a_score_is_a_failure_with_its_reason(tmp_path, returned, error):
    mine = source(
        tmp_path / "s",
        f"def evaluate(messages, **kwargs):\n    return {returned} if messages[-1]['content'] == 'bad' else 0.25\n",
    )
    bad, good = run(mine, [row("bad"), row("good")], limits=QUICK, scratch=tmp_path)
    assert (good.score, good.error) == (0.25, None)
    assert bad.score is None
    assert error in bad.error


def test_an_evaluator_that_scores_nothing_is_one_error(tmp_path):
    mine = source(tmp_path / "s", "def evaluate(messages, **kwargs):\n    raise KeyError('answer')\n")
    with pytest.raises(EvaluatorError, match=r"mine scored none of 2 rows: KeyError: 'answer' \(main.py, line 2\)"):
        run(mine, [row("a"), row("b")], limits=QUICK, scratch=tmp_path)


def test_an_evaluator_that_cannot_be_loaded_says_why(tmp_path):
    mine = source(tmp_path / "s", "import no_such_library\n\n\ndef evaluate(messages, **kwargs):\n    return 1.0\n")
    with pytest.raises(EvaluatorError, match=r"cannot be loaded: ModuleNotFoundError.*no_such_library"):
        run(mine, [row("a")], limits=QUICK, scratch=tmp_path)


def test_a_row_that_hangs_is_lost_alone(tmp_path):
    mine = source(
        tmp_path / "s",
        "def evaluate(messages, **kwargs):\n"
        "    while messages[-1]['content'] == 'hang':\n        pass\n    return 1.0\n",
    )
    scores = run(mine, [row("hang"), row("b")], limits=Limits(row_wall_s=1), scratch=tmp_path)
    assert [s.score for s in scores] == [None, 1.0]
    assert scores[0].error == "the evaluator took longer than 1 s"


def test_no_requirements_need_no_environment(tmp_path):
    mine = source(tmp_path / "s", "def evaluate(messages, **kwargs):\n    return 1.0\n")
    assert prepare(mine, tmp_path / "cache") is None
    assert not (tmp_path / "cache").exists()


def test_our_own_packages_cannot_be_imported(tmp_path):
    mine = source(tmp_path / "s", "import pydantic\n\n\ndef evaluate(messages, **kwargs):\n    return 1.0\n")
    with pytest.raises(EvaluatorError, match=r"No module named 'pydantic'.*has to be in its requirements.txt"):
        run(mine, [row("a")], limits=QUICK, scratch=tmp_path)


def test_the_gate_names_constant_and_changing_scores(tmp_path):
    rows = [row("a"), row("b"), row("c")]
    constant = source(tmp_path / "s", "def evaluate(messages, **kwargs):\n    return 0.5\n")
    assert quality_gate(constant, rows, limits=QUICK, scratch=tmp_path) == [
        "all 3 rows have the same score, 0.5: it tells nothing apart"
    ]
    changing = source(
        tmp_path / "t", "import random\n\n\ndef evaluate(messages, **kwargs):\n    return random.random()\n"
    )
    faults = quality_gate(changing, rows, limits=QUICK, scratch=tmp_path)
    assert len(faults) == 1
    assert faults[0].startswith("3 of 3 rows came out differently when asked again")
    once = source(
        tmp_path / "v",
        "import random\n\n\ndef evaluate(messages, **kwargs):\n"
        "    if messages[-1]['content'] == 'b':\n        random.choice([])\n"
        "    return len(messages[-1]['content']) / 9\n",
    )
    assert quality_gate(once, [row("a"), row("b"), row("cc")], limits=QUICK, scratch=tmp_path) == [
        "1 of 3 rows have no score: IndexError: Cannot choose from an empty sequence (main.py, line 6)"
    ]
    good = source(
        tmp_path / "u",
        "def evaluate(messages, **kwargs):\n    return {'a': 0, 'b': 1}.get(messages[-1]['content'], 0.5)\n",
    )
    assert quality_gate(good, rows, limits=QUICK, scratch=tmp_path) == []
