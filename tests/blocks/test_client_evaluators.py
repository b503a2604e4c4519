"""Evaluators' archives: what goes in, and that nothing of another's archive gets out of its folder."""

import io
import json
import tarfile

import httpx
import pytest

from blocks import archive, errors
from preference.wire import Evaluator

E = "/v1/accounts/acme/evaluators/pw-e"


def folder_of(tmp_path, **files):
    folder = tmp_path / "my-eval"
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_an_archive_has_the_folders_name_as_its_root_and_no_secrets(tmp_path):
    folder = folder_of(
        tmp_path,
        **{
            "test_it.py": "x",
            "requirements.txt": "",
            "sub/more.py": "y",
            ".env": "KEY=1",
            ".git/config": "z",
            ".venv/lib.py": "z",
            "__pycache__/a.pyc": "z",
            "run.log": "z",
        },
    )
    (folder / "link.py").symlink_to("/etc/passwd")
    with tarfile.open(archive.pack(folder, tmp_path / "a.tar.gz")) as tar:
        assert tar.getnames() == ["my-eval/requirements.txt", "my-eval/sub/more.py", "my-eval/test_it.py"]


def test_the_same_files_make_the_same_archive(tmp_path):
    folder = folder_of(tmp_path, **{"test_it.py": "x"})
    first = archive.pack(folder, tmp_path / "a.tar.gz").read_bytes()
    (folder / "test_it.py").touch()
    assert archive.pack(folder, tmp_path / "b.tar.gz").read_bytes() == first


def packed(tmp_path, *members):
    """members: (name, bytes) or a TarInfo."""
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return path


def test_an_archive_comes_back_as_its_root(tmp_path):
    root = archive.unpack(packed(tmp_path, ("my-eval/a.py", b"1"), ("my-eval/sub/b.py", b"2")), tmp_path / "out")
    assert root == tmp_path / "out" / "my-eval"
    assert (root / "sub" / "b.py").read_bytes() == b"2"


