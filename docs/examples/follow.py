#!/usr/bin/env python3
"""Keeps a table of PostgreSQL up to date with the messages of all sessions. Needs nothing but Python 3 and psql,
which finds its database by the usual variables (PGHOST, PGUSER, PGDATABASE and so on).

    python3 docs/examples/follow.py http://127.0.0.1:4437

Where it is in the changes is kept in the database itself, and moves in the transaction that writes what they say:
however often it is killed, and at whichever node it goes on, each message is in the table once. A key for the cluster
is read from OUTLIVE_KEY. What is kept of a session is all of it, read again when it changes; where sessions are long,
read on from the first message of the oldest turn that is open.
"""
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

NODES = [url.rstrip("/") for url in sys.argv[1:]]
TABLES = """
create table if not exists outlive_follower (only_one boolean primary key default true, place text not null);
create table if not exists outlive_messages (
  session text, incarnation bigint, id bigint, role text, turn text, text text, complete boolean,
  last_serial bigint, primary key (session, incarnation, id));
insert into outlive_follower (place) values ('start') on conflict do nothing;
"""


def ask(path):
    """Asks one node after the other until one answers."""
    while True:
        request = urllib.request.Request(NODES[0] + path)
        if os.environ.get("OUTLIVE_KEY"):
            request.add_header("authorization", "Bearer " + os.environ["OUTLIVE_KEY"])
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as refusal:
            if refusal.code in (404, 410):
                return None
            if refusal.code < 500 and refusal.code != 429:
                sys.exit(f"{path}: {refusal.code} {refusal.read().decode()}")
        except (OSError, ValueError):
            pass
        NODES.append(NODES.pop(0))
        time.sleep(0.2)


def sql(text):
    """Runs a script; the database takes all of it or nothing."""
    psql = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-1", "-f", "-"]
    done = subprocess.run(psql, input=text.encode(), stdout=subprocess.PIPE, check=True)
    return done.stdout.decode().strip()


def quoted(text):
    return "'" + text.replace("'", "''") + "'"


def messages(session):
    """All messages of a session, as rows; none where it is gone meanwhile, which a later change says, too."""
    rows, after = [], "start"
    while after is not None:
        query = urllib.parse.urlencode({"after": after, "limit": 500})
        page = ask(f"/v1/sessions/{urllib.parse.quote(session, safe='')}/messages?{query}")
        if page is None:
            return []
        for message in page["messages"]:
            # PostgreSQL has no text with a NUL.
            text = message["text"].replace("\0", "\N{REPLACEMENT CHARACTER}")
            rows.append({
                "session": session, "incarnation": page["incarnation"], "id": message["id"],
                "role": message["role"], "turn": message.get("turn"), "text": text,
                "complete": message["complete"], "last_serial": message["to"],
            })
        after = page["newer"]
    return rows


def main():
    sql(TABLES)
    place = sql("select place from outlive_follower")
    while True:
        page = ask("/v1/changes?" + urllib.parse.urlencode({"after": place, "wait_ms": 20000}))
        if page is None:
            sys.exit("this node knows no changes")
        names = sorted({change["session"] for change in page["changes"]})
        rows = [row for name in names for row in messages(name)]
        script = f"""
do $$ begin
  update outlive_follower set place = {quoted(page["next"])} where place = {quoted(place)};
  if not found then raise 'somebody else follows, too'; end if;
end $$;
{"delete from outlive_messages;" if page.get("reset") else ""}
delete from outlive_messages where session in (select jsonb_array_elements_text({quoted(json.dumps(names))}));
insert into outlive_messages
  select * from jsonb_to_recordset({quoted(json.dumps(rows))}) as r (
    session text, incarnation bigint, id bigint, role text, turn text, text text, complete boolean,
    last_serial bigint);
"""
        sql(script)
        place = page["next"]


if __name__ == "__main__":
    main()
