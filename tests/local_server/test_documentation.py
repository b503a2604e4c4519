"""What docs/local-server.md shows is what the server reads and answers."""

import re
import tomllib
from pathlib import Path

import pytest

from local_server.billing import Prices

TEXT = (Path(__file__).parents[2] / "docs/local-server.md").read_text(encoding="utf-8")
MODELS, PRICES = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)


def test_the_price_book_is_read(tmp_path):
    (tmp_path / "prices.toml").write_text(PRICES, encoding="utf-8")
    found = Prices.read(tmp_path / "prices.toml")
    assert (found.dpo_training_per_million, found.replica_hour, found.batch_share) == (1.0, 8.0, 0.5)


def test_a_line_is_enough_for_a_model(api, local_server, hollow_model):
    (id,) = tomllib.loads(MODELS)
    with (local_server.home / "models.toml").open("a") as file:
        file.write(MODELS.replace("/models/Qwen3-0.6B", str(hollow_model)))
    assert api("GET", f"/v1/accounts/fireworks/models/{id}")["state"] == "READY"


@pytest.mark.parametrize("field", ["warmStartFrom"])
def test_what_is_said_not_to_be_offered_is_refused(api, rows_for, field):
    body = {"dataset": api.dataset("d", rows_for()), "trainingConfig": {field: "accounts/local/models/m"}}
    assert "does not continue from an adapter" in api.fails(501, "POST", "dpoJobs", json=body)