def test_an_archive_without_a_root_is_its_folder(tmp_path):
    root = archive.unpack(packed(tmp_path, ("a.py", b"1"), ("b.py", b"2")), tmp_path / "out")
    assert root == tmp_path / "out"


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    "member",
    [
        ("../evil.py", b"x"),
        ("my-eval/../../evil.py", b"x"),
        ("/etc/evil", b"x"),
        ("my-eval\\..\\evil.py", b"x"),
        special("my-eval/link", tarfile.SYMTYPE, "/etc/passwd"),
        special("my-eval/link", tarfile.SYMTYPE, "a.py"),
        special("my-eval/hard", tarfile.LNKTYPE, "my-eval/a.py"),
        special("my-eval/null", tarfile.CHRTYPE),
        special("my-eval/disk", tarfile.BLKTYPE),
        special("my-eval/pipe", tarfile.FIFOTYPE),
    ],
    ids=lambda m: m[0] if isinstance(m, tuple) else f"{m.name} {m.type}",
)
def test_nothing_is_written_of_an_archive_that_is_not_plain(tmp_path, member):
    path = packed(tmp_path, ("my-eval/a.py", b"1"), member)
    with pytest.raises(errors.Refused, match=r"leaves its folder|something else than files"):
        archive.unpack(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_link_that_stands_in_the_folder_is_not_followed(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "my-eval").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(errors.Refused, match="would be written outside"):
        archive.unpack(packed(tmp_path, ("my-eval/a.py", b"1")), tmp_path / "out")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_bomb_is_refused_before_it_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_UNPACKED_BYTES", 1000)
    with pytest.raises(errors.Refused, match="unpacks to more than"):
        archive.unpack(packed(tmp_path, ("a", b"0" * 600), ("b", b"0" * 600)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_too_many_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_FILES", 3)
    with pytest.raises(errors.Refused, match="or 3 files"):
        archive.unpack(packed(tmp_path, *((f"f{i}", b"") for i in range(4))), tmp_path / "out")


def test_a_folder_that_is_more_than_an_evaluator_is_refused_before_it_is_packed(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_FILES", 3)
    folder = folder_of(tmp_path, **{f"{n}.py": "x" for n in range(3)})
    (folder / "node_modules").mkdir()
    (folder / "node_modules" / "more.js").write_text("")
    assert archive.pack(folder, tmp_path / "fits.tar.gz").exists()
    (folder / "data.csv").write_text("")
    with pytest.raises(errors.Refused, match=r"more than 3 files\. .* give its code a folder of its own"):
        archive.pack(folder, tmp_path / "not.tar.gz")


def test_a_file_is_no_folder_and_a_name_can_be_shown(tmp_path):
    with pytest.raises(errors.Refused, match="'my-eval/a' as a file and as a folder"):
        archive.unpack(packed(tmp_path, ("my-eval/a", b"1"), ("my-eval/a/b", b"2")), tmp_path / "out")
    with pytest.raises(errors.Refused, match="a name that cannot be shown"):
        archive.unpack(packed(tmp_path, ("my-eval/a\nb.py", b"1")), tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"not a tar", b"\x1f\x8b broken gzip"])
def test_what_is_no_archive_is_refused(tmp_path, content):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(content)
    with pytest.raises(errors.Refused, match=r"is not a whole tar archive|holds no files"):
        archive.unpack(path, tmp_path / "out")


def test_a_truncated_archive_is_refused(tmp_path):
    path = packed(tmp_path, ("a.py", bytes(range(256)) * 1000))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(errors.Refused, match="is not a whole tar archive"):
        archive.unpack(path, tmp_path / "out")


def inline(*files):
    criteria = [{"type": "CODE_SNIPPETS", "codeSnippets": {"fileContents": f, "entryFile": "main.py"}} for f in files]
    return {"name": "accounts/acme/evaluators/pw-e", "criteria": criteria}


def test_inline_code_is_written_without_a_download(scripted, tmp_path):
    client, script = scripted({f"GET {E}": inline({"main.py": "def f(): ..."})})
    root = client.download_evaluator_source("pw-e", tmp_path)
    assert (root / "main.py").read_text() == "def f(): ..."
    assert len(script.requests) == 1


def test_inline_code_does_not_leave_the_folder(scripted, tmp_path):
    client, _ = scripted({f"GET {E}": inline({"../evil.py": "x"})})
    with pytest.raises(errors.Refused, match="leaves its folder"):
        client.download_evaluator_source("pw-e", tmp_path / "out")
    assert not (tmp_path / "evil.py").exists()


def test_two_criteria_may_not_write_different_files_of_one_name(scripted, tmp_path):
    client, _ = scripted({f"GET {E}": inline({"main.py": "a"}, {"main.py": "b"})})
    with pytest.raises(errors.Refused, match=r"two different files called 'main\.py'"):
        client.download_evaluator_source("pw-e", tmp_path)


def test_an_evaluator_is_created_uploaded_and_awaited(scripted, tmp_path):
    folder = folder_of(tmp_path, **{"test_it.py": "x"})
    states = [{"state": "BUILDING"}, {"name": "n", "state": "ACTIVE"}]
    client, script = scripted(
        {
            "POST /v1/accounts/acme/evaluatorsV2": {"state": "BUILDING"},
            f"POST {E}:getUploadEndpoint": {
                "filenameToSignedUrls": {"my-eval.tar.gz": "https://storage.example/up?s=1"}
            },
            "PUT /up": httpx.Response(200),
            f"POST {E}:validateUpload": {},
            f"GET {E}": states,
        }
    )
    assert client.ensure_evaluator("pw-e", Evaluator(entry_point="test_it.py::score"), folder).state == "ACTIVE"
    assert [line.split()[0] + " " + line.rsplit("/", 1)[-1] for line in script.sent()] == [
        "POST evaluatorsV2",
        "POST pw-e:getUploadEndpoint",
        "PUT up",
        "POST pw-e:validateUpload",
        "GET pw-e",
        "GET pw-e",
    ]
    body = json.loads(script.requests[0].content)
    assert body == {"evaluatorId": "pw-e", "evaluator": {"entryPoint": "test_it.py::score"}}


def test_a_build_that_failed_says_why(scripted, tmp_path):
    folder = folder_of(tmp_path, **{"test_it.py": "x"})
    failed = {"name": "n", "state": "BUILD_FAILED", "status": {"code": "INTERNAL", "message": "pip failed."}}
    client, _ = scripted(
        {
            "POST /v1/accounts/acme/evaluatorsV2": {"state": "BUILDING"},
            f"POST {E}:getUploadEndpoint": {
                "filenameToSignedUrls": {"my-eval.tar.gz": "https://storage.example/up?s=1"}
            },
            "PUT /up": httpx.Response(200),
            f"POST {E}:validateUpload": {},
            f"GET {E}": failed,
        }
    )
    with pytest.raises(errors.Failed, match=r"could not be built: pip failed\."):
        client.ensure_evaluator("pw-e", Evaluator(entry_point="test_it.py::score"), folder)


def test_without_the_admin_role_the_advice_says_so(scripted, tmp_path):
    refused = httpx.Response(403, json={"code": 7, "message": "admin role required to call CreateEvaluatorV2"})
    client, _ = scripted({"POST /v1/accounts/acme/evaluatorsV2": refused})
    with pytest.raises(errors.Forbidden, match="creating evaluators may need the admin role"):
        client.create_evaluator("pw-e", Evaluator())
