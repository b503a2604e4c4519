import multiprocessing
import threading
from pathlib import Path

import pytest

from blocks.journal import Answer, Journal, answer_key
from blocks.workspace import SessionBusy, Workspace
from preference.settings_sweep import Grid

SESSION = "1779157376-41e1"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(SESSION, tmp_path)


def test_a_session_id_cannot_name_a_path(tmp_path):
    with pytest.raises(ValueError, match="is not a session ID"):
        Workspace("../elsewhere", tmp_path)


def test_what_was_written_is_read_back(workspace):
    workspace.write("plan/grid.json", Grid(betas=[0.2]))
    assert workspace.read("plan/grid.json", Grid) == Grid(betas=[0.2])
    assert workspace.read("plan/other.json", Grid) is None


def test_a_file_appears_whole_or_not_at_all(workspace):
    workspace.write_text("report.md", "first")
    with pytest.raises(UnicodeEncodeError):
        workspace.write_text("report.md", "half \ud800 written")
    assert workspace.path("report.md").read_text() == "first"
    assert [p.name for p in workspace.folder.iterdir()] == ["report.md"]


def test_a_line_that_a_crash_cut_short_is_left_out(workspace):
    workspace.append("approvals.jsonl", {"gate": "plan"})
    with workspace.path("approvals.jsonl").open("a") as file:
        file.write('{"gate": "compa')
    assert [line["gate"] for line in workspace.lines("approvals.jsonl")] == ["plan"]


def _hold(home: Path, held, done) -> None:
    with Workspace(SESSION, home).lock():
        held.set()
        done.wait(30)


def test_two_processes_cannot_work_on_one_session(workspace, tmp_path):
    context = multiprocessing.get_context("spawn")
    held, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path, held, done))
    other.start()
    assert held.wait(30)
    with pytest.raises(SessionBusy, match="is being worked on by another process"), workspace.lock():
        pass
    done.set()
    other.join(30)
    with workspace.lock():
        pass


def test_a_line_that_a_crash_cut_short_does_not_take_the_next_one_with_it(tmp_path):
    workspace = Workspace("1779157376-41e1", tmp_path)
    workspace.append("notes.jsonl", {"n": 1})
    with workspace.path("notes.jsonl").open("a") as file:
        file.write('{"n": 2, "te')
    workspace.append("notes.jsonl", {"n": 3})
    assert [line["n"] for line in workspace.lines("notes.jsonl")] == [1, 3]


MESSAGES = [{"role": "user", "content": "Hi"}]


def buy(journal: Journal, text: str, sample: int = 0) -> str:
    key = answer_key("m", MESSAGES, {"max_tokens": 5}, sample)
    call = journal.begin(key)
    answer = Answer(text=text, finish_reason="stop", prompt_tokens=3, completion_tokens=2)
    journal.finish(call, key, "m", MESSAGES, {"max_tokens": 5}, answer, sample)
    return key


def test_an_answer_survives_and_the_first_one_stays(tmp_path):
    journal = Journal(tmp_path / "journal.db")
    key = buy(journal, "first")
    buy(journal, "second")
    journal.close()
    again = Journal(tmp_path / "journal.db")
    assert again.find(key) == Answer(text="first", finish_reason="stop", prompt_tokens=3, completion_tokens=2)
    assert again.usage() == {"m": (1, 3, 2)}
    again.close()


def test_what_was_in_flight_when_the_process_died_is_counted(tmp_path):
    journal = Journal(tmp_path / "journal.db")
    buy(journal, "answered")
    journal.begin("never answered")
    journal.fail(journal.begin("refused"))
    journal.close()
    again = Journal(tmp_path / "journal.db")
    assert again.n_possibly_billed_twice() == 1
    again.close()


def test_a_key_is_of_all_that_decides_the_answer():
    keys = {
        answer_key("m", MESSAGES, {"max_tokens": 5}),
        answer_key("n", MESSAGES, {"max_tokens": 5}),
        answer_key("m", [{"role": "user", "content": "Ho"}], {"max_tokens": 5}),
        answer_key("m", MESSAGES, {"max_tokens": 6}),
        answer_key("m", MESSAGES, {"max_tokens": 5}, sample=1),
    }
    assert len(keys) == 5
    assert answer_key("m", MESSAGES, {"a": 1, "b": 2}) == answer_key("m", MESSAGES, {"b": 2, "a": 1})


def test_many_threads_may_write(tmp_path):
    journal = Journal(tmp_path / "journal.db")
    threads = [threading.Thread(target=lambda n=n: buy(journal, str(n), n)) for n in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert journal.usage()["m"][0] == 32
    journal.close()
