"""The base model that comes along, really tuned: a few steps on the example's own pairs, and it answers otherwise."""

import json
import math
from pathlib import Path

import pytest

from local_server.config import Settings, default_home
from local_server.threaded import ThreadedServer

EXAMPLE = Path(__file__).parents[2] / "examples" / "concise"
PACKAGED = "accounts/fireworks/models/smollm2-135m-instruct"
BASE = "accounts/local/deployments/base"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def api(tmp_path, connect):
    prepared = default_home() / "weights"  # by `make`; the server fetches them itself where they are not
    if prepared.is_dir():
        (tmp_path / "weights").symlink_to(prepared.resolve())
    with ThreadedServer(Settings(home=tmp_path)) as server:
        yield connect(server.url)


def test_a_few_steps_start_at_ln_2_and_change_the_answers(api):
    rows = [json.loads(line) for line in (EXAMPLE / "train.jsonl").read_text().splitlines()][:16]
    config = {"baseModel": PACKAGED, "learningRate": 5e-4, "epochs": 2, "batchSizeSamples": 8, "loraRank": 16}
    api.job("few", api.dataset("pairs", rows), trainingConfig=config)
    done = api.until("dpoJobs/few", lambda b: b["state"] in ("JOB_STATE_COMPLETED", "JOB_STATE_FAILED"), 600)
    assert done["state"] == "JOB_STATE_COMPLETED", done["status"]
    url = api("GET", "dpoJobs/few:getMetricsFileEndpoint")["signedUrl"]
    lines = [json.loads(line) for line in api.http.get(url).text.splitlines()]
    assert len(lines) == 4
    assert lines[0]["dpo_loss"] == pytest.approx(math.log(2), abs=0.01)  # bfloat16
    assert lines[-1]["dpo_loss"] < lines[0]["dpo_loss"]

    api.deployment("base", PACKAGED, enableAddons=True)
    api("POST", "deployedModels", json={"model": "accounts/local/models/few", "deployment": BASE})
    api.until("deployments/base", lambda body: body["replicaCount"] == 1, 240)
    api.served(f"accounts/local/models/few#{BASE}")
    asked = {"text": "Tell me about the ocean.", "max_tokens": 32, "temperature": 0, "logprobs": True}
    of_base, of_tuned = (api.chat(model, **asked).json() for model in (BASE, f"accounts/local/models/few#{BASE}"))
    first = [answer["choices"][0]["logprobs"]["content"][0]["logprob"] for answer in (of_base, of_tuned)]
    assert first[0] != first[1]
    assert of_base["choices"][0]["message"]["content"]
