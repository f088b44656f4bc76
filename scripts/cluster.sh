#!/usr/bin/env bash
# A cluster of real nodes on this machine: HTTP on 127.0.0.1:4437, 4438, …; nodes count from 1.
#
#   scripts/cluster.sh up [N=3]         make certificates and start N nodes; returns when all are ready
#   scripts/cluster.sh start I          start node I; returns when it is ready
#   scripts/cluster.sh stop I           stop node I in peace
#   scripts/cluster.sh kill I           kill -9 node I
#   scripts/cluster.sh pid I            print its process id
#   scripts/cluster.sh url I            print its URL
#   scripts/cluster.sh leader SESSION   print the number of the node that leads the session
#   scripts/cluster.sh status           print members, shards, leaders and positions
#   scripts/cluster.sh add I            start a new node I and let it join
#   scripts/cluster.sh replace I J      start a new node J and let it take the place of node I, dead or alive
#   scripts/cluster.sh remove I         remove node I; it ends by itself
#   scripts/cluster.sh down             stop all nodes; their data stays
#
# OUTLIVE_CLUSTER_DIR  where data, logs and certificates are   [./.cluster]
# OUTLIVE_BASE_PORT    port of node 1; peers use 1000 above    [4437]
# CARGO_TARGET_DIR     where the binary is built               [./target]
# OUTLIVE_BINARY       another binary; it is not built
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dir=${OUTLIVE_CLUSTER_DIR:-$PWD/.cluster}
base=${OUTLIVE_BASE_PORT:-4437}
binary=${OUTLIVE_BINARY:-${CARGO_TARGET_DIR:-$here/target}/release/outlive}
# A node takes no variable that it does not know.
unset OUTLIVE_BINARY
name=dev
ready_s=60
stop_s=20

