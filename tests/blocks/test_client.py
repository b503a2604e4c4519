"""The funnel: addresses, the account, pages, retries, and that the key goes nowhere else."""

import pickle

import httpx
import pytest

from blocks import errors
from blocks.client import FireworksClient
from blocks.connection import Connection, root_url

KEY = "fw_Sv9qTzNeverToBeSeen"
JOB = "/v1/accounts/acme/dpoJobs/pw-j"


@pytest.mark.parametrize(
    "given",
    [
        "https://api.fireworks.ai",
        "https://api.fireworks.ai/",
        "https://api.fireworks.ai/v1",
        "https://api.fireworks.ai/v1/",
        "https://api.fireworks.ai/inference",
        "https://api.fireworks.ai/inference/v1",
        " https://api.fireworks.ai/inference/v1/ ",
    ],
)
def test_any_form_of_the_address_is_understood(given):
    assert root_url(given) == "https://api.fireworks.ai"


def test_a_path_before_v1_is_kept():
    assert root_url("http://gateway.example/fireworks/v1/") == "http://gateway.example/fireworks"


@pytest.mark.parametrize("given", ["", "api.fireworks.ai", "https://", "ftp://host"])
def test_what_is_no_address_is_refused(given):
    with pytest.raises(ValueError, match="base_url must be an address such as"):
        root_url(given)


def test_the_key_goes_with_each_request_as_a_bearer(scripted):
    client, script = scripted({f"GET {JOB}": {"name": "n", "dataset": "d"}})
    client.get_dpo_job("pw-j")
    assert script.requests[0].headers["authorization"] == f"Bearer {KEY}"


def test_no_key_no_header(scripted):
    client, script = scripted({f"GET {JOB}": {"name": "n", "dataset": "d"}}, api_key="")
    client.get_dpo_job("pw-j")
    assert "authorization" not in script.requests[0].headers


def test_the_key_does_not_travel_to_a_signed_address(scripted, tmp_path):
    client, script = scripted(
        {
            "GET /v1/accounts/acme/datasets/d:getDownloadEndpoint": {
                "filenameToSignedUrls": {"a/b/rows.jsonl": "https://storage.example/rows.jsonl?sig=1"}
            },
            "GET /rows.jsonl": httpx.Response(200, content=b"{}\n"),
        }
    )
    client.download_dataset("d", tmp_path)
    assert "authorization" not in script.requests[-1].headers


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(401, json={"code": 16, "message": f"bad key {KEY}"}),
        httpx.Response(400, text=f"you sent Bearer {KEY}"),
        httpx.Response(200, text=f"<html>{KEY}</html>"),
        httpx.ConnectError(f"cannot reach with {KEY}"),
    ],
)
def test_the_key_is_in_no_message(scripted, answer):
    client, _ = scripted({f"GET {JOB}": answer})
    with pytest.raises(errors.PlatformError) as caught:
        client.get_dpo_job("pw-j")
    assert KEY not in str(caught.value) + repr(caught.value) + caught.value.api_message
    assert KEY not in repr(client)


def test_a_signature_is_not_logged(scripted, tmp_path, caplog):
    caplog.set_level("INFO", logger="httpx")
    url = "https://storage.example/rows.jsonl?X-Goog-Signature=abc"
    client, _ = scripted(
        {
            "GET /v1/accounts/acme/datasets/d:getDownloadEndpoint": {"filenameToSignedUrls": {"r": url}},
            "GET /rows.jsonl": httpx.Response(200, content=b"{}\n"),
        }
    )
    client.download_dataset("d", tmp_path)
    assert "storage.example" in caplog.text
    assert "Signature" not in caplog.text


@pytest.mark.parametrize("key", ["fw_with space", "fw_\u2026", "fw_new\nline"])
def test_a_key_that_cannot_be_one_is_refused_unshown(key):
    with pytest.raises(ValueError, match="characters that no key has") as caught:
        FireworksClient("https://api.example", key)
    assert key not in str(caught.value)


