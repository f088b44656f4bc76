#!/usr/bin/env bash
# The gate: everything that must hold before a change goes in. Edits nothing.
#
# Dependencies are judged by cargo-deny (deny.toml) where it is installed. Its database of advisories comes
# over the network: where it cannot be had, advisories are skipped, and the last lines say so.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

skipped=()

step() {
  echo
  echo "== $*"
  "$@"
}

step cargo fmt --all --check
if cargo deny --version >/dev/null 2>&1; then
  step cargo deny --locked check licenses bans sources
  if timeout 120 cargo deny --locked fetch db; then
    step cargo deny --locked check advisories
  else
    skipped+=("advisories: their database cannot be had here")
  fi
else
  skipped+=("licenses, bans, sources and advisories: cargo-deny is not installed (cargo install cargo-deny --locked)")
fi
step cargo clippy --workspace --all-targets --locked -- -D warnings
# The simulation of whole nodes is there under a flag alone, and in a target directory of its own.
RUSTFLAGS="${RUSTFLAGS:-} --cfg tokio_unstable" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/simulation" \
  CARGO_PROFILE_DEV_OPT_LEVEL=1 step cargo check -p outlive --test simulation --locked
RUSTDOCFLAGS="-D warnings" step cargo doc --no-deps --workspace --locked
step scripts/test.sh

echo
if ((0 < ${#skipped[@]})); then
  for what in "${skipped[@]}"; do echo "*** SKIPPED $what" >&2; done
  echo "check.sh: passed, but for what was skipped"
else
  echo "check.sh: passed"
fi
