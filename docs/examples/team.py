#!/usr/bin/env python3
"""Agents that work for an agent, in a page of Python: "editor" gives each line of what it is asked to a turn of
"writer", waits for all of them without holding on to anything, and puts their answers together. Needs nothing but
Python 3.

    python3 docs/examples/team.py http://127.0.0.1:4437

Killed at any point and started again, it goes on: what was begun is not begun twice. Cancel the editor's turn, and
the writers' are cancelled. A key, where the node asks for one, is taken from OUTLIVE_KEY; it needs the rights claim
and read.
"""
import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request

if len(sys.argv) != 2 or not sys.argv[1].startswith(("http://", "https://")):
    sys.exit(f"usage: {sys.argv[0]} http://ADDRESS:PORT")
NODE = sys.argv[1].rstrip("/")
KEY = os.environ.get("OUTLIVE_KEY")
HEADERS = {"Authorization": f"Bearer {KEY}"} if KEY else {}


def ask(path, body=None):
    """Asks until there is an answer: every request here may be repeated."""
    data = None if body is None else json.dumps(body).encode()
    while True:
        try:
            request = urllib.request.Request(NODE + path, data, HEADERS)
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as refusal:
            if refusal.code < 500 and refusal.code not in (408, 429):
                return refusal.code, json.loads(refusal.read() or b"null")
        except OSError:
            pass
        time.sleep(0.5)


def text_of(turn):
    """What the turn began with."""
    return next(event.get("text", "") for event in turn["events"] if event["type"] == "input.accepted")


def report(turn, body):
    path = f"/v1/sessions/{turn['session']}/turns/{turn['turn']}"
    status, answer = ask(f"{path}/output", {"epoch": turn["epoch"], "seq": 0, **body})
    if status != 200:
        # Somebody else has the turn, or it is over: that is theirs to say.
        print(f"{turn['turn']}: {answer['code']}", file=sys.stderr, flush=True)


def edit(turn):
    """The first time it begins a turn for each line; when all of them are over, it has the turn again."""
    if not turn.get("subturns"):
        lines = text_of(turn).splitlines()[:32]
        parts = [
            {"id": f"{turn['turn']}-{at}", "agent": "writer", "content": {"text": line}}
            for at, line in enumerate(lines)
        ]
        return report(turn, {"begin": parts, "then": "wait_all"})
    answers = []
    for part in turn["subturns"]:
        _, told = ask(f"/v1/sessions/{turn['session']}/turns/{part['turn']}")
        answers.append(told["text"] if part["state"] == "completed" else f"({part['state']})")
    report(turn, {"events": [{"text": "\n".join(answers)}], "then": "complete"})


def write(turn):
    time.sleep(1)  # as a model would
    report(turn, {"events": [{"text": text_of(turn).upper()}], "then": "complete"})


def serve(agent, work, name):
    while True:
        status, turn = ask(f"/v1/agents/{agent}/claim", {"worker": name, "wait_ms": 20000})
        if status == 200:
            print(f"{name} has {turn['turn']}", flush=True)
            work(turn)
        elif status != 204:
            sys.exit(f"{agent}: {turn['detail']}")


for agent, work, name in [("writer", write, "writer-1"), ("writer", write, "writer-2")]:
    threading.Thread(target=serve, args=(agent, work, name), daemon=True).start()
serve("editor", edit, "editor-1")
