#!/usr/bin/env bash
# Asks one node whatever its description (/v1/openapi.json) allows, and much that it does not, by Schemathesis: no
# answer may be a 5xx, or another one than the description says. Needs python3 with venv and its package index; where
# they are missing it says so and ends with 0.
#
#   scripts/schema.sh [EXAMPLES=40] [PATH]    for each operation, or for those of one path of the description
#
# CARGO_TARGET_DIR   where the binary is built   [./target]
# OUTLIVE_BINARY     another binary; nothing is built
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
examples=${1:-40}
[[ $examples =~ ^[0-9]+$ ]] || { sed -n '6s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }
only=()
[[ -z ${2:-} ]] || only=(--include-path "$2")
skip() { printf '\nschema.sh: SKIPPED, nothing was tested: %s\n\n' "$*" >&2; exit 0; }

python3 -c 'import ensurepip, venv' 2>/dev/null || skip "there is no python3 with venv"
target=${CARGO_TARGET_DIR:-$here/target}
if [[ -z ${OUTLIVE_BINARY:-} ]]; then
  (cd "$here" && CARGO_TARGET_DIR=$target cargo build --locked --bin outlive)
  OUTLIVE_BINARY=$target/debug/outlive
fi

binary=$(realpath "$OUTLIVE_BINARY")
# The node reads its own variables alone.
unset OUTLIVE_BINARY

mkdir -p "$target"
venv=$(realpath "$target")/schemathesis
if [[ ! -x $venv/bin/schemathesis ]]; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet 'schemathesis==4.32.5' || { rm -rf "$venv"; skip "it cannot be installed"; }
fi

dir=$(mktemp -d)
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$binary" serve --listen "127.0.0.1:$port" --data-dir "$dir/data" 2>"$dir/log" &
node=$!
trap 'kill "$node" 2>/dev/null; wait "$node" 2>/dev/null; rm -rf "$dir"' EXIT
until curl -sf "http://127.0.0.1:$port/readyz" >/dev/null; do
  kill -0 "$node" || { cat "$dir/log" >&2; exit 1; }
  sleep 0.2
done
# It keeps what it found in the working directory.
cd "$dir"
# How it sends a body of lines.
cat >hooks.py <<'HOOKS'
import schemathesis

@schemathesis.serializer("application/x-ndjson")
def lines(context, value):
    return value if isinstance(value, bytes) else str(value).encode()
HOOKS
# A timeout of a millisecond is rightly answered 504.
SCHEMATHESIS_HOOKS=hooks PYTHONPATH=$dir "$venv/bin/schemathesis" run "http://127.0.0.1:$port/v1/openapi.json" \
  -H 'Outlive-Timeout-Ms: 9000' --max-examples "$examples" --request-timeout 60 --workers 2 "${only[@]}" \
  --continue-on-failure \
  -c not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance
kill -0 "$node" || { echo "schema.sh: the node ended" >&2; tail -5 "$dir/log" >&2; exit 1; }
