"""Bulk chat and its adaptive limit, against a real server of a few lines in a thread."""

import asyncio
import itertools
import json
import socket
import threading
import time
from contextlib import aclosing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from blocks import errors
from blocks.answers import answer_texts, without_thinking
from blocks.bulk import ChatRequest, environment_proxy
from blocks.client import FireworksClient
from blocks.limits import AdaptiveLimit, shared_limit
from preference.wire import ChatCompletion


class ChatServer:
    """Answers as `respond(n, body)` says, n counting from 0: (status, headers, body as a dict or bytes)."""

    def __init__(self, respond):
        self.respond, self.bodies, self.in_flight, self.peak = respond, [], 0, 0
        lock, chat = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with lock:
                    n = len(chat.bodies)
                    chat.bodies.append((self.path, dict(self.headers), body))
                    chat.in_flight += 1
                    chat.peak = max(chat.peak, chat.in_flight)
                status, headers, answer = chat.respond(n, body)
                with lock:
                    chat.in_flight -= 1
                if status is None:
                    self.close_connection = True
                    return self.connection.shutdown(socket.SHUT_RDWR)
                data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                for name, value in {"content-length": str(len(data)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                return self.wfile.write(data)

            def log_message(self, *args):
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 256
            handle_error = lambda *args: None  # noqa: E731 - cut connections are meant

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()


@pytest.fixture
def serve():
    running = []

    def start(respond):
        server = ChatServer(respond)
        running.append(server)
        return server

    yield start
    for server in running:
        server.server.shutdown()
        server.server.server_close()
        server.thread.join()


def completion(text="hi"):
    return {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
    }


def echo(_, body):
    return 200, {}, completion(body["messages"][-1]["content"])


def asked(n, /, model="m", **params):
    return [ChatRequest(f"r{i}", model, [{"role": "user", "content": f"row {i}"}], params) for i in range(n)]


def collect(url, requests, concurrency=8, **settings):
    async def run():
        with FireworksClient(url, "key", "acme", waits=lambda: itertools.repeat(0.01)) as client:
            return [r async for r in client.chat_many(requests, concurrency=concurrency, **settings)]

    return asyncio.run(run())


def test_each_request_gets_its_own_answer(serve):
    results = collect(serve(echo).url, asked(100))
    assert sorted(r.request.key for r in results) == sorted(f"r{i}" for i in range(100))
    assert all(r.completion.choices[0].message.content == f"row {r.request.key[1:]}" for r in results)
    assert all(r.completion.usage.total_tokens == 4 for r in results)


def test_parameters_go_out_as_they_are(serve):
    server = serve(echo)
    schema = {"type": "json_schema", "json_schema": {"name": "v", "schema": {"type": "object"}}}
    collect(server.url, asked(1, n=2, seed=7, response_format=schema, logprobs=1, reasoning_effort="none"))
    [(path, headers, body)] = server.bodies
    assert path == "/inference/v1/chat/completions"
    assert headers["Authorization"] == "Bearer key"
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "row 0"}],
        "n": 2,
        "seed": 7,
        "response_format": schema,
        "logprobs": 1,
        "reasoning_effort": "none",
    }


def test_the_remembered_address_is_used(serve):
    server = serve(echo)

    async def run():
        with FireworksClient(server.url, account="acme") as client:
            client._addresses["m"] = "m#accounts/acme/deployments/d"
            return [r async for r in client.chat_many(asked(1))]

    asyncio.run(run())
    assert server.bodies[0][2]["model"] == "m#accounts/acme/deployments/d"


def test_never_more_in_flight_than_allowed(serve):
    def slow(n, body):
        time.sleep(0.01)
        return echo(n, body)

    server = serve(slow)
    collect(server.url, asked(60), concurrency=5)
    assert server.peak <= 5


def test_a_slow_reader_slows_the_asking(serve):
    server = serve(echo)

    async def read_three():
        with FireworksClient(server.url, account="acme") as client:
            async with aclosing(client.chat_many(asked(1000), concurrency=10)) as results:
                n = 0
                async for _ in results:
                    await asyncio.sleep(0.02)
                    n += 1
                    if n == 3:
                        return

    asyncio.run(read_three())
    assert len(server.bodies) <= 3 + 10


