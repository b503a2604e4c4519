"""The base model that comes along: its tokens counted and estimated, and a few steps that make it answer otherwise."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from local_server import catalogue, weights
from local_server.config import Settings, default_home
from local_server.threaded import ThreadedServer
from preference.tokens import EstimatedCounter, ExactCounter, lacks_system, prompt_error

EXAMPLE = Path(__file__).parents[2] / "examples" / "concise"
PACKAGED = "accounts/fireworks/models/smollm2-135m-instruct"
BASE = "accounts/local/deployments/base"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def home(tmp_path):
    prepared = default_home() / "weights"  # by `make`; the server fetches them itself where they are not
    if prepared.is_dir():
        (tmp_path / "weights").symlink_to(prepared.resolve())
    return tmp_path


@pytest.fixture
def api(home, connect):
    with ThreadedServer(Settings(home=home)) as server:
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


@pytest.mark.parametrize("with_system", [True, False])
def test_an_estimate_is_as_near_as_it_says_though_the_template_adds_a_system_prompt(home, with_system):
    """Prompts of a few words are the worst case: without a system message of theirs the template's is most of them."""
    (entry,) = (entry for entry in catalogue.load(home) if entry.package)
    rows = [json.loads(line) for line in (EXAMPLE / "train.jsonl").read_text().splitlines()]
    if not with_system:
        for row in rows:
            row["input"]["messages"] = row["input"]["messages"][-1:]
    exact, estimated = ExactCounter(weights.ensure(entry, home)), EstimatedCounter()
    added = exact.texts_of(rows[:1])[0].count("You are a helpful AI assistant named SmolLM")
    assert added == (not with_system)
    counted, guessed = (np.sum(counter.count_rows(rows), axis=0) for counter in (exact, estimated))
    allowed = prompt_error(estimated, sum(map(lacks_system, rows)), guessed[0])
    assert allowed == pytest.approx(0.15) if with_system else allowed > 0.15
    assert abs(counted[0] / guessed[0] - 1) <= allowed
    assert np.all(np.abs(counted[1:] / guessed[1:] - 1) <= estimated.error)
