import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from local_server.datasets import Datasets
from local_server.store import Store

OCTETS = "application/octet-stream"


def headers(size):
    return {"Content-Type": OCTETS, "X-Goog-Content-Length-Range": f"{size},{size}"}


def announced(api, id, sizes):
    count = str(sum(1 for _ in sizes) * 3)
    api("POST", "datasets", json={"datasetId": id, "dataset": {"exampleCount": count}})
    return api("POST", f"datasets/{id}:getUploadEndpoint", json={"filenameToSize": sizes})["filenameToSignedUrls"]


def test_a_small_upload_makes_a_dataset_ready(api, rows_for, as_jsonl):
    data = as_jsonl(rows_for())
    made = api("POST", "datasets", json={"datasetId": "d", "dataset": {"exampleCount": 3, "displayName": "D"}})
    assert (made["state"], made["exampleCount"], made["format"]) == ("UPLOADING", "3", "CHAT")
    answer = api("POST", "datasets/d:upload", files={"file": ("train.jsonl", data)})
    assert answer == {
        "id": "d",
        "object": "file",
        "bytes": len(data),
        "created_at": answer["created_at"],
        "filename": "train.jsonl",
        "purpose": "fine-tune",
    }
    assert api("GET", "datasets/d")["state"] == "READY"
    urls = api("GET", "datasets/d:getDownloadEndpoint")["filenameToSignedUrls"]
    assert {name: httpx.get(url).content for name, url in urls.items()} == {
        "accounts/local/datasets/d/train.jsonl": data
    }


def test_a_download_goes_on_where_it_broke_off(api, rows_for, as_jsonl):
    api.dataset("d", rows_for())
    (url,) = api("GET", "datasets/d:getDownloadEndpoint")["filenameToSignedUrls"].values()
    rest = httpx.get(url, headers={"Range": "bytes=10-"})
    assert (rest.status_code, rest.content) == (206, as_jsonl(rows_for())[10:])


def test_a_file_that_grows_while_it_is_read_comes_as_long_as_was_said(api, local_server, rows_for, as_jsonl):
    data = as_jsonl(rows_for(n=20_000))
    api.dataset("d", rows_for(n=20_000))
    (url,) = api("GET", "datasets/d:getDownloadEndpoint")["filenameToSignedUrls"].values()
    with api.http.stream("GET", url) as response, (local_server.home / "datasets/d/rows.jsonl").open("ab") as file:
        file.write(b"x" * 1_000_000)
        assert int(response.headers["content-length"]) == len(data)
        assert response.headers["accept-ranges"] == "bytes"
        assert b"".join(response.iter_bytes()) == data


def test_rows_cannot_be_changed_after_the_upload(api, rows_for):
    api.dataset("d", rows_for())
    assert "READY" in api.fails(400, "POST", "datasets/d:upload", files={"file": ("b.jsonl", b"{}\n")})
    assert "READY" in api.fails(400, "POST", "datasets/d:getUploadEndpoint", json={"filenameToSize": {"b.jsonl": 3}})


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        ({}, "exampleCount is required"),
        ({"exampleCount": "three"}, "exampleCount"),
        ({"exampleCount": 3, "format": "DPO"}, "format must be one of"),
        ({"exampleCount": 3, "displayName": "x" * 64}, "shorter than 64"),
    ],
)
def test_a_create_is_checked(api, dataset, said):
    assert said in api.fails(400, "POST", "datasets", json={"datasetId": "d", "dataset": dataset})


@pytest.mark.parametrize("id", ["", "D", "1d", "-d", "d-", "a/b", "..", "d" * 64])
def test_an_id_follows_the_rule(api, id):
    assert "datasetId" in api.fails(400, "POST", "datasets", json={"datasetId": id, "dataset": {"exampleCount": 3}})


def test_a_name_is_taken_once(api):
    body = {"datasetId": "d", "dataset": {"exampleCount": 3}}
    api("POST", "datasets", json=body)
    assert "already exists" in api.fails(409, "POST", "datasets", json=body)


def test_a_count_that_does_not_fit_is_refused_and_can_be_mended(api, rows_for, as_jsonl):
    api("POST", "datasets", json={"datasetId": "d", "dataset": {"exampleCount": 3}})
    four = {"file": ("rows.jsonl", as_jsonl(rows_for(n=4)))}
    assert "exampleCount says 3, and the upload has 4" in api.fails(400, "POST", "datasets/d:upload", files=four)
    broken = {"file": ("rows.jsonl", b"{}\n{}\n{")}
    assert "rows.jsonl, line 3: not JSON" in api.fails(400, "POST", "datasets/d:upload", files=broken)
    assert api("GET", "datasets/d")["state"] == "UPLOADING"
    api("POST", "datasets/d:upload", files={"file": ("rows.jsonl", as_jsonl(rows_for()))})
    assert api("GET", "datasets/d")["state"] == "READY"


