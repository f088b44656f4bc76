#!/usr/bin/env bash
# What it costs to ask who sends a request: two nodes, one with keys and one without, are put under the same load in
# turns, and the processor time that each paid is told as a ratio, with keys to without.
#
#   scripts/auth_cost.sh [ROUNDS=5] [SECONDS=10]
#
# OUTLIVE_BASE_PORT   the nodes' ports are this one and the next   [4437]
# OUTLIVE_BINARY      another binary; nothing is built             [./target/release/outlive]
# CARGO_TARGET_DIR    where the binary is built                    [./target]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

rounds=${1:-5} seconds=${2:-10} port=${OUTLIVE_BASE_PORT:-4437}
if [[ -z ${OUTLIVE_BINARY:-} ]]; then
  cargo build --release --locked --bin outlive
  OUTLIVE_BINARY=${CARGO_TARGET_DIR:-target}/release/outlive
fi
outlive=$(realpath "$OUTLIVE_BINARY")
# A node takes no variable of its names that it does not know.
unset OUTLIVE_BINARY OUTLIVE_BASE_PORT OUTLIVE_URL OUTLIVE_KEY
dir=$(mktemp -d "${TMPDIR:-/tmp}/outlive-auth-XXXXXX")
declare -A pids urls
end() {
  local code=$?
  trap - EXIT
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait
  rm -rf "$dir"
  exit "$code"
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Starts a node under a name, with further flags, and waits until it is ready.
start() {
  local name=$1 at=$2
  shift 2
  urls[$name]=http://127.0.0.1:$at
  "$outlive" serve --listen "127.0.0.1:$at" --data-dir "$dir/$name" "$@" 2>"$dir/$name.log" &
  pids[$name]=$!
  for _ in $(seq 300); do
    if curl -sf "${urls[$name]}/readyz" >/dev/null; then return; fi
    kill -0 "${pids[$name]}" || { cat "$dir/$name.log" >&2; exit 1; }
    sleep 0.1
  done
  echo "auth_cost.sh: $name is not ready" >&2
  exit 1
}

(umask 077 && head -c 32 /dev/urandom | base64 | tr -d '=\n' >"$dir/root.key")
start without "$port"
start with "$((port + 1))" --root-key "$dir/root.key"
rights=create,read,publish,delete
key=$(OUTLIVE_KEY=$(cat "$dir/root.key") "$outlive" key create bench --right $rights --url "${urls[with]}")

# One figure of a run, by its name in the report.
measure() {
  local name=$1 figure=$2
  shift 2
  local more=()
  [[ $name == without ]] || more=(--key "$key")
  "$outlive" bench "$@" --url "${urls[$name]}" --pid "${pids[$name]}" --json "${more[@]}" |
    sed -n "s/^ *\"$figure\": \([0-9.]*\),\{0,1\}$/\1/p"
}

# Runs both in turns, first the one and then the other, and tells the middle of the ratios.
compare() {
  local what=$1 figure=$2 round a b
  shift 2
  for round in $(seq "$rounds"); do
    if ((round % 2)); then
      a=$(measure with "$figure" "$@") b=$(measure without "$figure" "$@")
    else
      b=$(measure without "$figure" "$@") a=$(measure with "$figure" "$@")
    fi
    echo "$what, round $round: $a with keys, $b without" >&2
    awk -v a="$a" -v b="$b" 'BEGIN { print a / b }'
  done | sort -g | awk -v what="$what" '
    { all[NR] = $1 }
    END { printf "%s: x%.3f with keys (%.3f to %.3f, %d rounds)\n", what, all[int((NR + 1) / 2)], all[1], all[NR], NR }'
}

compare "CPU of a request" 'CPU_per_million_acked_events_(s)' closed --writers 16 --seconds "$seconds"
compare "CPU of a delivery to a stream" 'CPU_per_million_deliveries_(s)' open --seconds "$seconds"
