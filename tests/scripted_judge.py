"""Judges behind a loopback OpenAI-compatible endpoint, each known by its model's name.

perfect: the better answer, as `better` says. first: always A. longer: the longer answer. coin: by a hash of what it
saw. unbounded, json-mode, words, thinker: perfect, and they take no bounds, no schema, no format, no temperature.
hang: never answers. garbage: text around a verdict. refuse: 400. half: perfect, and garbage for every other pair.
A rubric is written by all of them but hang, garbage and refuse, in the words of `criteria`, and an instruction read as
`settings` says.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FENCED = re.compile(
    r"^<<<(?P<name>[A-Z0-9 ]+?) (?P<code>[0-9a-f]{16})>>>\n(?P<text>.*?)\n<<<END OF (?P=name) (?P=code)>>>$",
    re.M | re.S,
)


class ScriptedJudges:
    """`better(conversation, one, other)` says whether the first answer is the better one."""

    def __init__(
        self,
        better: Callable[[str, str, str], bool | None],
        criteria: Callable[[str], list[dict]] = lambda text: [{"text": "is better", "pairs": [1]}],
        settings: Callable[[str], dict] = lambda text: {},
    ) -> None:
        self.better, self.criteria, self.settings = better, criteria, settings
        self.bodies: list[dict] = []
        self.headers: list[dict] = []
        self._released = threading.Event()
        judges = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                judges.bodies.append(body)
                judges.headers.append({"path": self.path, **dict(self.headers)})
                if body["model"] == "hang":
                    judges._released.wait(60)
                    self.close_connection = True
                    return
                status, answer = judges.answer(body)
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args) -> None:
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 256
            daemon_threads = True
            handle_error = lambda *args: None  # noqa: E731 - callers that gave up are meant

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._released.set()
        self.server.shutdown()
        self.server.server_close()

    def answer(self, body: dict) -> tuple[int, dict]:
        model, text = body["model"], body["messages"][-1]["content"]
        if model == "refuse":
            return 400, {"error": {"message": "response_format is not supported", "type": "invalid_request_error"}}
        if refusal := self.refusal(model, body):
            return 400, {"error": {"message": refusal, "type": "invalid_request_error"}}
        if model == "locked":
            return 401, {"error": {"message": "no such key"}}
        if model == "garbage":
            return 200, completion("Well, I think that [[A]] is better.")
        if body.get("response_format", {}).get("json_schema", {}).get("name") == "instruction":
            asked = body["response_format"]["json_schema"]["schema"]["required"]
            return 200, completion(json.dumps({name: self.settings(text).get(name) for name in asked}))
        if body.get("response_format", {}).get("json_schema", {}).get("name") == "rubric":
            return 200, completion(json.dumps({"criteria": self.criteria(text)}))
        return 200, completion(json.dumps({"reason": f"{model} says so", "winner": self.winner(model, text)}))

    @staticmethod
    def refusal(model: str, body: dict) -> str | None:
        """In the words of servers that are in use."""
        kind = body.get("response_format", {}).get("type")
        if model == "unbounded" and "maxLength" in json.dumps(body):
            return "Invalid schema for response_format 'verdict': 'maxLength' is not permitted."
        if model == "json-mode" and kind == "json_schema":
            return "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model."
        if model == "words" and kind:
            return f"This response_format type is unavailable now: {kind}"
        if model == "thinker" and "max_tokens" in body:
            return "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'."
        if model == "thinker" and "temperature" in body:
            return "Unsupported value: 'temperature' does not support 0 with this model."
        return None

    def winner(self, model: str, text: str) -> str:
        told = {found["name"]: found["text"] for found in FENCED.finditer(text)}
        conversation, a, b = told["CONVERSATION"], told["ANSWER A"], told["ANSWER B"]
        if model == "first":
            return "A"
        if model == "longer":
            return "tie" if len(a) == len(b) else "A" if len(a) > len(b) else "B"
        if model == "coin":
            return "AB"[hashlib.sha256(text.encode()).digest()[0] % 2]
        if model == "half" and hashlib.sha256("".join(sorted([a, b])).encode()).digest()[0] % 2:
            return "neither"
        ours = self.better(conversation, a, b)
        return "tie" if ours is None else "A" if ours else "B"


def completion(text: str) -> dict:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "judge",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 300, "completion_tokens": 20, "total_tokens": 320},
    }
