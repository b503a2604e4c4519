"""The saved platform: its form, its secret, its client."""

import json
from datetime import UTC, datetime

import httpx
import pytest
from prefect.testing.utilities import prefect_test_harness
from pydantic import ValidationError

from blocks.client_billing import money_usd
from blocks.fireworks import FireworksPlatform

KEY = "fw_NeverToBeSeen"


def test_an_address_is_required_and_checked():
    with pytest.raises(ValidationError, match="base_url"):
        FireworksPlatform()
    with pytest.raises(ValidationError, match="base_url must be an address"):
        FireworksPlatform(base_url="api.fireworks.ai")
    assert FireworksPlatform(base_url="https://api.fireworks.ai/inference/v1/").base_url == "https://api.fireworks.ai"


def test_its_form_has_a_required_field_and_no_unions():
    schema = FireworksPlatform.model_json_schema()
    assert schema["required"] == ["base_url"]  # else Prefect refuses references to it
    assert "anyOf" not in json.dumps(schema["properties"])
    assert schema["properties"]["api_key"]["writeOnly"] is True


def test_the_key_is_not_shown():
    platform = FireworksPlatform(base_url="http://127.0.0.1:8787", api_key=KEY)
    assert KEY not in repr(platform) + str(platform) + platform.model_dump_json() + repr(platform.get_client())


def test_a_client_is_made_for_a_session():
    platform = FireworksPlatform(base_url="http://127.0.0.1:8787", account="local")
    with platform.get_client(session="1-aaaa") as client:
        assert client.account == "local"
        assert client._ours == "pw-1-aaaa-"


@pytest.mark.timeout(300)
def test_it_is_saved_and_loaded_by_name_with_its_key():
    with prefect_test_harness(server_startup_timeout=240):  # a busy machine takes its time
        FireworksPlatform(base_url="http://127.0.0.1:8787", account="local", api_key=KEY).save("local")
        loaded = FireworksPlatform.load("local")
    assert (loaded.base_url, loaded.account) == ("http://127.0.0.1:8787", "local")
    assert loaded.api_key.get_secret_value() == KEY


USAGE = "/v1/accounts/acme/billingUsage"


def test_usage_is_asked_for_in_the_apis_times(scripted):
    client, script = scripted({f"GET {USAGE}": {"serverlessCosts": []}})
    client.billing_usage(datetime(2026, 11, 22, tzinfo=UTC), datetime(2026, 11, 23, tzinfo=UTC), usage_type="TRAINING")
    assert dict(script.requests[0].url.params) == {
        "startTime": "2026-11-22T00:00:00Z",
        "endTime": "2026-11-23T00:00:00Z",
        "usageType": "TRAINING",
    }


def test_a_time_without_a_zone_is_refused(scripted):
    client, _ = scripted({})
    with pytest.raises(ValueError, match="has no time zone"):
        client.billing_usage(datetime(2026, 11, 22), datetime(2026, 11, 23))


def test_costs_are_read_to_the_last_page(scripted):
    pages = [{"rows": [{"n": 1}], "nextPageToken": "t"}, {"rows": [{"n": 2}], "nextPageToken": ""}]
    client, script = scripted({"POST /v1/accounts/acme/usageCosts:query": pages})
    day = datetime(2026, 11, 22, tzinfo=UTC), datetime(2026, 11, 23, tzinfo=UTC)
    assert client.usage_costs(*day, group_by=("DAY", "MODEL")) == [{"n": 1}, {"n": 2}]
    bodies = [json.loads(r.content) for r in script.requests]
    assert bodies[1] == {**bodies[0], "pageToken": "t"}
    assert bodies[0]["groupBy"] == ["DAY", "MODEL"]


@pytest.mark.parametrize(
    ("money", "usd"),
    [
        ({"currencyCode": "USD", "units": "12", "nanos": 500_000_000}, 12.5),
        ({"units": "0", "nanos": 250_000_000}, 0.25),
        ({"units": "3"}, 3.0),
        ({"currencyCode": "USD"}, 0.0),
        ({"currencyCode": "EUR", "units": "3"}, None),
        (None, None),
    ],
)
def test_money_is_read_in_dollars_and_unknown_is_not_zero(money, usd):
    assert money_usd(money) == usd


def test_what_an_account_may_do_is_told(scripted):
    client, _ = scripted(
        {
            "GET /v1/accounts/acme/quotas": {"quotas": [{"name": "accounts/acme/quotas/h100"}]},
            "GET /v1/accounts/acme/serverlessRateLimits": {"rateLimits": [{"model": "m"}]},
            "GET /v1/accounts/acme": {"name": "accounts/acme", "suspendState": "MONTHLY_SPEND_LIMIT_EXCEEDED"},
            "GET /v1/accounts/acme/billing/summary": httpx.Response(403, json={"code": 7, "message": "admin"}),
        }
    )
    assert len(client.list_quotas()) == len(client.serverless_rate_limits()) == 1
    assert client.get_account().suspend_state == "MONTHLY_SPEND_LIMIT_EXCEEDED"
