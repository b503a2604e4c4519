import pytest

from local_server.errors import ApiError
from local_server.store import Store, UsageEvent

D = "accounts/local/datasets/"


@pytest.fixture
def store(tmp_path):
    found = Store(tmp_path / "server.db", lambda: 1_800_000_000.25)
    yield found
    found.close()


def test_what_was_created_is_there_after_reopening(store, tmp_path):
    store.create(D + "a", {"state": "READY"}, {"rows": 3})
    again = Store(tmp_path / "server.db", lambda: 0.0)
    assert again.get(D + "a").private == {"rows": 3}
    assert again.get(D + "a").body == {
        "state": "READY",
        "name": D + "a",
        "createTime": "2027-01-15T08:00:00.250000Z",
        "updateTime": "2027-01-15T08:00:00.250000Z",
    }
    again.close()


def test_a_name_is_taken_once(store):
    store.create(D + "a", {})
    with pytest.raises(ApiError, match="accounts/local/datasets/a already exists") as raised:
        store.create(D + "a", {})
    assert raised.value.status == 409


def test_an_update_merges_and_none_removes(store):
    store.create(D + "a", {"state": "UPLOADING", "status": {"code": "OK"}}, {"announced": {}})
    record = store.update(D + "a", {"state": "READY", "status": None}, {"announced": None, "rows": 2})
    assert (record.state, "status" in record.body, record.private) == ("READY", False, {"rows": 2})


def test_what_is_gone_is_not_found(store):
    store.create(D + "a", {})
    store.delete(D + "a")
    for action in (store.get, store.delete, store.update):
        with pytest.raises(ApiError, match="accounts/local/datasets/a not found"):
            action(D + "a")


def test_a_collection_is_in_order_of_creation_and_holds_only_its_own(store):
    for name in (D + "b", "accounts/local/models/x", D + "a"):
        store.create(name, {})
    assert [record.id for record in store.all("accounts/local/datasets")] == ["b", "a"]


def test_usage_is_found_by_time_with_an_open_end(store):
    for time in (1.0, 2.0, 3.0):
        store.add_usage(UsageEvent(time, "TRAINING", "job", "model", {"trainingTokens": 5.0}, 0.5))
    assert [event.time for event in store.usage(1.0, 3.0)] == [1.0, 2.0]