def test_the_account_is_found_from_the_key(scripted):
    client, _ = scripted({"GET /v1/accounts": {"accounts": [{"name": "accounts/acme"}]}}, account=None)
    assert client.account == "acme"


def test_with_several_accounts_the_key_itself_says_which(scripted):
    client, _ = scripted(
        {
            "GET /v1/accounts": {"accounts": [{"name": "accounts/a"}, {"name": "accounts/b"}]},
            "GET /verifyApiKey": httpx.Response(200, headers={"x-fireworks-account-id": "b"}),
        },
        account=None,
    )
    assert client.account == "b"


def test_an_account_that_cannot_be_found_is_asked_for(scripted):
    client, _ = scripted(
        {
            "GET /v1/accounts": {"accounts": [{"name": "accounts/a"}, {"name": "accounts/b"}]},
            "GET /verifyApiKey": {},
        },
        account=None,
    )
    with pytest.raises(errors.Ambiguous, match=r"it sees: a, b\)\. Set `account`"):
        _ = client.account


def test_lists_are_read_to_their_last_page_with_the_same_parameters(scripted):
    pages = [
        {"dpoJobs": [{"name": "1", "dataset": "d"}], "nextPageToken": "t1"},
        {"dpoJobs": [], "nextPageToken": "t2"},  # an empty page is not the last
        {"dpoJobs": [{"name": "2", "dataset": "d"}], "nextPageToken": ""},
    ]
    client, script = scripted({"GET /v1/accounts/acme/dpoJobs": pages})
    assert [job.name for job in client.list_dpo_jobs(filter='state="JOB_STATE_RUNNING"')] == ["1", "2"]
    queries = [dict(r.url.params) for r in script.requests]
    assert [q.pop("pageToken", None) for q in queries] == [None, "t1", "t2"]
    assert queries == [{"pageSize": "200", "filter": 'state="JOB_STATE_RUNNING"'}] * 3


def test_a_list_that_turns_in_circles_is_reported(scripted):
    client, _ = scripted({"GET /v1/accounts/acme/dpoJobs": {"dpoJobs": [], "nextPageToken": "t"}})
    with pytest.raises(errors.BadAnswer, match="the same page is offered again"):
        client.list_dpo_jobs()


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_passes_is_waited_out(scripted, status):
    client, script = scripted({f"GET {JOB}": [httpx.Response(status), {"name": "n", "dataset": "d"}]})
    assert client.get_dpo_job("pw-j").name == "n"
    assert len(script.slept) == 1


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 409, 412, 422, 500, 501])
def test_what_does_not_pass_is_asked_once(scripted, status):
    client, script = scripted({f"GET {JOB}": httpx.Response(status)})
    with pytest.raises(errors.PlatformError):
        client.get_dpo_job("pw-j")
    assert len(script.requests) == 1


def test_waits_grow_and_end(scripted):
    client, script = scripted({f"GET {JOB}": httpx.Response(503)})
    with pytest.raises(errors.Unavailable, match=rf"GET https://api\.example{JOB} was answered with 503"):
        client.get_dpo_job("pw-j")
    assert len(script.requests) == 6
    assert script.slept == sorted(script.slept)
    assert 11 < sum(script.slept) < 16  # 0.5 + 1 + 2 + 4 + 8, less up to a quarter


def test_retry_after_is_honoured(scripted):
    busy = httpx.Response(429, headers={"retry-after": "17"})
    client, script = scripted({f"GET {JOB}": [busy, {"name": "n", "dataset": "d"}]})
    client.get_dpo_job("pw-j")
    assert script.slept == [17]


def test_a_redirect_is_not_followed_with_our_key(scripted):
    moved = httpx.Response(301, headers={"location": "https://elsewhere.example/"})
    client, script = scripted({f"GET {JOB}": moved})
    with pytest.raises(errors.Refused, match=r"redirected .* to 'https://elsewhere\.example/'"):
        client.get_dpo_job("pw-j")
    assert len(script.requests) == 1