@pytest.mark.parametrize(
    "trouble",
    [(429, {}, {}), (503, {}, {}), (502, {}, b"<html>"), (504, {}, {}), (500, {}, {}), (None, {}, {}), (200, {}, b"{")],
    ids=lambda t: str(t[0]),
)
def test_trouble_that_passes_is_waited_out(serve, trouble):
    server = serve(lambda n, body: trouble if n == 0 else echo(n, body))
    [result] = collect(server.url, asked(1, model=f"m{trouble[0]}"))
    assert result.completion is not None
    assert result.tries == 2


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        ((400, {}, {"error": {"message": "bad temperature", "code": "INVALID"}}), errors.Refused),
        ((404, {}, {"error": {"message": "not deployed", "code": "NOT_FOUND"}}), errors.NotFound),
        ((413, {}, {"error": {"message": "too long"}}), errors.Refused),
    ],
)
def test_a_request_that_is_refused_is_asked_once(serve, trouble, kind):
    server = serve(lambda n, body: trouble if body["messages"][0]["content"] == "row 1" else echo(n, body))
    results = {r.request.key: r for r in collect(server.url, asked(3))}
    assert type(results["r1"].error) is kind
    assert results["r1"].completion is None
    assert results["r1"].tries == 1
    assert results["r0"].error is results["r2"].error is None


@pytest.mark.parametrize(("status", "kind"), [(401, errors.BadKey), (402, errors.NotPaid), (403, errors.Forbidden)])
def test_no_access_ends_everything(serve, status, kind):
    server = serve(lambda n, body: (status, {}, {}) if n >= 5 else echo(n, body))
    with pytest.raises(kind):
        collect(server.url, asked(500), concurrency=4)
    assert len(server.bodies) < 20


def test_at_the_monthly_spend_limit_everything_stops(serve):
    limit = (429, {}, {"error": {"message": "Monthly spend limit exceeded for account acme"}})
    server = serve(lambda n, body: limit)
    with pytest.raises(errors.Suspended, match="billing page"):
        collect(server.url, asked(100, model="broke"), concurrency=4)
    assert len(server.bodies) < 20


def test_an_interrupt_leaves_nothing_running(serve):
    server = serve(lambda n, body: (time.sleep(0.2), *echo(n, body))[1:])

    async def interrupted():
        with FireworksClient(server.url, account="acme") as client:

            async def read():
                return [r async for r in client.chat_many(asked(1000, model="interrupted"), concurrency=8)]

            reading = asyncio.ensure_future(read())
            await asyncio.sleep(0.3)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        await asyncio.get_running_loop().shutdown_asyncgens()
        return [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]

    assert asyncio.run(interrupted()) == []
    assert shared_limit(server.url, "acme", "interrupted").in_flight == 0
    assert len(server.bodies) < 1000


def test_patience_ends(serve):
    server = serve(lambda n, body: (503, {}, {"error": {"message": "overloaded"}}))
    [result] = collect(server.url, asked(1, model="never"), patience_s=3.0)
    assert isinstance(result.error, errors.Unavailable)
    assert result.tries >= 2


def test_a_server_error_of_ones_own_is_given_up_after_a_few_tries(serve):
    server = serve(lambda n, body: (500, {}, {"error": {"message": "crash"}}))
    [result] = collect(server.url, asked(1, model="broken"))
    assert result.tries == 6
    assert "crash" in str(result.error)


def test_retry_after_pauses_all_callers_of_the_model(serve):
    times = []

    def respond(n, body):
        times.append(time.monotonic())
        return (429, {"retry-after": "0.5"}, {}) if n == 0 else echo(n, body)

    server = serve(respond)
    collect(server.url, asked(20, model="paused"), concurrency=1)
    assert times[1] - times[0] >= 0.5  # a lower bound: nothing may come sooner


def test_an_overloaded_model_is_asked_less_until_it_can_follow(serve):
    """It takes four at once and refuses more: what is refused becomes rare, and all are answered."""
    outcomes = []

    def respond(n, body):
        if server.in_flight > 4:
            outcomes.append(429)
            return 429, {"retry-after": "0.05"}, {}
        time.sleep(0.01)
        outcomes.append(200)
        return echo(n, body)

    server = serve(respond)
    results = collect(server.url, asked(300, model="busy"), concurrency=64)
    assert all(r.completion for r in results)
    half = len(outcomes) // 2
    assert outcomes[:half].count(429) > outcomes[half:].count(429)
    assert 1 <= shared_limit(server.url, "acme", "busy").limit < 32


def test_a_crash_of_the_source_is_raised(serve):
    def source():
        yield asked(1)[0]
        raise RuntimeError("the prompts ran out")

    with pytest.raises(RuntimeError, match="the prompts ran out"):
        collect(serve(echo).url, source())


def test_no_requests_no_results(serve):
    assert collect(serve(echo).url, []) == []


