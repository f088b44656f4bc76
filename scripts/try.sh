#!/usr/bin/env bash
# Shows the main job: three nodes, a text written word by word and read at another node, and the leader
# killed (kill -9) in the middle. Ends with 0 if the text came out whole. Needs only the Rust toolchain.
#
#   scripts/try.sh [FILE=LICENSE]
#
# OUTLIVE_BASE_PORT   port of node 1; peers use 1000 above   [4437]
# CARGO_TARGET_DIR    where the binary is built              [./target]
set -euo pipefail

text=$(realpath "${1:-$(dirname "${BASH_SOURCE[0]}")/../LICENSE}")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=${CARGO_TARGET_DIR:-target}
case $target in /*) ;; *) target=$PWD/$target ;; esac
export CARGO_TARGET_DIR=$target
binary=$target/release/outlive
wait_s=120

dir=$(mktemp -d "${TMPDIR:-/tmp}/outlive-try-XXXXXX")
export OUTLIVE_CLUSTER_DIR=$dir
got=$dir/got
again=$dir/again
writer= reader=

say() { printf '\n== %s\n' "$*" >&2; }
fail() { echo "try.sh: $*" >&2; exit 1; }
size() { wc -c <"$1" | tr -d ' '; }

end() {
  local code=$?
  trap - EXIT
  [[ -z $writer ]] || kill "$writer" 2>/dev/null || true
  [[ -z $reader ]] || kill "$reader" 2>/dev/null || true
  scripts/cluster.sh down || true
  if ((code == 0)); then rm -rf "$dir"; else echo "try.sh: data and logs are kept in $dir" >&2; fi
  exit "$code"
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Waits until the reader has $1 bytes.
wait_for_bytes() {
  local end=$((SECONDS + wait_s))
  until (($1 <= $(size "$got"))); do
    kill -0 "$reader" 2>/dev/null || fail "the reader ended early"
    ((SECONDS < end)) || fail "the reader has $(size "$got") bytes after $wait_s s, and should have $1"
    sleep 0.05
  done
}

# Waits for process $1 to end well; $2 says what it is.
wait_for_end() {
  local end=$((SECONDS + wait_s))
  while kill -0 "$1" 2>/dev/null; do
    ((SECONDS < end)) || fail "the $2 did not end within $wait_s s"
    sleep 0.05
  done
  wait "$1" || fail "the $2 failed"
}

say "building (the first time takes some minutes)"
cargo build --release --locked --bin outlive

say "starting three nodes"
scripts/cluster.sh up 3

# Created first, so that the reader finds it at once.
all=$(scripts/cluster.sh url 1),$(scripts/cluster.sh url 2),$(scripts/cluster.sh url 3)
"$binary" session append try --url "$all" </dev/null
leader=$(scripts/cluster.sh leader try)
other=$((leader % 3 + 1))
third=$((other % 3 + 1))
say "node $leader leads the session 'try'; the writer is at node $leader, the reader at node $other"

: >"$got"
"$binary" session tail try --until-closed --raw --url "$(scripts/cluster.sh url "$other")" >"$got" &
reader=$!
"$binary" session append try --by word --every-ms 5 --close \
  --url "$(scripts/cluster.sh url "$leader"),$(scripts/cluster.sh url "$third")" <"$text" &
writer=$!

wait_for_bytes $(($(size "$text") / 3))
say "so far the reader has $(size "$got") of $(size "$text") bytes; it ends with:"
tail -c 160 "$got" >&2
say "kill -9 of node $leader"
scripts/cluster.sh kill "$leader"

wait_for_end "$writer" writer
writer=
wait_for_end "$reader" reader
reader=
say "the writer has closed the session, and node $(scripts/cluster.sh leader try) leads now; comparing"
cmp "$text" "$got"

say "starting node $leader again and reading the session from there"
scripts/cluster.sh start "$leader"
"$binary" session tail try --until-closed --raw --url "$(scripts/cluster.sh url "$leader")" >"$again"
cmp "$text" "$again"
say "the text came out whole, twice: $(wc -w <"$text" | tr -d ' ') words, nothing lost, doubled or moved"
