#!/usr/bin/env bash
# Proves the dialects with software that others published, against real nodes.
# Needs node 20 and npm, and python3 for the Python client; where they are missing it says so and ends with 0.
#
#   scripts/conformance.sh one                      the published suite against one node
#   scripts/conformance.sh three                    three nodes, each request to the next one
#   scripts/conformance.sh followers                the same while nodes that only follow are killed (kill -9)
#   scripts/conformance.sh leaders                  the same while nodes hand their leaderships over
#   scripts/conformance.sh clients                  the official clients while their node is killed
#   scripts/conformance.sh exactly-once [ROUNDS=10] producers whose node is killed, and last messages
#   scripts/conformance.sh chats                    stock chat clients while nodes are killed
#   scripts/conformance.sh [all]                    all of these, one after the other
#
# CARGO_TARGET_DIR   where the binary is built   [./target]
# OUTLIVE_BINARY     another binary; nothing is built
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
place=$here/tests/conformance

misuse() { sed -n '5,12s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }
skip() { printf '\nconformance.sh: SKIPPED, nothing was tested: %s\n\n' "$*" >&2; exit 0; }

mode=${1:-all}
rounds=${2:-10}
case $mode in
  one | three | followers | leaders | clients | exactly-once | chats | all) ;;
  *) misuse ;;
esac
[[ $rounds =~ ^[0-9]+$ ]] || misuse

command -v node >/dev/null || skip "there is no node"
command -v npm >/dev/null || skip "there is no npm"
version=$(node --version)
version=${version#v}
((20 <= ${version%%.*})) || skip "node is $version, and 20 is needed"

if [[ -z ${OUTLIVE_BINARY:-} ]]; then
  target=${CARGO_TARGET_DIR:-$here/target}
  case $target in /*) ;; *) target=$PWD/$target ;; esac
  (cd "$here" && CARGO_TARGET_DIR=$target cargo build --release --locked --bin outlive)
  OUTLIVE_BINARY=$target/release/outlive
fi
OUTLIVE_BINARY=$(realpath "$OUTLIVE_BINARY")
export OUTLIVE_BINARY

cd "$place"
# A copy of the lock beside what it installed tells whether that is stale.
if ! cmp -s package-lock.json node_modules/.installed; then
  npm ci
  cp package-lock.json node_modules/.installed
fi
# Without python3 and its venv, `clients` says that it skips the Python client.
if [[ $mode == clients || $mode == all ]] && python3 -c 'import ensurepip, venv' 2>/dev/null; then
  if ! cmp -s requirements.txt .venv/.installed; then
    rm -rf .venv
    python3 -m venv .venv
    .venv/bin/pip install --quiet -r requirements.txt
    cp requirements.txt .venv/.installed
  fi
fi

closing=$(mktemp)
trap 'rm -f "$closing" "$closing".*' EXIT
failed=()

# Runs one mode; its closing lines are printed once more at the end.
run() {
  local name=$1 code=0
  shift
  echo "== conformance $name"
  node "$@" 2>&1 | tee "$closing.log" || code=$?
  grep -E '^conformance .*: [0-9]+ passed, [0-9]+ failed$|SKIPPED|STARVED' "$closing.log" >>"$closing" ||
    echo "conformance $name: 0 passed, 1 failed" >>"$closing"
  ((code == 0)) || failed+=("$name")
}

node --test slip.test.mjs >"$closing.log" || { cat "$closing.log"; failed+=("judge of starved tests"); }
for each in one three followers leaders; do
  if [[ $mode == "$each" || $mode == all ]]; then run "$each" suite.mjs "$each"; fi
done
if [[ $mode == clients || $mode == all ]]; then run clients clients.mjs; fi
if [[ $mode == exactly-once || $mode == all ]]; then run exactly-once exactly-once.mjs "$rounds"; fi
if [[ $mode == chats || $mode == all ]]; then run chats chats.mjs; fi

echo
cat "$closing"
if ((0 < ${#failed[@]})); then
  echo "FAILED: $(IFS=,; echo "${failed[*]}")"
  exit 1
fi
