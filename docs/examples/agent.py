#!/usr/bin/env python3
"""An agent in a page of Python: takes turns of the agent "echo" at any node and says the input back,
word by word. What is said to it meanwhile it says next instead, and a cancel stops it at once. Needs
nothing but Python 3.

    python3 docs/examples/agent.py http://127.0.0.1:4437

A key, where the node asks for one, is taken from OUTLIVE_KEY. Killed in the middle of a turn, it is
replaced by whoever claims next, and the turn goes on. Asked to end (SIGTERM), it gives its turn away before
it does.
"""
import base64
import json
import os
import queue
import signal
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

if len(sys.argv) != 2 or not sys.argv[1].startswith(("http://", "https://")):
    sys.exit(f"usage: {sys.argv[0]} http://ADDRESS:PORT")
NODE = sys.argv[1].rstrip("/")
KEY = os.environ.get("OUTLIVE_KEY")
HEADERS = {"Authorization": f"Bearer {KEY}"} if KEY else {}
WORKER = "echo-example"
PAUSE_S = 0.05  # between two words, as a model would need them
DRAIN = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: DRAIN.set())


def ask(path, body=None):
    """Asks until there is an answer: every request here may be repeated. None where it is to end before."""
    data = None if body is None else json.dumps(body).encode()
    tries = 0
    while True:
        try:
            request = urllib.request.Request(NODE + path, data, HEADERS)
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as refusal:
            if refusal.code < 500 and refusal.code not in (408, 429):
                return refusal.code, json.loads(refusal.read() or b"null")
            why = refusal
        except OSError as error:
            why = error
        tries += 1
        if tries == 1:
            print(f"{NODE}: {why}; trying again", file=sys.stderr, flush=True)
        # Asked to end, it tries for as long as giving a turn away may take.
        if DRAIN.is_set() and 10 < tries:
            return None, None
        time.sleep(0.5)


def text_of(event):
    """The text of an input; of one that is JSON, that."""
    return event["text"] if "text" in event else json.dumps(event.get("data", event.get("base64", "")))


def listen(turn, path, steers, stop):
    """Reads the signals of the turn, until it is over for us."""
    after = turn["cursor"]
    while not stop.is_set():
        where = urllib.parse.urlencode({"epoch": turn["epoch"], "after": after, "wait_ms": 20000})
        status, answer = ask(f"{path}/signals?{where}")
        for signal in answer["signals"] if status == 200 else []:
            print(f"{turn['turn']}: {signal['what']}", flush=True)
            if signal["what"] == "steer":
                steers.put(signal["event"])
        if status != 200 or answer["over"]:
            return stop.set()
        after = answer["next"]


def work(turn):
    """Says the last input word by word, and ends the turn; stops at once when it is not ours any more."""
    session, name = (urllib.parse.quote(turn[key], safe="") for key in ("session", "turn"))
    path = f"/v1/sessions/{session}/turns/{name}"
    steers, stop = queue.Queue(), threading.Event()
    threading.Thread(target=listen, args=(turn, path, steers, stop), daemon=True).start()
    inputs = [event for event in turn["events"] if event.get("type") == "input.accepted"]
    consumed, words, seq = inputs[-1]["serial"], text_of(inputs[-1]).split(), 0
    # A worker before this one noted which input it answered, and how many words of it were left.
    checkpoint = json.loads(base64.b64decode(turn["checkpoint"] or "") or "null")
    if checkpoint and checkpoint["consumed"] == consumed:
        words = words[len(words) - checkpoint["left"]:]
    while not stop.wait(PAUSE_S):
        while not steers.empty():
            steer = steers.get()
            consumed, words = steer["serial"], text_of(steer).split()
        report = {"epoch": turn["epoch"], "seq": seq, "consumed": consumed}
        if words and not DRAIN.is_set():
            report["events"] = [{"text": words.pop(0) + " "}]
        if not words:
            report["then"] = "complete"
        elif DRAIN.is_set():
            report["then"] = "release"
        # For whoever has the turn next: it is kept together with the words.
        left = json.dumps({"consumed": consumed, "left": len(words)})
        report["checkpoint"] = base64.b64encode(left.encode()).decode()
        status, answer = ask(f"{path}/output", report)
        if status != 200 or answer["over"] or report.get("then") == "release":
            return stop.set()
        seq += 1


while not DRAIN.is_set():
    status, turn = ask("/v1/agents/echo/claim", {"worker": WORKER, "wait_ms": 5000})
    if status == 200:
        work(turn)
    elif status is not None and 400 <= status:
        sys.exit(f"{NODE} refuses: {turn.get('detail', turn)}")
