import pytest

from local_server.billing import PriceFault, Prices
from local_server.routes.billing import money
from local_server.tokens import count_billable
from preference.tokens import EstimatedCounter

BASE = "accounts/local/deployments/base"
TINY = "accounts/fireworks/models/tiny"
RANGE = {"startTime": "2027-01-15T00:00:00Z", "endTime": "2027-01-17T00:00:00Z"}
NOON = 1_800_014_400.0  # 2027-01-15T12:00:00Z


@pytest.fixture
def now():
    return [NOON]


@pytest.fixture
def server(start_local_server, tmp_path, now):
    book = tmp_path / "prices.toml"
    book.write_text(
        "dpo_training_per_million = 1000\nreplica_hour = 8\ninput_per_million = 100\noutput_per_million = 200\n"
    )
    return start_local_server(prices=book, clock=lambda: now[0])


@pytest.fixture
def api(server, connect):
    return connect(server.url)


class ByWords:
    """Counts words, whatever the model."""

    def count_rows(self, rows):
        return [
            (
                len(row["input"]["messages"][0]["content"].split()),
                *(len(row[key][0]["content"].split()) for key in SIDES),
            )
            for row in rows
        ]


SIDES = ("preferred_output", "non_preferred_output")


def test_a_pair_is_billed_twice_its_prompt_and_once_each_answer(tmp_path, rows_for, as_jsonl):
    rows = rows_for("one two three", n=2)
    rows[1] = {**rows[1], "preferred_output": [{"role": "assistant", "content": [{"type": "text", "text": "a b"}]}]}
    (tmp_path / "rows.jsonl").write_bytes(as_jsonl(rows))
    # "Because." is one word, "Well, you see, it is a long story." eight
    assert count_billable(tmp_path / "rows.jsonl", ByWords()) == (2 * 3 + 1 + 8) + (2 * 3 + 2 + 8)


def test_training_is_charged_by_epochs_at_the_books_price(api, server, rows_for):
    api.job("j", api.dataset("d", rows_for("!")), trainingConfig={"epochs": 2})
    api.ended("j")
    (row,) = api("GET", "billingUsage", params=RANGE)["trainingCosts"]
    tokens = int(row["trainingTokens"])
    epoch = count_billable(server.home / "datasets/d/rows.jsonl", EstimatedCounter())  # it has no tokenizer
    assert tokens == 2 * epoch > 0
    assert (row["jobName"], row["baseModel"]) == ("accounts/local/dpoJobs/j", TINY)
    assert (row["startTime"], row["endTime"]) == ("2027-01-15T00:00:00Z", "2027-01-16T00:00:00Z")
    costs = api("POST", "usageCosts:query", json={**RANGE, "groupBy": ["MODEL"]})
    assert costs["rows"] == [{"dimensions": {"model": TINY}, "subtotal": money(tokens * 1000 / 1e6)}]
    assert costs["attributionCompleteness"] == "COMPLETE"


def test_a_job_that_never_trained_costs_nothing(api, rows_for):
    api.job("j", api.dataset("d", rows_for(n=2)))
    api.ended("j")
    assert api("GET", "billingUsage", params=RANGE)["trainingCosts"] == []


def test_replicas_are_charged_by_the_second_and_start_up_is_not(api, server, now, run_in):
    api.deployment("base", acceleratorCount=2)
    api.served(BASE)
    now[0] += 1800
    run_in(server, lambda services: services.serving.tick())
    now[0] += 1800
    api("PATCH", "deployments/base:scale", json={"replicaCount": 0})
    now[0] += 5000
    (row,) = api("GET", "billingUsage", params={**RANGE, "usageType": "DEDICATED_DEPLOYMENT"})["dedicatedCosts"]
    assert (row["deploymentId"], row["acceleratorSeconds"]) == (BASE, "7200")
    assert api("POST", "usageCosts:query", json=RANGE)["subtotal"] == {"currencyCode": "USD", "units": "16", "nanos": 0}


def test_tokens_on_ones_own_deployment_are_counted_and_free(api):
    api.deployment("base")
    api.served(BASE)
    assert api.chat(BASE, n=2).status_code == 200
    (row,) = api("GET", "billingUsage", params={**RANGE, "usageType": "SERVERLESS"})["serverlessCosts"]
    assert (row["modelName"], row["promptTokens"]) == (TINY, "20")  # the request that waited for it was one, too
    (item,) = api("GET", "billing/summary", params=RANGE)["lineItems"]
    assert (item["category"], item["totalCost"]) == ("INFERENCE", money(0))


def test_costs_are_grouped_by_hour_or_day_and_model(api, server, now, run_in):
    api.deployment("base", minReplicaCount=1)
    api.served(BASE)
    for _ in range(3):
        now[0] += 12 * 3600
        run_in(server, lambda services: services.serving.tick())
    days = api("POST", "usageCosts:query", json={**RANGE, "groupBy": ["DAY", "MODEL"]})["rows"]
    assert [(row["dimensions"], row["subtotal"]["units"]) for row in days] == [
        ({"startTime": "2027-01-15T00:00:00Z", "model": TINY}, "0"),
        ({"startTime": "2027-01-16T00:00:00Z", "model": TINY}, "192"),
    ]
    buckets = api("GET", "billing/summary", params={**RANGE, "granularity": "DAILY"})["usageBuckets"]
    assert [bucket["startTime"] for bucket in buckets] == ["2027-01-15T00:00:00Z", "2027-01-16T00:00:00Z"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"groupBy": ["HOUR", "DAY"]}, "HOUR or DAY, not both"),
        ({"groupBy": ["MODEL", "USER", "DAY"]}, "at most two"),
        ({"groupBy": ["COLOUR"]}, "at most two of"),
        ({"startTime": ""}, "startTime is required"),
        ({"startTime": "yesterday"}, "RFC 3339"),
        ({"startTime": RANGE["endTime"]}, "before endTime"),
    ],
)
def test_a_query_is_checked(api, body, said):
    assert said in api.fails(400, "POST", "usageCosts:query", json={**RANGE, **body})


def test_the_usage_of_more_than_a_month_is_refused(api):
    params = {"startTime": "2027-01-01T00:00:00Z", "endTime": "2027-03-01T00:00:00Z"}
    assert "31 days" in api.fails(400, "GET", "billingUsage", params=params)


def test_nothing_is_serverless_here(api):
    assert api("GET", "serverlessRateLimits") == {"rateLimits": [], "series": []}


@pytest.mark.parametrize(
    ("usd", "units", "nanos"), [(0.0, "0", 0), (12.5, "12", 500_000_000), (0.1, "0", 100_000_000), (1e-9, "0", 1)]
)
def test_money(usd, units, nanos):
    assert money(usd) == {"currencyCode": "USD", "units": units, "nanos": nanos}


def test_without_a_price_book_everything_costs_nothing():
    assert Prices.read(None) == Prices(0, 0, 0, 0, 0.5, 0)


@pytest.mark.parametrize(("text", "said"), [("a = ", "cannot be read"), ('replica_hour = "8"', "must be numbers")])
def test_a_bad_price_book_is_refused(tmp_path, text, said):
    (tmp_path / "p.toml").write_text(text)
    with pytest.raises(PriceFault, match=said):
        Prices.read(tmp_path / "p.toml")
