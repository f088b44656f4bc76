#!/usr/bin/env bash
# Runs all tests. Needs only the Rust toolchain; uses cargo-nextest where it is installed, Chromium for
# a page, and Node.js and Python for the published suite of Durable Streams and for clients of others: it skips aloud what
# it has no tool for.
#
# The whole output is printed as it comes, and the closing lines of each runner once more at the end.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Targets that start processes of their own: one test at a time. `.config/nextest.toml` says the same.
processes=(agents allowance branches browser calls changes chaos chaos_turns cluster demo ephemeral files history keys members minority moves people push questions quotas rotation storage subturns turn_ends turns)

closing=$(mktemp)
trap 'rm -f "$closing" "$closing".*' EXIT
failed=()

# Runs a command under a name; $2 is the pattern of its closing lines.
run() {
  local name=$1 pattern=$2 code=0
  shift 2
  echo "== $name: $*"
  "$@" 2>&1 | tee "$closing.log" || code=$?
  {
    echo "== $name"
    grep -E "$pattern" "$closing.log" || tail -n 5 "$closing.log"
  } >>"$closing"
  ((code == 0)) || failed+=("$name")
}

# Prints the targets in tests/ that are not in `processes`, as arguments.
other_targets() {
  local path name
  for path in tests/*.rs tests/*/main.rs; do
    [[ -e $path ]] || continue
    name=${path#tests/}
    name=${name%/main.rs}
    name=${name%.rs}
    [[ " ${processes[*]} " == *" $name "* ]] || printf -- '--test\n%s\n' "$name"
  done
}

cargo build --locked --workspace --all-targets
if cargo nextest --version >/dev/null 2>&1; then
  run "tests" '^ *(Summary|FAIL|TIMEOUT|SIGABRT|SIGSEGV|LEAK|TRY) ' cargo nextest run --locked --workspace --no-fail-fast
else
  mapfile -t others < <(other_targets)
  result='^(test result:|test .* FAILED)'
  run "tests of cluster" "$result" cargo test --locked --no-fail-fast -p outlive-cluster --lib --tests
  run "tests of session" "$result" cargo test --locked --no-fail-fast -p outlive-session --lib --tests
  run "tests of client and tools" "$result" cargo test --locked --no-fail-fast -p outlive-client -p outlive-tools --lib
  run "tests of outlive" "$result" cargo test --locked --no-fail-fast -p outlive --lib --bins "${others[@]}"
  for name in "${processes[@]}"; do
    run "$name" "$result" cargo test --locked --no-fail-fast -p outlive --test "$name" -- --test-threads=1
  done
fi
run "examples in the documentation" '^(test result:|test .* FAILED)' cargo test --locked --workspace --doc
# The published suite of Durable Streams, its official clients, and stock chat clients, against this build.
target=${CARGO_TARGET_DIR:-target}
case $target in /*) ;; *) target=$PWD/$target ;; esac
for mode in one three followers leaders clients exactly-once chats; do
  OUTLIVE_BINARY=$target/debug/outlive run "conformance, $mode" '^(conformance |FAILED|VIOLATION|SKIPPED)' scripts/conformance.sh "$mode"
done
for part in cluster sessions; do
  run "simulation, $part" '^simulation:|FAILED|^repeat it' scripts/simulate.sh "--$part"
done

# Its test passes without one, and runners do not show what passing tests print.
if ! command -v "${CHROMIUM:-chromium}" chromium-browser google-chrome >/dev/null; then
  echo "== SKIPPED: there is no Chromium here, so nothing was tested in a browser (tests/browser)" >>"$closing"
fi

echo
cat "$closing"
if ((0 < ${#failed[@]})); then
  echo "FAILED: $(IFS=,; echo "${failed[*]}")"
  exit 1
fi
echo "all tests passed"
