import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_server import listing
from local_server.errors import ApiError

ITEMS = [
    {"name": "c", "state": "READY", "createTime": "2026-01-03T00:00:00.5Z", "exampleCount": "9", "public": True},
    {"name": "a", "state": "READY", "createTime": "2026-01-01T00:00:00Z", "exampleCount": "10"},
    {"name": "b", "state": "UPLOADING", "createTime": "2026-01-02T00:00:00Z", "status": {"code": "OK"}},
]


def names(**query):
    return [item["name"] for item in listing.page(ITEMS, "things", query)["things"]]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ["a", "b", "c"]),
        ('state="READY"', ["a", "c"]),
        ("state = READY", ["a", "c"]),
        ('state != "READY"', ["b"]),
        ('createTime > "2026-01-01T12:00:00Z"', ["b", "c"]),
        ('create_time<="2026-01-02T01:00:00+01:00" AND state="READY"', ["a"]),  # the same instant in another zone
        ("exampleCount > 9", ["a"]),  # int64 in a string is a number
        ("status.code=OK", ["b"]),
        ("state:read", ["a", "c"]),
        ("public=true", ["c"]),
        ("nothing=1", []),
    ],
)
def test_filters(text, found):
    assert names(filter=text) == found


@pytest.mark.parametrize("text", ["state", "state=READY OR state=X", 'state="READY" AND', "(state=READY)"])
def test_a_filter_that_is_not_understood_is_refused(text):
    with pytest.raises(ApiError, match="filter"):
        listing.parse_filter(text)


def test_order_is_by_name_unless_asked_otherwise():
    assert names() == ["a", "b", "c"]
    assert names(orderBy="createTime desc") == ["c", "b", "a"]
    assert names(orderBy="state desc,name") == ["b", "a", "c"]
    with pytest.raises(ApiError, match="orderBy"):
        names(orderBy="state downwards")


@given(n=st.integers(0, 30), size=st.integers(1, 12))
def test_pages_hold_everything_once(n, size):
    items = [{"name": f"n{i:02}"} for i in range(n)]
    seen, token = [], ""
    while True:
        page = listing.page(items, "things", {"pageSize": str(size), "pageToken": token})
        assert page["totalSize"] == n
        seen += page["things"]
        if not (token := page["nextPageToken"]):
            break
        assert len(page["things"]) == size
    assert seen == items


def test_a_page_goes_on_after_the_last_item_whatever_was_deleted_or_added_before_it():
    items = [{"name": name} for name in "abcdef"]
    token = listing.page(items, "things", {"pageSize": "3"})["nextPageToken"]
    changed = [{"name": name} for name in ("a0", "b", "c", "d", "e", "f")]
    rest = listing.page(changed[1:], "things", {"pageSize": "9", "pageToken": token})["things"]
    assert [item["name"] for item in rest] == ["d", "e", "f"]


def test_a_page_token_belongs_to_its_query():
    token = listing.page(ITEMS, "things", {"pageSize": "1"})["nextPageToken"]
    with pytest.raises(ApiError, match="another filter"):
        names(pageToken=token, filter="state=READY")
    with pytest.raises(ApiError, match="not one of this server's"):
        names(pageToken="bm9uc2Vuc2U=")


def test_a_page_is_fifty_by_default_and_two_hundred_at_most():
    items = [{"name": f"{i:04}"} for i in range(500)]
    assert len(listing.page(items, "things", {})["things"]) == 50
    assert len(listing.page(items, "things", {"pageSize": "400"})["things"]) == 200
    with pytest.raises(ApiError, match="pageSize"):
        listing.page(items, "things", {"pageSize": "many"})
