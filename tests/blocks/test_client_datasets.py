"""Datasets on the wire: what is sent, in which order, and files up and down in parts."""

import json

import httpx
import pytest

from blocks import errors, transfer
from blocks.transfer import Shard, file_name, shards

DATASETS = "/v1/accounts/acme/datasets"
D = f"{DATASETS}/pw-d"


def test_a_dataset_is_created_as_the_api_wants_it(scripted):
    client, script = scripted({f"POST {DATASETS}": {"name": "accounts/acme/datasets/pw-d", "exampleCount": "7"}})
    made = client.create_dataset("pw-d", example_count=7, display_name="Seven")
    assert json.loads(script.requests[0].content) == {
        "datasetId": "pw-d",  # in the body, unlike a job's
        "dataset": {"displayName": "Seven", "exampleCount": "7", "format": "CHAT", "userUploaded": {}},
    }
    assert made.example_count == 7


def test_a_small_file_is_one_multipart_part_named_file(scripted, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n')
    client, script = scripted({f"POST {D}:upload": {}})
    client.upload_dataset("pw-d", path)
    [request] = script.requests
    assert request.headers["content-type"].startswith("multipart/form-data; boundary=")
    body = request.content.decode()
    assert 'name="file"; filename="rows.jsonl"\r\nContent-Type: application/octet-stream\r\n\r\n{"a": 1}\n' in body


def large(scripted, tmp_path, puts):
    """A client that takes 9 rows of 10 bytes for large, in shards of 30; `puts` answers the PUTs."""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f'{{"row":{i}}}\n' for i in range(9)))
    names = [f"rows-{i:05}-of-00003.jsonl" for i in range(3)]
    answers = {
        f"POST {D}:getUploadEndpoint": {
            "filenameToSignedUrls": {name: f"https://storage.example/{name}?sig=1" for name in names}
        },
        f"POST {D}:validateUpload": {},
        **{f"PUT /{name}": puts for name in names},
    }
    client, script = scripted(answers)
    client.small_upload_bytes, client.shard_bytes = 50, 30
    return client, script, path


def test_a_large_file_goes_in_shards_and_is_validated_last(scripted, tmp_path):
    client, script, path = large(scripted, tmp_path, httpx.Response(200))
    client.upload_dataset("pw-d", path)
    assert script.sent() == [
        f"POST {D}:getUploadEndpoint",  # one call for all: each replaces the registered files
        "PUT /rows-00000-of-00003.jsonl",
        "PUT /rows-00001-of-00003.jsonl",
        "PUT /rows-00002-of-00003.jsonl",
        f"POST {D}:validateUpload",
    ]
    puts = [r for r in script.requests if r.method == "PUT"]
    assert b"".join(r.content for r in puts) == path.read_bytes()
    for request in puts:
        assert request.headers["content-type"] == "application/octet-stream"
        assert request.headers["x-goog-content-length-range"] == "30,30"
        assert request.headers["content-length"] == "30"
        assert "transfer-encoding" not in request.headers
        assert "authorization" not in request.headers


def test_nothing_is_validated_while_bytes_are_missing(scripted, tmp_path):
    client, script, path = large(scripted, tmp_path, httpx.Response(503))
    with pytest.raises(errors.TransferFailed, match=r"PUT https://storage\.example/rows-00000-of-00003\.jsonl did"):
        client.upload_dataset("pw-d", path)
    assert f"POST {D}:validateUpload" not in script.sent()
    assert len(script.requests) == 1 + 6


def test_a_refused_signature_is_not_tried_again_and_not_shown(scripted, tmp_path):
    client, script, path = large(scripted, tmp_path, httpx.Response(400, text="MalformedSecurityHeader"))
    with pytest.raises(errors.TransferFailed, match="MalformedSecurityHeader") as caught:
        client.upload_dataset("pw-d", path)
    assert "sig=1" not in str(caught.value)
    assert len(script.requests) == 2


