#!/usr/bin/env bash
# What one event costs a cluster, in counts, which neighbours on the machine do not change; then in time, by layer.
#
#   scripts/profile.sh [BENCH ARGS…]   a fresh cluster under `outlive bench open` with these arguments
#                                      [--sessions 50 --rate 50 --seconds 10]
#
# Prints, for each event that was delivered and over all nodes: context switches, system calls, datagrams, syncs,
# records and bytes of the journal, and CPU, by thread: `links` is QUIC and Raft, `work` sessions and HTTP, `journal`
# and `store` the disk. The same for each second of an idle cluster. System calls need `perf`, and are left out
# without it. Datagrams are those of the whole network namespace.
#
# PROFILE_NODES    nodes                          [3]
# PROFILE_BINARY   the binary under test          [the release build]
# PROFILE_PORT     port of node 1                 [6437]
# OUTLIVE_GROUPS   Raft groups of the cluster     [the default]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$here"
[[ $# -gt 0 ]] || set -- --sessions 50 --rate 50 --seconds 10
nodes=${PROFILE_NODES:-3} port=${PROFILE_PORT:-6437}
binary=${PROFILE_BINARY:-${CARGO_TARGET_DIR:-target}/release/outlive}
unset PROFILE_NODES PROFILE_PORT
[[ -x $binary ]] || cargo build --release --locked --bin outlive
binary=$(realpath "$binary")

work=$(mktemp -d)
cluster() { OUTLIVE_CLUSTER_DIR=$work/cluster OUTLIVE_BASE_PORT=$port OUTLIVE_BINARY=$binary scripts/cluster.sh "$@"; }
trap 'cluster down >/dev/null 2>&1 || true; rm -rf "$work"' EXIT

cluster up "$nodes" >/dev/null 2>&1
pids=() urls=()
for node in $(seq "$nodes"); do
  pids+=("$(cluster pid "$node")")
  urls+=("$(cluster url "$node")")
done
comma() { local IFS=,; echo "$*"; }

# Lines of `NAME VALUE`: counts since the nodes began.
counts() {
  local pid task name
  for pid in "${pids[@]}"; do
    for task in /proc/"$pid"/task/*; do
      # A thread may end meanwhile.
      name=$(cat "$task/comm" 2>/dev/null) || continue
      name=${name#outlive-}
      awk -v name="$name" '/ctxt_switches/ {sum += $2} END {print "switches/" name, sum}' "$task/status" 2>/dev/null || continue
      awk -v name="$name" '{sub(/.*\) /, ""); print "cpu_ms/" name, ($12 + $13) * 10}' "$task/stat" 2>/dev/null || continue
    done
  done
  awk '/^Udp: [0-9]/ {print "datagrams/sent", $5}' /proc/net/snmp
  local url
  for url in "${urls[@]}"; do
    curl -fsS "$url/metrics" | awk '/^outlive_journal_(fsyncs|records|bytes_written)_total / {
      sub(/^outlive_/, "", $1); sub(/_total$/, "", $1); sub(/_/, "/", $1); print $1, $2}'
  done
}

# Runs a command between two counts; prints what each rose by, divided by what the command writes to `$work/per`.
between() {
  local tracer=
  counts >"$work/before"
  if perf stat -e raw_syscalls:sys_enter true >/dev/null 2>&1; then
    perf stat -x, -o "$work/perf" -e raw_syscalls:sys_enter -p "$(comma "${pids[@]}")" &
    tracer=$!
  fi
  "$@"
  counts >"$work/after"
  if [[ -n $tracer ]]; then
    kill -INT "$tracer"
    wait "$tracer" || true
    awk -F, '/raw_syscalls/ {print "syscalls/all", $1}' "$work/perf" >>"$work/after"
  fi
  awk -v per="$(<"$work/per")" '
    NR == FNR {before[$1] += $2; next}
    {after[$1] += $2}
    END {
      for (name in after) {
        rise = after[name] - before[name]
        split(name, parts, "/")
        total[parts[1]] += rise
        if (rise / per >= 0.005) printf "  %-28s %10.3f\n", name, rise / per | "sort"
      }
      close("sort")
      for (kind in total) if (kind != "journal") printf "  %-28s %10.3f\n", "all " kind, total[kind] / per | "sort"
    }' "$work/before" "$work/after"
}

load() {
  "$binary" bench open --url "$(comma "${urls[@]}")" --cluster-dir "$work/cluster" --json "$@" >"$work/bench"
  local rate seconds=10 argument before=
  for argument in "$@"; do
    [[ $before == --seconds ]] && seconds=$argument
    before=$argument
  done
  rate=$(awk -F'[:,]' '/"delivered_/ {print $2}' "$work/bench")
  awk -v rate="$rate" -v seconds="$seconds" 'BEGIN {print rate * seconds}' >"$work/per"
}

idle() {
  sleep "$1"
  echo "$1" >"$work/per"
}

echo "idle, $nodes nodes, for each second"
between idle 5
echo "bench open $*, for each event delivered"
between load "$@"
grep -E '"(delivery_p50|delivery_p99|events_per_append|completeness)' "$work/bench"
