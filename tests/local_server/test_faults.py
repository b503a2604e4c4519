import httpx
import pytest

from local_server.faults import Fault, Faults

D = {"datasetId": "d", "dataset": {"exampleCount": 1}}


@pytest.fixture
def faults():
    return Faults()


@pytest.fixture
def api(start_local_server, connect, faults):
    return connect(start_local_server(middleware=[faults.middleware()]).url)


def test_a_cut_before_acting_leaves_nothing_done(api, faults):
    faults.add(Fault.cut_before(), method="POST")
    with pytest.raises(httpx.RemoteProtocolError):
        api("POST", "datasets", json=D)
    api.fails(404, "GET", "datasets/d")


def test_a_cut_after_acting_leaves_it_done(api, faults):
    faults.add(Fault.cut_after(), method="POST", path="/datasets")
    with pytest.raises(httpx.RemoteProtocolError):
        api("POST", "datasets", json=D)
    assert api("GET", "datasets/d")["state"] == "UPLOADING"
    api.fails(409, "POST", "datasets", json=D)


def test_a_truncated_body_breaks_off(api, faults):
    faults.add(Fault.truncated(20))
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        api("GET", "datasets")
    faults.add(Fault.truncated(1 << 20))  # longer than the body: whole
    assert api("GET", "datasets")["datasets"] == []


def test_rate_limits_and_overload_come_with_their_headers(api, faults):
    faults.add(Fault.rate_limited(2.5))
    limited = api.http.post("/v1/chat/completions", json={})
    assert (limited.status_code, limited.headers["retry-after"]) == (429, "2.5")
    assert limited.headers["x-ratelimit-remaining-tokens-generated"] == "0"
    faults.add(Fault.rate_limited())
    assert "retry-after" not in api.http.get("/v1/accounts").headers
    faults.add(Fault.overloaded())
    assert api.http.get("/v1/accounts").status_code == 503


def test_faults_meet_whom_they_are_meant_for_and_then_no_more(api, faults):
    faults.add(Fault.overloaded(), method="GET", path="/dpoJobs", times=2)
    codes = [api.http.get(f"/v1/accounts/local/{path}").status_code for path in ("models", *["dpoJobs"] * 3)]
    assert codes == [200, 503, 503, 200]
    assert [path.rsplit("/", 1)[-1] for _, path, _ in faults.met] == ["dpoJobs", "dpoJobs"]


def test_the_share_of_faults_is_by_the_seed():
    def met(seed):
        faults = Faults(seed=seed)
        faults.add(Fault.slow(0), times=None, share=0.5)
        return [faults._choose("GET", "/") is not None for _ in range(100)]

    assert met(1) == met(1) != met(2)
    assert 30 < sum(met(1)) < 70