@pytest.mark.parametrize("name", ["../../escape.jsonl", "a/b.jsonl", ".hidden", "a\\\\b.jsonl"])
def test_a_file_name_cannot_leave_its_folder(api, local_server, name):
    api("POST", "datasets", json={"datasetId": "d", "dataset": {"exampleCount": 1}})
    body = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n{{}}\r\n--b--\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    assert "file's name" in api.fails(400, "POST", "datasets/d:upload", content=body, headers=kind)
    assert "file's name" in api.fails(400, "POST", "datasets/d:getUploadEndpoint", json={"filenameToSize": {name: 1}})
    assert list((local_server.home / "incoming").iterdir()) == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"--b\r\n", "no whole part"),
        (b'--b\r\nContent-Disposition: form-data; name="other"\r\n\r\n{}\r\n--b--\r\n', "no whole part"),
        (b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n{}', "no whole part"),
        (b"nonsense", "not valid multipart"),
    ],
)
def test_a_broken_multipart_body_is_refused(api, body, said):
    api("POST", "datasets", json={"datasetId": "d", "dataset": {"exampleCount": 1}})
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    assert said in api.fails(400, "POST", "datasets/d:upload", content=body, headers=kind)
    assert "must be multipart" in api.fails(400, "POST", "datasets/d:upload", json={})


def test_an_upload_that_is_too_large_for_one_call_says_which_call_is_not(start_local_server, connect):
    server = start_local_server(max_small_upload_bytes=100_000)
    api = connect(server.url)
    api("POST", "datasets", json={"datasetId": "d", "dataset": {"exampleCount": 1}})
    large = {"file": ("rows.jsonl", b" " * 300_000)}
    assert "getUploadEndpoint" in api.fails(413, "POST", "datasets/d:upload", files=large)
    assert list((server.home / "incoming").iterdir()) == []


def test_a_large_upload_lands_in_shards_and_comes_back(api, rows_for, as_jsonl):
    shards = {"b.jsonl": as_jsonl(rows_for("b")), "a.jsonl": as_jsonl(rows_for("a"))}
    urls = announced(api, "d", {name: len(data) for name, data in shards.items()})
    for name, data in shards.items():
        assert httpx.put(urls[name], content=data, headers=headers(len(data))).status_code == 200
    assert api("POST", "datasets/d:validateUpload", json={}) == {}
    api.until("datasets/d", lambda body: body["state"] == "READY")
    found = api("GET", "datasets/d:getDownloadEndpoint")["filenameToSignedUrls"]
    assert {name.rsplit("/", 1)[-1]: httpx.get(url).content for name, url in found.items()} == shards


def test_shards_are_joined_whole_for_jobs_that_begin_at_once(tmp_path):
    store = Store(tmp_path / "server.db", time.time)
    datasets = Datasets(tmp_path, store)
    record = datasets.create("d", {})
    shards = [b"".join(b'{"n": %d}\n' % (i * 200_000 + n) for n in range(200_000)) for i in range(3)]
    for i, shard in enumerate(shards):
        (datasets.folder(record) / f"{i}.jsonl").write_bytes(shard)
    with ThreadPoolExecutor(8) as threads:
        read = list(threads.map(lambda _: datasets.single_file(record).read_bytes(), range(8)))
    assert all(data == b"".join(shards) for data in read)


def test_what_was_validated_cannot_be_changed_by_a_url_that_still_lives(api, rows_for, as_jsonl):
    data, other = as_jsonl(rows_for("a")), as_jsonl(rows_for("b"))
    url = announced(api, "d", {"a.jsonl": len(data)})["a.jsonl"]
    assert httpx.put(url, content=data, headers=headers(len(data))).status_code == 200
    assert httpx.put(url, content=data, headers=headers(len(data))).status_code == 200  # a repeated PUT is well
    api("POST", "datasets/d:validateUpload", json={})
    api.until("datasets/d", lambda body: body["state"] == "READY")
    refused = httpx.put(url, content=other, headers=headers(len(other)))
    assert (refused.status_code, "AccessDenied" in refused.text) == (403, True)
    (source,) = api("GET", "datasets/d:getDownloadEndpoint")["filenameToSignedUrls"].values()
    assert httpx.get(source).content == data


def test_of_two_uploads_at_once_one_is_kept(api, rows_for, as_jsonl, local_server):
    api("POST", "datasets", json={"datasetId": "d", "dataset": {"exampleCount": "3"}})

    def upload(name):
        files = {"file": ("rows.jsonl", as_jsonl(rows_for(name)))}
        return api.http.post("/v1/accounts/local/datasets/d:upload", files=files).status_code

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(upload, "abcdefgh"))
    assert sorted(answers) == [200] + [400] * 7
    assert list((local_server.home / "incoming").iterdir()) == []


