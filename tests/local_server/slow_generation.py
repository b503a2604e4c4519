"""A generation child that repeats the last user message at uneven length, and hangs where that has a word: WORD, SEEN.

SEEN is a file that is there once it has read the word. It judges, too: a tuned model's answer is better than any other,
and an answer that begins with Short is better than one that does not.
"""

import json
import re
import sys
import threading
import time
from pathlib import Path

WORD, SEEN = sys.argv[1], Path(sys.argv[2])
ANSWERS = re.compile(r"<<<ANSWER [AB] ([0-9a-f]{16})>>>\n(.*?)\n<<<END OF", re.S)
lock = threading.Lock()


def text_of(request):
    asked = request["messages"][-1]["content"]
    found = [text for _, text in ANSWERS.findall(asked)]
    if len(found) != 2:
        whose, every = ("tuned", 4) if request["adapter"] else ("base", 3)
        return f"{asked}{' indeed' * (len(asked) % every)} /{whose}"
    first, second = ((text.endswith("/tuned"), text.startswith("Short")) for text in found)
    return json.dumps({"reason": "it is better", "winner": "tie" if first == second else "AB"[second > first]})


def answer(request):
    if WORD in request["messages"][-1]["content"]:
        SEEN.touch()
        time.sleep(3600)
    text = text_of(request)
    choice = {"index": 0, "text": text, "finish_reason": "stop", "token_ids": [1], "logprobs": None}
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    with lock:
        print(json.dumps({"id": request["id"], "choices": [choice] * request["n"], "usage": usage}), flush=True)


for line in sys.stdin:
    message = json.loads(line)
    if "cancel" not in message:
        threading.Thread(target=answer, args=(message,), daemon=True).start()
