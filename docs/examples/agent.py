#!/usr/bin/env python3
"""An agent in a page of Python: takes turns of the agent "echo" at any node and says the input back,
word by word. Needs nothing but Python 3.

    python3 docs/examples/agent.py http://127.0.0.1:4437

Killed in the middle of a turn, it is replaced by whoever claims next, and the turn goes on.
"""
import json
import sys
import time
import urllib.error
import urllib.request

NODE = sys.argv[1].rstrip("/")
WORKER = "echo-example"


def post(path, body):
    """Asks until there is an answer: every request here may be repeated."""
    request = urllib.request.Request(NODE + path, json.dumps(body).encode())
    while True:
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as refusal:
            if refusal.code < 500 and refusal.code != 429:
                return refusal.code, json.loads(refusal.read())
        except OSError:
            pass
        time.sleep(0.5)


def work(turn):
    """Says the last input word by word, and ends the turn; stops at once when it is not ours any more."""
    spoken = [event["text"] for event in turn["events"] if event.get("type") == "input.accepted"]
    path = f"/v1/sessions/{turn['session']}/turns/{turn['turn']}/say"
    words = spoken[-1].split()
    for seq, word in enumerate(words):
        then = {"then": "complete"} if seq == len(words) - 1 else {}
        said = {"epoch": turn["epoch"], "seq": seq, "events": [{"text": word + " "}], **then}
        status, answer = post(path, said)
        if status != 200 or answer["over"]:
            return


while True:
    status, turn = post("/v1/agents/echo/claim", {"worker": WORKER, "wait_ms": 20000})
    if status == 200:
        work(turn)