def test_a_signed_put_wants_exactly_its_two_headers_and_its_size(api):
    url = announced(api, "d", {"a.jsonl": 9})["a.jsonl"]
    right = headers(9)
    for left_out in right:
        some = {name: value for name, value in right.items() if name != left_out}
        refused = httpx.put(url, content=b'{"a": 1}\n', headers=some)
        assert (refused.status_code, "MalformedSecurityHeader" in refused.text) == (400, True)
    assert "EntityTooSmall" in httpx.put(url, content=b"{}\n", headers=right).text
    assert "EntityTooLarge" in httpx.put(url, content=b" " * 10, headers=right).text
    assert httpx.put(url, content=b'{"a": 1}\n', headers=right).status_code == 200


def test_a_signed_url_is_for_its_method_its_hour_and_unforged(start_local_server, connect, rows_for):
    now = [1_800_000_000.0]
    api = connect(start_local_server(clock=lambda: now[0]).url)
    api.dataset("d", rows_for())
    (url,) = api("GET", "datasets/d:getDownloadEndpoint")["filenameToSignedUrls"].values()
    assert httpx.put(url, content=b"", headers=headers(0)).status_code == 403
    forged = url.replace("/signed/", "/signed/A")
    assert (httpx.get(forged).status_code, httpx.get(url).status_code) == (403, 200)
    now[0] += 3601
    expired = httpx.get(url)
    assert (expired.status_code, "ExpiredToken" in expired.text) == (400, True)


def test_validating_before_the_bytes_have_landed_wedges_the_dataset(api):
    url = announced(api, "d", {"a.jsonl": 3})["a.jsonl"]
    api("POST", "datasets/d:validateUpload", json={})
    assert httpx.put(url, content=b"{}\n", headers=headers(3)).status_code == 200
    found = api("GET", "datasets/d")
    assert (found["state"], "not all bytes have landed: a.jsonl" in found["status"]["message"]) == ("UPLOADING", True)
    api.fails(405, "POST", "datasets/d:getUploadEndpoint", json={"filenameToSize": {"a.jsonl": 3}})


def test_each_announcement_replaces_the_set_of_files(api):
    first = announced(api, "d", {"a.jsonl": 3})["a.jsonl"]
    httpx.put(first, content=b"{}\n", headers=headers(3))
    sizes = {"b.jsonl": 9}
    url = api("POST", "datasets/d:getUploadEndpoint", json={"filenameToSize": sizes})["filenameToSignedUrls"]["b.jsonl"]
    httpx.put(url, content=b"{}\n{}\n{}\n", headers=headers(9))
    api("POST", "datasets/d:validateUpload", json={})
    api.until("datasets/d", lambda body: body["state"] == "READY")
    assert len(api("GET", "datasets/d:getDownloadEndpoint")["filenameToSignedUrls"]) == 1


def test_bad_rows_of_a_large_upload_show_in_its_status(api):
    url = announced(api, "d", {"a.jsonl": 6})["a.jsonl"]
    httpx.put(url, content=b"{}\n{]\n", headers=headers(6))
    api("POST", "datasets/d:validateUpload", json={})
    found = api.until("datasets/d", lambda body: "status" in body)
    assert (found["state"], found["status"]["code"]) == ("UPLOADING", "INVALID_ARGUMENT")
    assert "a.jsonl, line 2: not JSON" in found["status"]["message"]


def test_an_upload_that_breaks_off_leaves_nothing(api, local_server):
    url = announced(api, "d", {"a.jsonl": 1_000_000})["a.jsonl"]

    def breaks_off():
        yield b" " * 500_000
        raise OSError("the cable")

    with pytest.raises(OSError, match="the cable"):
        httpx.put(url, content=breaks_off(), headers={**headers(1_000_000), "Content-Length": "1000000"})
    assert list((local_server.home / "datasets/d").iterdir()) == []


def test_deleting_takes_rows_and_name_and_spares_what_a_job_uses(api, local_server, rows_for):
    dataset = api.dataset("d", rows_for("!hang"))
    api.job("j", dataset)
    assert "dpoJobs/j" in api.fails(400, "DELETE", "datasets/d")
    api("POST", "dpoJobs/j:cancel", json={})
    api.ended("j")
    api("DELETE", "datasets/d")
    api.fails(404, "GET", "datasets/d")
    assert not (local_server.home / "datasets/d").exists()


def test_what_cannot_be_done_here_is_refused_by_name(api):
    body = {"datasetId": "d", "dataset": {"exampleCount": 1}, "sourceDatasetId": "x", "filter": "a > 1"}
    assert "does not derive" in api.fails(501, "POST", "datasets", json=body)


def test_a_list_has_the_apis_shape(api):
    for id in ("b", "a"):
        api("POST", "datasets", json={"datasetId": id, "dataset": {"exampleCount": 1}})
    page = api("GET", "datasets", params={"pageSize": 1, "readMask": "name"})
    assert ([item["name"] for item in page["datasets"]], page["totalSize"]) == (["accounts/local/datasets/a"], 2)
    rest = api("GET", "datasets", params={"pageSize": 1, "readMask": "name", "pageToken": page["nextPageToken"]})
    assert ([item["name"][-1] for item in rest["datasets"]], rest["nextPageToken"]) == (["b"], "")