def test_the_proxy_is_the_environments(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,.internal.example")
    assert environment_proxy("https://api.fireworks.ai/v1") == "http://proxy.example:3128"
    assert environment_proxy("https://gateway.internal.example/v1") is None
    assert environment_proxy("http://127.0.0.1:8787/v1") is None


# the limit


def run_limit(scenario):
    async def run():
        return await scenario()

    return asyncio.run(run())


def test_the_limit_doubles_each_round_trip_until_the_first_refusal():
    async def scenario():
        limit = AdaptiveLimit(4)
        sizes = []
        for _ in range(4):
            for ticket in [await limit.acquire() for _ in range(int(limit.limit))]:
                assert ticket == 0
                limit.succeeded()
            sizes.append(limit.limit)
        return sizes

    sizes = run_limit(scenario)
    assert sizes[0] >= 6
    assert sizes == sorted(sizes)
    assert sizes[-1] >= 3 * 4


def test_calls_refused_together_halve_it_once():
    async def scenario():
        limit = AdaptiveLimit(16)
        tickets = [await limit.acquire() for _ in range(16)]
        for ticket in tickets:
            limit.refused(ticket)
        after_one_round = limit.limit
        limit.refused(await limit.acquire())
        return after_one_round, limit.limit, limit.in_flight

    assert run_limit(scenario) == (8, 1, 0)  # of the one call in flight, never below one


def test_after_a_refusal_it_grows_by_one_a_round_trip():
    async def scenario():
        limit = AdaptiveLimit(16)
        tickets = [await limit.acquire() for _ in range(16)]
        for ticket in tickets:
            limit.refused(ticket)
        tickets = [await limit.acquire() for _ in range(8)]
        for _ in tickets[:5]:  # while at least half of it is in use
            limit.succeeded()
        return limit.limit

    assert 8.4 < run_limit(scenario) < 9


def test_an_unused_limit_does_not_grow():
    async def scenario():
        limit = AdaptiveLimit(32)
        for _ in range(100):
            await limit.acquire()
            limit.succeeded()
        return limit.limit

    assert run_limit(scenario) == 32


def test_it_does_not_grow_when_the_rate_is_nearly_used_up():
    async def scenario():
        limit = AdaptiveLimit(1)
        for _ in range(10):
            await limit.acquire()
            limit.succeeded(
                {"x-ratelimit-remaining-tokens-generated": "900", "x-ratelimit-limit-tokens-generated": "36000"}
            )
        return limit.limit

    assert run_limit(scenario) == 1


def test_who_waits_gets_the_place_in_turn_and_who_gives_up_loses_none():
    async def scenario():
        limit = AdaptiveLimit(1)
        await limit.acquire()
        order = []

        async def wait(name):
            await limit.acquire()
            order.append(name)
            limit.give_back()

        first, second, third = (asyncio.ensure_future(wait(name)) for name in "abc")
        await asyncio.sleep(0)
        second.cancel()
        limit.give_back()
        await asyncio.gather(first, second, third, return_exceptions=True)
        return order, limit.in_flight

    assert run_limit(scenario) == (["a", "c"], 0)


def test_a_place_granted_in_the_moment_of_giving_up_is_not_lost():
    async def scenario():
        limit = AdaptiveLimit(1)
        await limit.acquire()
        waiting = asyncio.ensure_future(limit.acquire())
        await asyncio.sleep(0)
        limit.give_back()  # granted, but the waiter has not run yet
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await asyncio.sleep(0)
        return limit.in_flight

    assert run_limit(scenario) == 0


def test_threads_with_loops_of_their_own_share_one_limit():
    limit = AdaptiveLimit(3)
    seen, lock = [], threading.Lock()

    async def work():
        for _ in range(20):
            await limit.acquire()
            with lock:
                seen.append(limit.in_flight)
            await asyncio.sleep(0.001)
            limit.give_back()

    async def several():
        await asyncio.gather(*(work() for _ in range(4)))

    threads = [threading.Thread(target=lambda: asyncio.run(several())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(seen) == 4 * 4 * 20
    assert max(seen) <= 3
    assert limit.in_flight == 0


def test_one_limit_for_each_address_account_and_model():
    assert shared_limit("u", "a", "m") is shared_limit("u", "a", "m")
    assert shared_limit("u", "a", "m") is not shared_limit("u", "a", "other")


# what is said and what is thought


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Blue.", "Blue."),
        ("<think>hm</think>Blue.", "Blue."),
        ("<think>\nhm\n</think>\n\nBlue.\n", "Blue."),
        ("hm, red or blue</think> Blue.", "Blue."),  # the template had opened it
        ("<think>cut off by max_tok", ""),
        ("<think>a</think>Blue<think>b</think>.", "Blue."),
        ("a < b and think", "a < b and think"),
        ("", ""),
    ],
)
def test_thinking_is_taken_off(text, said):
    assert without_thinking(text) == said


def test_the_texts_of_all_choices_in_their_order():
    body = completion()
    body["choices"] = [
        {"index": 1, "message": {"role": "assistant", "content": "<think>x</think>second"}},
        {"index": 0, "message": {"role": "assistant", "content": [{"type": "text", "text": "first"}]}},
        {"index": 2, "message": {"role": "assistant", "content": None}},
    ]
    assert answer_texts(ChatCompletion.model_validate(body)) == ["first", "second", ""]
