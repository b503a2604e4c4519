"""Who is let in, what is answered to nonsense, and what a request may cost."""

import logging
import socket
import subprocess
import sys

import httpx
import pytest

from local_server.__main__ import main
from local_server.services import HomeInUse


def test_who_one_is_here(api):
    assert api("GET", "/v1/accounts")["accounts"][0]["name"] == "accounts/local"
    assert api("GET", "/v1/accounts/local")["suspendState"] == "UNSUSPENDED"
    assert api.http.get("/verifyApiKey").headers["x-fireworks-account-id"] == "local"


def test_the_catalogue_is_another_account_which_can_only_be_read(api):
    model = api("GET", "/v1/accounts/fireworks/models/tiny")
    assert (model["kind"], model["contextLength"]) == ("HF_BASE_MODEL", 512)
    assert (model["supervisedLoraTunable"], model["useTrainingV2"], model["supportsServerless"]) == (True, True, False)
    assert model["baseModelDetails"]["parameterCount"] == "4"
    names = [item["name"] for item in api("GET", "/v1/accounts/fireworks/models")["models"]]
    assert "accounts/fireworks/models/tiny" in names
    body = {"datasetId": "d", "dataset": {"exampleCount": 1}}
    assert "can only be read" in api.fails(403, "POST", "/v1/accounts/fireworks/datasets", json=body)
    assert 'this server has the account "local"' in api.fails(404, "GET", "/v1/accounts/other/datasets")


def test_a_key_that_was_set_is_required(start_local_server, connect, rows_for):
    url = start_local_server(key="fw_right").url
    api = connect(url, key="fw_right")
    assert api("GET", "datasets")["datasets"] == []
    refused = httpx.get(f"{url}/v1/accounts", headers={"Authorization": "Bearer fw_wrong"})
    assert (refused.status_code, refused.json()["code"]) == (401, 16)
    assert httpx.get(f"{url}/v1/accounts").status_code == 401
    chat = httpx.post(f"{url}/inference/v1/chat/completions", json={})
    assert (chat.status_code, chat.json()["error"]["code"]) == (401, "UNAUTHENTICATED")
    assert httpx.get(f"{url}/health").json()["status"] == "ok"
    api.dataset("d", rows_for())
    (signed,) = api("GET", "datasets/d:getDownloadEndpoint")["filenameToSignedUrls"].values()
    assert httpx.get(signed).status_code == 200  # the URL is the leave


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:8787"},
        {"Origin": "https://evil.example"},
        {"Origin": "null://x"},
    ],
)
def test_without_a_key_web_pages_are_kept_out(api, headers):
    refused = api.http.post("/v1/accounts/local/datasets", json={"datasetId": "d"}, headers=headers)
    assert (refused.status_code, "set PREFWORKS_LOCAL_KEY" in refused.json()["message"]) == (403, True)


@pytest.mark.parametrize("headers", [{"Host": "localhost:1"}, {"Host": "[::1]:1"}, {"Origin": "http://localhost:3000"}])
def test_this_machine_is_let_in_under_all_its_names(api, headers):
    assert api.http.get("/v1/accounts", headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/v1/nope", "/v1/accounts/local/nope", "/v1/accounts/local/dpoJobs/j:nope", "/"])
def test_an_unknown_path_is_not_found_in_shape(api, path):
    body = api.http.get(path).json()
    assert (body["code"], body["details"]) == (5, [])
    assert path.rsplit("/", 1)[-1].split(":")[0] in body["message"]


def test_the_two_error_shapes_are_told_apart_by_the_path(api):
    assert api.http.get("/inference/v1/nope").json()["error"]["code"] == "NOT_FOUND"
    assert api.http.put("/v1/accounts").json() == {
        "code": 12,
        "message": "Method Not Allowed: PUT /v1/accounts",
        "details": [],
    }
    assert api.http.get("/v1/chat/completions").status_code == 405


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b'"a"', b"[" * 100_000])
def test_a_body_that_is_no_object_is_refused(api, content):
    for path in ("/v1/accounts/local/datasets", "/v1/accounts/local/dpoJobs", "/v1/chat/completions"):
        assert "body" in api.fails(400, "POST", path, content=content)


def test_a_body_is_bounded(start_local_server, connect):
    api = connect(start_local_server(max_json_bytes=1000).url)
    assert "larger than 1000 bytes" in api.fails(413, "POST", "datasets", content=b" " * 2000)


def test_names_cannot_escape_the_folder(api, local_server):
    outside = local_server.home.parent / "outside"
    outside.mkdir()
    for id in ("..%2Foutside", "%2e%2e", ".."):
        assert api.http.delete(f"/v1/accounts/local/datasets/{id}").status_code in (404, 501)
    assert outside.is_dir()


def test_a_request_is_one_line_without_key_query_or_token(api, rows_for, caplog):
    caplog.set_level(logging.INFO, logger="local_server.requests")
    api.dataset("d", rows_for())
    (signed,) = api("GET", "datasets/d:getDownloadEndpoint", params={"x": "quiet"})["filenameToSignedUrls"].values()
    caplog.clear()
    api.http.get(signed)
    api("GET", "datasets", params={"filter": "state=READY"})
    lines = [record.getMessage() for record in caplog.records if record.name == "local_server.requests"]
    assert [line.rsplit(" ", 2)[0] for line in lines] == [
        "GET /signed/.../rows.jsonl 200",
        "GET /v1/accounts/local/datasets 200",
    ]


def test_the_command_explains_itself():
    shown = subprocess.run(
        [sys.executable, "-m", "local_server", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for word in ("--home", "--port", "--jobs-at-once", "PREFWORKS_LOCAL_KEY", "--prices"):
        assert word in shown


def test_without_a_key_only_loopback_is_bound(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("PREFWORKS_LOCAL_KEY", raising=False)
    assert main(["--home", str(tmp_path / "home"), "--host", "0.0.0.0", "--port", "0"]) == 2
    assert "Set PREFWORKS_LOCAL_KEY, or listen on 127.0.0.1" in capsys.readouterr().err
    assert not (tmp_path / "home").exists()


def test_a_port_in_use_is_one_clear_message(tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["--home", str(tmp_path / "home"), "--port", port]) == 1
    assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err


def test_a_bad_price_book_is_one_clear_message(tmp_path, capsys):
    (tmp_path / "prices.toml").write_text("gpu = 3\n")
    assert main(["--home", str(tmp_path / "home"), "--port", "0", "--prices", str(tmp_path / "prices.toml")]) == 1
    assert "unknown keys: gpu" in capsys.readouterr().err


def test_a_damaged_database_is_one_clear_message(tmp_path, capsys):
    (tmp_path / "server.db").write_bytes(b"not a database, not a database, not a database")
    assert main(["--home", str(tmp_path), "--port", "0"]) == 1
    assert "did not start: file is not a database" in capsys.readouterr().err


def test_a_second_server_on_the_same_folder_is_refused(start_local_server):
    first = start_local_server()
    with pytest.raises(HomeInUse, match=r"another local server .* stop it, or choose another folder"):
        start_local_server(home=first.home)
    first.stop()
    start_local_server(home=first.home)