def test_where_nothing_listens_the_message_says_what_to_start():
    message = r"127\.0\.0\.1:9.* nothing answers.*`prefworks serve`"
    with (
        FireworksClient("http://127.0.0.1:9", account="local", sleep=lambda s: None) as client,
        pytest.raises(errors.NotReached, match=message),
    ):
        client.list_dpo_jobs()


def test_a_name_of_another_collection_is_refused_before_the_call(scripted):
    client, script = scripted({})
    with pytest.raises(errors.Refused, match="'accounts/acme/models/m' does not name one of dpoJobs"):
        client.get_dpo_job("accounts/acme/models/m")
    assert script.requests == []


@pytest.mark.parametrize("wanted", ["", "Upper", "9digits", "a/b", "ends-", "x" * 64, "dots..", "../up"])
def test_an_id_that_the_api_would_refuse_is_not_sent(scripted, wanted):
    client, script = scripted({})
    with pytest.raises(errors.Refused, match="cannot be an ID"):
        client.create_dataset(wanted, example_count=3)
    assert script.requests == []


CASES = [
    (400, {"code": 3, "message": "bad"}, errors.Refused, r'400 INVALID_ARGUMENT: "bad"\. Mend the request'),
    (400, {"code": 9, "message": "payment method is required"}, errors.Refused, "Add a payment method"),
    (401, {"code": 16, "message": "no"}, errors.BadKey, "Check the API key"),
    (402, {"error": {"message": "no plan", "code": "X"}}, errors.NotPaid, "Add a payment method or credits"),
    (403, {"code": 7, "message": "admin role required"}, errors.Forbidden, "Ask the account's admin"),
    (404, {"error": {"message": "Model not found", "code": "NOT_FOUND"}}, errors.NotFound, "while deployed"),
    (409, {"code": 6, "message": "exists"}, errors.Conflict, "The ID is taken"),
    (412, {"error": {"message": "Account acme is suspended"}}, errors.Suspended, "billing page"),
    (412, {"error": {"message": "LoRA failed to load"}}, errors.Refused, "Mend the request"),
    (429, {"code": 8, "message": "rate limit"}, errors.RateLimited, "Wait, or lower"),
    (429, {"code": 8, "message": "Monthly spend limit reached"}, errors.Suspended, "spend limit is reached"),
    (429, {"code": 8, "message": "quota exceeded: H100"}, errors.RateLimited, "higher quota"),
    (501, {"code": 12, "message": "Method Not Allowed"}, errors.Refused, "Mend the request"),
    (503, {"error": {"message": "overloaded"}}, errors.Unavailable, "Try again later"),
    (503, {"error": {"message": "zero", "code": "DEPLOYMENT_SCALING_UP"}}, errors.ScalingUp, "has scaled up"),
    (503, None, errors.Unavailable, 'answered with 503: "no message"'),
    (500, ["odd"], errors.Unavailable, 'answered with 500: "no message"'),
    (400, {"error": "plain text"}, errors.Refused, '"plain text"'),
]


@pytest.mark.parametrize(("status", "body", "kind", "message"), CASES)
def test_each_refusal_has_its_kind_and_its_advice(status, body, kind, message):
    error = errors.from_response("POST", "https://h/v1/x", status, {}, body)
    assert type(error) is kind
    with pytest.raises(kind, match=message):
        raise error
    assert str(error).startswith("POST https://h/v1/x was answered with ")
    assert error.status == status


def test_errors_survive_pickling_as_between_processes():
    error = errors.from_response("GET", "u", 429, {"retry-after": "3"}, {"code": 8, "message": "m"})
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
    assert again.retry_after_s == 3


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after": "-1"}, 0.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
    ],
)
def test_retry_after_is_read_in_seconds(headers, expected):
    assert errors.retry_after_s(headers) == expected


def test_a_proxy_from_the_environment_is_used(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    connection = Connection("http://api.example", sleep=lambda s: None)
    with pytest.raises(errors.NotReached, match="refused"):  # by the proxy's port; the host does not exist
        connection.send("GET", "/v1/accounts")
    connection.close()
