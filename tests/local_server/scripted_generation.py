"""A generation child without a model: it answers with the last user message, or does what that says.

Words, if it begins with "!": slow=SECONDS, exit=CODE, refuse=CODE. Requests are answered side by side.
"""

import json
import os
import sys
import threading
import time

lock = threading.Lock()
cancelled = set()


def say(message):
    with lock:
        print(json.dumps(message), flush=True)


def answer(request):
    text = request["messages"][-1]["content"]
    order = dict(word.partition("=")[::2] for word in text[1:].split()) if text.startswith("!") else {}
    if "exit" in order:
        os._exit(int(order["exit"]))
    time.sleep(float(order.get("slow", 0)))
    if "refuse" in order:
        return say({"id": request["id"], "error": {"code": order["refuse"], "message": "as asked"}})
    if request["id"] in cancelled:
        return print("cancelled", request["id"], file=sys.stderr, flush=True)
    words = text.split()[: request["max_tokens"]]
    texts = [f"{' '.join(words)} /{'tuned' if request['adapter'] else 'base'}"] * request["n"]
    if request["stream"]:
        for index, whole in enumerate(texts):
            for word in whole.split():
                say({"id": request["id"], "index": index, "delta": word + " "})
    choices = [
        {"index": index, "text": whole, "finish_reason": "stop", "token_ids": [1], "logprobs": None}
        for index, whole in enumerate(texts)
    ]
    made = len(words) * request["n"]
    usage = {"prompt_tokens": 10, "completion_tokens": made, "total_tokens": 10 + made}
    return say({"id": request["id"], "choices": choices, "usage": usage})


for line in sys.stdin:
    message = json.loads(line)
    if "cancel" in message:
        cancelled.add(message["cancel"])
    else:
        threading.Thread(target=answer, args=(message,), daemon=True).start()