def test_a_missing_address_is_an_error_before_any_byte_is_sent(scripted, tmp_path):
    client, script, path = large(scripted, tmp_path, httpx.Response(200))
    del script.answers[f"POST {D}:getUploadEndpoint"]["filenameToSignedUrls"]["rows-00001-of-00003.jsonl"]
    with pytest.raises(errors.BadAnswer, match=r"no signed address for rows-00001-of-00003\.jsonl"):
        client.upload_dataset("pw-d", path)
    assert len(script.requests) == 1


def test_a_wedged_dataset_is_explained(scripted, tmp_path):
    client, _, path = large(scripted, tmp_path, httpx.Response(200))
    client, _ = scripted(
        {
            f"POST {DATASETS}": {"exampleCount": "9", "state": "UPLOADING"},
            f"GET {D}": {"exampleCount": "9", "state": "UPLOADING"},
            f"POST {D}:getUploadEndpoint": httpx.Response(405, json={"code": 12, "message": "Method Not Allowed"}),
        }
    )
    client.small_upload_bytes = 50
    with pytest.raises(errors.Failed, match=r"stuck in UPLOADING.*upload under a new ID"):
        client.ensure_dataset("pw-d", path, example_count=9)


def test_it_is_ready_only_when_the_platform_says_so(scripted, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("{}\n")
    states = [{"state": "UPLOADING", "exampleCount": "1"}] * 2 + [{"state": "READY", "exampleCount": "1"}]
    client, script = scripted({f"POST {DATASETS}": states[0], f"POST {D}:upload": {}, f"GET {D}": states})
    assert client.ensure_dataset("pw-d", path, example_count=1).state == "READY"
    assert script.slept == [3.0, 3.0]


def test_rows_that_the_platform_refuses_end_the_wait(scripted):
    bad = {"state": "UPLOADING", "status": {"code": "INVALID_ARGUMENT", "message": "line 3: no messages."}}
    client, _ = scripted({f"GET {D}": bad})
    with pytest.raises(errors.Failed, match=r"INVALID_ARGUMENT: line 3: no messages\. Mend the rows"):
        client.wait_for_dataset("pw-d")


def test_a_wait_ends(scripted):
    client, _ = scripted({f"GET {D}": {"state": "UPLOADING"}})
    with pytest.raises(errors.Overdue, match="dataset pw-d is still UPLOADING after 60 s"):
        client.wait_for_dataset("pw-d", timeout_s=60)


def test_shards_end_at_line_ends_and_are_the_file(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"a\n" + b"b" * 40 + b"\n" + b"cc\n" * 5 + b"no newline at the end")
    for size in (1, 2, 3, 10, 41, 1000):
        found = shards(path, size)
        parts = [b"".join(shard.read()) for shard in found]
        assert b"".join(parts) == path.read_bytes()
        assert all(part.endswith(b"\n") for part in parts[:-1])
        assert [len(part) for part in parts] == [shard.size for shard in found]
        assert len({shard.name for shard in found}) == len(found)
    assert shards(path, 1000) == [Shard("rows.jsonl", path, 0, path.stat().st_size)]


def test_an_empty_file_is_not_uploaded(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.touch()
    with pytest.raises(errors.TransferFailed, match="is empty"):
        shards(path)


URL = "https://storage.example/rows.jsonl?sig=1"


def fetched(scripted, tmp_path, answers, **settings):
    client, script = scripted({"GET /rows.jsonl": answers})
    target = tmp_path / "rows.jsonl"
    return script, lambda: transfer.download(client._connection, URL, target, **settings)


def broken(content, whole, **headers):
    """An answer that says its length and stops short of it."""
    answer = httpx.Response(200, content=content, headers=headers)
    answer.headers["content-length"] = str(whole)
    return answer


def test_a_download_that_broke_off_goes_on_with_the_same_bytes(scripted, tmp_path):
    rest = httpx.Response(206, content=b"6789")
    script, fetch = fetched(scripted, tmp_path, [broken(b"012345", 10, etag='"v1"'), rest])
    assert fetch().read_bytes() == b"0123456789"
    again = script.requests[1].headers
    assert (again["range"], again["if-range"]) == ("bytes=6-", '"v1"')


def test_a_file_that_changed_meanwhile_is_taken_from_its_start(scripted, tmp_path):
    whole = httpx.Response(200, content=b"other", headers={"etag": '"v2"'})
    _, fetch = fetched(scripted, tmp_path, [broken(b"012345", 10, etag='"v1"'), whole])
    assert fetch().read_bytes() == b"other"


def test_without_a_strong_tag_a_download_starts_over(scripted, tmp_path):
    whole = httpx.Response(200, content=b"0123456789")
    script, fetch = fetched(scripted, tmp_path, [broken(b"012345", 10, etag='W/"v1"'), whole])
    assert fetch().read_bytes() == b"0123456789"
    assert "range" not in script.requests[1].headers


def test_a_part_of_another_process_is_gone_on_with(scripted, tmp_path):
    (tmp_path / "rows.jsonl.part").write_bytes(b"0123")
    (tmp_path / "rows.jsonl.version").write_text('"v1"')
    script, fetch = fetched(scripted, tmp_path, [httpx.Response(206, content=b"456789")])
    assert fetch().read_bytes() == b"0123456789"
    assert script.requests[0].headers["range"] == "bytes=4-"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["rows.jsonl"]


def test_a_part_that_is_too_long_is_dropped(scripted, tmp_path):
    (tmp_path / "rows.jsonl.part").write_bytes(b"0123456789x")
    (tmp_path / "rows.jsonl.version").write_text('"v1"')
    _, fetch = fetched(scripted, tmp_path, [httpx.Response(416), httpx.Response(200, content=b"0123456789")])
    assert fetch().read_bytes() == b"0123456789"


def test_a_download_that_never_arrives_whole_is_no_file(scripted, tmp_path):
    _, fetch = fetched(scripted, tmp_path, broken(b"012345", 10))
    with pytest.raises(errors.TransferFailed, match=r"did not arrive whole \(Incomplete: 6 of 10 bytes\)") as caught:
        fetch()
    assert not (tmp_path / "rows.jsonl").exists()
    assert "sig=1" not in str(caught.value)


def test_an_expired_address_is_said_so_at_once(scripted, tmp_path):
    script, fetch = fetched(scripted, tmp_path, httpx.Response(400, text="ExpiredToken"))
    with pytest.raises(errors.TransferFailed, match=r"ExpiredToken\. Ask for the download again"):
        fetch()
    assert len(script.requests) == 1


@pytest.mark.parametrize("honest", [True, False])
def test_a_download_is_bounded(scripted, tmp_path, honest):
    answer = httpx.Response(200, content=b"x" * 100)
    if not honest:
        del answer.headers["content-length"]
    _, fetch = fetched(scripted, tmp_path, answer, max_bytes=50)
    with pytest.raises(errors.TransferFailed, match="50"):
        fetch()
    assert not (tmp_path / "rows.jsonl").exists()


@pytest.mark.parametrize(
    ("key", "name"),
    [("a/b/rows.jsonl", "rows.jsonl"), ("rows.jsonl", "rows.jsonl"), ("../../etc/passwd", "passwd"), ("a\\b", "b")],
)
def test_a_key_may_be_an_objects_path_and_never_leaves_the_folder(key, name):
    assert file_name(key) == name


@pytest.mark.parametrize("key", ["", "a/..", ".", "/", "a\0b"])
def test_a_key_without_a_name_is_refused(key):
    with pytest.raises(errors.TransferFailed, match="under a name that is none"):
        file_name(key)


def test_two_files_of_one_name_are_not_written_over_each_other(scripted, tmp_path):
    urls = {"a/rows.jsonl": URL, "b/rows.jsonl": URL}
    client, script = scripted({f"GET {D}:getDownloadEndpoint": {"filenameToSignedUrls": urls}})
    with pytest.raises(errors.TransferFailed, match="the same name"):
        client.download_dataset("pw-d", tmp_path)
    assert len(script.requests) == 1
