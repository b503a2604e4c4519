import io
import tarfile

import pytest

from local_server.archives import archive_fault

CODE = {"main.py": "def evaluate(row):\n    return {'score': 1.0}\n"}
OCTETS = "application/octet-stream"


def packed(files, **special):
    """A .tar.gz; special: member name → a TarInfo type."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
        for name, kind in special.items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    return buffer.getvalue()


PROJECT = packed({"proj/requirements.txt": "", "proj/pkg/test_it.py": "def test_it(): pass\n"})


def create(api, path="evaluatorsV2", **fields):
    return api("POST", path, json={"evaluatorId": "e", "evaluator": fields})


def upload(api, data, name="proj.tar.gz"):
    (url,) = api("POST", "evaluators/e:getUploadEndpoint", json={"filenameToSize": {name: len(data)}})[
        "filenameToSignedUrls"
    ].values()
    headers = {"Content-Type": OCTETS, "X-Goog-Content-Length-Range": f"{len(data)},{len(data)}"}
    assert api.http.put(url, content=data, headers=headers).status_code == 200
    api("POST", "evaluators/e:validateUpload", json={})
    return api("GET", "evaluators/e")


@pytest.mark.parametrize("path", ["evaluatorsV2", "evaluators"])
def test_an_uploaded_project_is_built_and_comes_back(api, path):
    made = create(api, path, displayName="E", entryPoint="pkg/test_it.py::test_it", source={"type": "TYPE_UPLOAD"})
    assert (made["state"], made["name"]) == ("BUILDING", "accounts/local/evaluators/e")
    assert upload(api, PROJECT)["state"] == "ACTIVE"
    urls = api("GET", "evaluators/e:getSourceCodeSignedUrl")["filenameToSignedUrls"]
    assert {name: api.http.get(url).content for name, url in urls.items()} == {"proj.tar.gz": PROJECT}
    log = api("GET", "evaluators/e:getBuildLogEndpoint")["buildLogSignedUri"]
    assert api.http.get(log).text == "built\n"
    assert [item["name"] for item in api("GET", "evaluators")["evaluators"]] == [made["name"]]


def test_inline_code_is_active_at_once_and_comes_as_an_archive(api):
    criteria = [{"type": "CODE_SNIPPETS", "codeSnippets": {"language": "python", "fileContents": CODE}}]
    made = create(api, criteria=criteria, requirements="numpy\n")
    assert (made["state"], made["criteria"]) == ("ACTIVE", criteria)
    ((name, url),) = api("GET", "evaluators/e:getSourceCodeSignedUrl")["filenameToSignedUrls"].items()
    with tarfile.open(fileobj=io.BytesIO(api.http.get(url).content)) as archive:
        found = {member.name: archive.extractfile(member).read().decode() for member in archive}
    assert (name, found) == ("e.tar.gz", {"e/main.py": CODE["main.py"], "e/requirements.txt": "numpy\n"})


def test_inline_code_that_is_not_python_fails_to_build(api):
    criteria = [{"codeSnippets": {"fileContents": {"main.py": "def ("}}}]
    made = create(api, criteria=criteria)
    assert (made["state"], "main.py" in made["status"]["message"]) == ("BUILD_FAILED", True)
    escaping = {"evaluatorId": "f", "evaluator": {"criteria": [{"codeSnippets": {"fileContents": {"../x.py": ""}}}]}}
    assert "file's name" in api.fails(400, "POST", "evaluatorsV2", json=escaping)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"not an archive", "not a readable .tar.gz"),
        (packed({}), "the archive is empty"),
        (packed({"a/requirements.txt": "", "b/x.py": ""}), "one root folder, found 2: a, b"),
        (packed({"proj/main.py": ""}), "requirements.txt is missing"),
        (packed({"proj/requirements.txt": ""}), "entryPoint names main.py, which is not in the archive"),
        (packed({"proj/../../x": ""}), "no plain file or folder inside its root"),
        (packed({"/etc/x": ""}), "no plain file or folder inside its root"),
        (
            packed({"proj/requirements.txt": ""}, **{"proj/link": tarfile.SYMTYPE}),
            "'proj/link', which is no plain file",
        ),
        (
            packed({"proj/requirements.txt": ""}, **{"proj/hard": tarfile.LNKTYPE}),
            "'proj/hard', which is no plain file",
        ),
        (packed({"proj/requirements.txt": ""}, **{"proj/dev": tarfile.CHRTYPE}), "'proj/dev', which is no plain file"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # a packed archive has the time in it
)
def test_a_bad_archive_fails_to_build_and_says_why(tmp_path, data, said):
    (tmp_path / "a.tar.gz").write_bytes(data)
    assert said in (archive_fault(tmp_path / "a.tar.gz", "main.py::evaluate") or "built")


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("local_server.archives.MAX_UNPACKED_BYTES", 1 << 20)
    (tmp_path / "a.tar.gz").write_bytes(packed({"proj/requirements.txt": "", "proj/zeros": "0" * (2 << 20)}))
    assert "unpacks to more than 1 MB" in (archive_fault(tmp_path / "a.tar.gz", None) or "")


def test_a_failed_build_is_mended_by_another_upload(api):
    create(api, entryPoint="nowhere.py::f")
    assert upload(api, PROJECT)["state"] == "BUILD_FAILED"
    assert "prepareCodeUpload" in api.fails(
        400, "POST", "evaluators/e:getUploadEndpoint", json={"filenameToSize": {"a": 1}}
    )
    body = {"entryPoint": "pkg.test_it::test_it"}  # the module form
    assert api("PATCH", "evaluators/e", params={"prepareCodeUpload": "true"}, json=body)["state"] == "BUILDING"
    assert upload(api, PROJECT)["state"] == "ACTIVE"


def test_an_upload_is_one_bounded_archive(api):
    create(api)
    for sizes in ({"a.zip": 5}, {"a.tar.gz": 5, "b.tar.gz": 5}, {"a.tar.gz": 200_000_000}, {"../a.tar.gz": 5}, {}):
        api.fails(400, "POST", "evaluators/e:getUploadEndpoint", json={"filenameToSize": sizes})
    assert "no archive has been uploaded" in api.fails(400, "POST", "evaluators/e:validateUpload", json={})
    api.fails(404, "GET", "evaluators/e:getSourceCodeSignedUrl")


def test_an_evaluator_is_not_run_here(api):
    assert "does not run evaluators" in api.fails(501, "POST", "evaluators:previewEvaluator", json={})


def test_a_deleted_evaluator_is_gone(api):
    create(api)
    api.fails(409, "POST", "evaluatorsV2", json={"evaluatorId": "e", "evaluator": {}})
    api("DELETE", "evaluators/e")
    api.fails(404, "GET", "evaluators/e")
