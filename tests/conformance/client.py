"""The official Python client, as an application would use it; one message a line.

    client.py create URL
    client.py produce URL COUNT        writes 0, 1, …: prints each before, and waits for a line in return
    client.py read URL MODE COUNT      prints messages: MODE is sse, long-poll or off

The client does not repeat what failed: the application must, here and in `on_error`. Where it goes on is
told by the last event it was given, not by the response, which is ahead of it when a body breaks off.
"""

import json
import sys
import time

import httpx
from durable_streams import DurableStream, DurableStreamError, stream

PAUSE_S = 0.02


def passes(error):
    """Whether the same request may succeed later."""
    if isinstance(error, DurableStreamError):
        return error.status is not None and 500 <= error.status
    return isinstance(error, httpx.TransportError)


def again(error):
    if not passes(error):
        return None
    time.sleep(PAUSE_S)
    return {}


def produce(url, count):
    place = 0
    headers = {
        "Producer-Id": "writer",
        "Producer-Epoch": "0",
        "Producer-Seq": lambda: str(place),
    }
    with DurableStream(
        url, headers=headers, content_type="application/json", batching=False
    ) as handle:
        while place < count:
            print(place, flush=True)
            if not sys.stdin.readline():
                raise EOFError("nobody lets the next message through")
            while True:
                try:
                    handle.append(place)
                    break
                except Exception as error:
                    if again(error) is None:
                        raise
            place += 1


def read(url, mode, count):
    live = False if mode == "off" else mode
    offset, seen = "-1", 0
    while True:
        try:
            with stream(url, offset=offset, live=live, on_error=again) as answer:
                for event in answer.iter_events(mode="json"):
                    for message in event.data:
                        print(json.dumps(message), flush=True)
                        seen += 1
                    offset = event.next_offset
                    if live and count <= seen:
                        return
            if not live:
                return
        except Exception as error:
            if again(error) is None:
                raise


def main():
    command, url, *rest = sys.argv[1:]
    if command == "create":
        DurableStream.create(url, content_type="application/json").close()
    elif command == "produce":
        produce(url, int(rest[0]))
    else:
        read(url, rest[0], int(rest[1]))


main()
