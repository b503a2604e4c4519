import sqlite3

import pytest

from blocks.answers import thinking_is_open
from blocks.journal import Answer, Journal
from preference.wire import Choice

OLD = """
create table answers (
  key text primary key, model text not null, messages text not null, parameters text not null,
  sample integer not null, text text not null, finish_reason text, prompt_tokens integer not null,
  completion_tokens integer not null, at text not null default '');
create table calls (id integer primary key, key text not null, state text not null);
insert into answers values ('k', 'm', '[]', '{}', 0, 'Oak.', 'stop', 3, 2, '');
"""


def test_a_journal_that_was_begun_without_prices_is_gone_on_with(tmp_path):
    with sqlite3.connect(tmp_path / "journal.db") as db:
        db.executescript(OLD)
    db.close()
    journal = Journal(tmp_path / "journal.db")
    assert journal.find("k") == Answer(text="Oak.", finish_reason="stop", prompt_tokens=3, completion_tokens=2)
    priced = Answer(text="Elm.", finish_reason="stop", prompt_tokens=3, completion_tokens=2, usd=0.25)
    journal.finish(journal.begin("l"), "l", "m", [], {}, priced)
    assert journal.find("l") == priced
    journal.close()


def test_a_batch_job_s_calls_are_announced_once_and_open_until_they_end(tmp_path):
    journal = Journal(tmp_path / "journal.db")
    journal.begin_batch("job-1", ["k", "l"])
    journal.begin_batch("job-1", ["k", "l"])  # after a kill in between
    assert journal.n_possibly_billed_twice() == 2
    calls = journal.open_calls("job-1")
    assert sorted(calls) == ["k", "l"]
    answer = Answer(text="Oak.", finish_reason="stop", prompt_tokens=3, completion_tokens=2)
    journal.finish(calls["k"], "k", "m", [], {}, answer)
    journal.fail(calls["l"], "Failed: the job expired")
    journal.begin_batch("job-1", ["k", "l"])  # nor once it is over
    assert journal.open_calls("job-1") == {}
    assert (journal.find("k"), journal.failure("l")) == (answer, "Failed: the job expired")
    assert journal.n_possibly_billed_twice() == 0
    journal.close()


def test_a_failed_call_keeps_its_last_reason(tmp_path):
    journal = Journal(tmp_path / "journal.db")
    assert journal.failure("k") is None
    journal.fail(journal.begin("k"), "Unavailable: busy")
    journal.fail(journal.begin("k"), "Refused: not that")
    assert journal.failure("k") == "Refused: not that"
    journal.close()


@pytest.mark.parametrize(
    ("text", "is_open"),
    [
        ("Oak.", False),
        ("<think>which tree</think>Oak.", False),
        ("which tree</think>Oak.", False),
        ("<think>which tr", True),
        ("<think>a</think>Oak.<think>or", True),
    ],
)
def test_thinking_that_does_not_end_is_told_from_an_empty_answer(text, is_open):
    choice = Choice.model_validate({"index": 0, "message": {"role": "assistant", "content": text}})
    assert thinking_is_open(choice) is is_open