fail() { echo "cluster.sh: $*" >&2; exit 1; }
misuse() { sed -n '4,15s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }

[[ $base =~ ^[0-9]{1,5}$ ]] || fail "OUTLIVE_BASE_PORT is no port: $base"
case $dir in /*) ;; *) dir=$PWD/$dir ;; esac

node_dir() { echo "$dir/node-$1"; }
http_port() { echo $((base + $1 - 1)); }
peer_port() { echo $((base + 1000 + $1 - 1)); }
url() { echo "http://127.0.0.1:$(http_port "$1")"; }
# The numbers of all nodes.
nodes() { cat "$dir/members" 2>/dev/null || fail "there is no cluster in $dir: run 'up' first"; }

is_node() {
  local node
  for node in $(nodes); do [[ $node == "${1:-}" ]] && return; done
  return 1
}

# Checks that $1 is the number of a node.
known() { is_node "${1:-}" || fail "nodes are $(nodes), not '${1:-}'"; }

build() {
  [[ -x $binary ]] && return
  echo "building $binary" >&2
  (cd "$here" && cargo build --release --locked --bin outlive) >&2
}

# Prints the pid of node $1 if it runs and is really ours: pids are given again.
running() {
  local pid command
  pid=$(cat "$(node_dir "$1")/pid" 2>/dev/null) || return 1
  [[ $pid =~ ^[0-9]+$ ]] || return 1
  if [[ -r /proc/$pid/cmdline ]]; then
    command=$(tr '\0' ' ' <"/proc/$pid/cmdline")
  else
    command=$(ps -o command= -p "$pid" 2>/dev/null) || return 1
  fi
  [[ $command == *" serve "*"--data-dir $(node_dir "$1")/data "* ]] || return 1
  echo "$pid"
}

listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Whether node $1 says that it is ready.
is_ready() { [[ $(readiness "$1") == *" 200 "* ]]; }

# Prints the first line of what node $1 answers when it is asked whether it is ready.
readiness() {
  local line=
  {
    exec 3<>"/dev/tcp/127.0.0.1/$(http_port "$1")" || return 1
    printf 'GET /readyz HTTP/1.0\r\n\r\n' >&3
    read -r -t 2 line <&3 || true
    exec 3>&-
  } 2>/dev/null
  echo "$line"
}

tell_why() {
  echo "cluster.sh: the last lines of $(node_dir "$1")/log:" >&2
  tail -n 20 "$(node_dir "$1")/log" >&2 || true
}

wait_ready() {
  local end=$((SECONDS + ready_s))
  until is_ready "$1"; do
    # Just launched it may not be our binary yet, so it is enough that there is a process.
    kill -0 "$(<"$(node_dir "$1")/pid")" 2>/dev/null || { tell_why "$1"; fail "node $1 has ended"; }
    ((SECONDS < end)) || { tell_why "$1"; fail "node $1 was not ready within $ready_s s"; }
    sleep 0.1
  done
}

# Whether process $1 is there: one that is dying has lost its command line before its ports.
there() {
  local stat
  kill -0 "$1" 2>/dev/null || return 1
  [[ -d /proc/self ]] || return 0
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  [[ ${stat##*) } != Z* ]]
}

# Waits until process $1 is gone.
wait_gone() {
  local end=$((SECONDS + stop_s))
  while there "$1"; do
    ((SECONDS < end)) || return 1
    sleep 0.05
  done
}

launch() {
  local own peer args i
  if own=$(running "$1"); then fail "node $1 runs already, as process $own"; fi
  # The threads of a killed node may hold its port a moment longer than it is seen.
  i=0
  while listening "$(http_port "$1")"; do
    ((i++ < 60)) || fail "port $(http_port "$1") is taken by another process; set OUTLIVE_BASE_PORT to use other ports"
    sleep 0.05
  done
  peer="127.0.0.1:$(peer_port "$1")"
  args=(serve --node-id "$1" --cluster "$name" --listen "127.0.0.1:$(http_port "$1")")
  args+=(--data-dir "$(node_dir "$1")/data")
  if [[ -e $dir/tls/made ]]; then
    args+=(--peer-listen "$peer" --tls-dir "$dir/tls")
    for i in $(nodes); do args+=(--member "$i=127.0.0.1:$(peer_port "$i")@$(url "$i")"); done
    # One that is not a member yet names itself, too.
    is_node "$1" || args+=(--member "$1=$peer@$(url "$1")")
    [[ ! -e $(node_dir "$1")/joined ]] || args+=(--join)
  fi
  # The data directory is never the last argument: `running` looks for the space after it.
  args+=(--log text)
  mkdir -p "$(node_dir "$1")"
  # Node and script share nothing: a node outlives the terminal that started it.
  (
    unset OUTLIVE_CLUSTER OUTLIVE_MEMBER OUTLIVE_CONFIG
    exec setsid "$binary" "${args[@]}" </dev/null >>"$(node_dir "$1")/log" 2>&1
  ) &
  echo $! >"$(node_dir "$1")/pid"
  disown
}

up() {
  local count=${1:-} i all=
  [[ ! -e $dir/members ]] || all=$(nodes)
  if [[ -n $all ]]; then
    [[ -z $count || $(wc -w <<<"$all") -eq $count ]] \
      || fail "the cluster in $dir has the nodes $all; remove the directory to begin anew"
  else
    count=${count:-3}
    [[ $count =~ ^[0-9]+$ ]] && ((1 <= count && count <= 9)) \
      || fail "a cluster has 1 to 9 nodes, not '$count'"
    for ((i = 1; i <= count; i++)); do all+=${all:+ }$i; done
  fi
  mkdir -p "$dir"
  build
  echo "$all" >"$dir/members"
  if [[ $all == *" "* && ! -e $dir/tls/made ]]; then
    "$binary" dev-certs --dir "$dir/tls" --cluster "$name" --nodes "$count" >&2
    touch "$dir/tls/made"
  fi
  for i in $all; do running "$i" >/dev/null || launch "$i"; done
  for i in $all; do wait_ready "$i"; done
  for i in $all; do echo "node $i: $(url "$i")"; done
}

# Starts a new node $1, which waits to be taken in.
launch_newcomer() {
  local end=$((SECONDS + ready_s))
  [[ ${1:-} =~ ^[0-9]+$ ]] && ((1 <= $1)) || misuse
  if is_node "$1"; then fail "node $1 is a member already"; fi
  [[ -e $dir/tls/made ]] || fail "a cluster of one has no peers to be joined"
  build
  "$binary" dev-certs --dir "$dir/tls" --cluster "$name" --node "$1" >&2
  mkdir -p "$(node_dir "$1")"
  touch "$(node_dir "$1")/joined"
  running "$1" >/dev/null || launch "$1"
  until [[ $(readiness "$1") == HTTP* ]]; do
    ((SECONDS < end)) || { tell_why "$1"; fail "node $1 does not answer"; }
    sleep 0.1
  done
}

add() {
  launch_newcomer "$1"
  "$binary" cluster join "$1" --url "$(urls)"
  echo "$(nodes) $1" >"$dir/members"
  wait_ready "$1"
}

replace() {
  local node all=
  launch_newcomer "$2"
  "$binary" cluster replace "$1" --with "$2" --url "$(urls)"
  for node in $(nodes); do
    [[ $node != "$1" ]] || node=$2
    all+=${all:+ }$node
  done
  echo "$all" >"$dir/members"
  wait_ready "$2"
}

remove() {
  local node all=
  "$binary" cluster leave "$1" --url "$(urls)"
  for node in $(nodes); do [[ $node == "$1" ]] || all+=${all:+ }$node; done
  echo "$all" >"$dir/members"
}

stop() {
  local pid
  pid=$(running "$1") || fail "node $1 does not run"
  kill -TERM "$pid"
  wait_gone "$pid" || { tell_why "$1"; fail "node $1 did not stop within $stop_s s"; }
}

down() {
  local i pid left=()
  [[ -e $dir/members ]] || return 0
  for i in $(nodes); do
    if pid=$(running "$i"); then kill -TERM "$pid"; left+=("$i:$pid"); fi
  done
  for i in "${left[@]+"${left[@]}"}"; do
    wait_gone "${i#*:}" || { echo "node ${i%%:*} does not stop; killing it" >&2; kill -KILL "${i#*:}"; }
  done
}

urls() {
  local i all=
  for i in $(nodes); do all+=${all:+,}$(url "$i"); done
  echo "$all"
}

case ${1:-} in
  up) up "${2:-}" ;;
  start) known "${2:-}"; build; launch "$2"; wait_ready "$2" ;;
  stop) known "${2:-}"; stop "$2" ;;
  kill)
    known "${2:-}"
    pid=$(running "$2") || fail "node $2 does not run"
    kill -KILL "$pid"
    wait_gone "$pid" || fail "node $2 is still there"
    ;;
  pid) known "${2:-}"; running "$2" || fail "node $2 does not run" ;;
  url) known "${2:-}"; url "$2" ;;
  leader) [[ -n ${2:-} ]] || misuse; "$binary" cluster home "$2" -o node --url "$(urls)" ;;
  status) "$binary" cluster status --url "$(urls)" ;;
  add) add "${2:-}" ;;
  replace) known "${2:-}"; replace "$2" "${3:-}" ;;
  remove) known "${2:-}"; remove "$2" ;;
  down) down ;;
  *) misuse ;;
esac
