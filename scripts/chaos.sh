#!/usr/bin/env bash
# Chaos in full size: real nodes are killed and paused while tokens flow, and every history is checked.
#
#   scripts/chaos.sh [NAME]   all of tests/chaos.rs, or the tests whose name contains NAME
#   scripts/chaos.sh turns    with turns: people who interrupt, and zombies; tests/chaos_turns.rs
#
# CHAOS_SESSIONS   sessions                                           [100; turns: 8]
# CHAOS_KILLS      kills of leaders; a tenth as many of all nodes     [50; turns: 20]
# CHAOS_PAUSE_MS   pause between two appends of one writer            [200]
# CHAOS_TAKEOVERS  zombies that are woken after a takeover (turns)    [200]
# CHAOS_INTERRUPTS interrupts while a leader is dead (turns)          [200]
# CHAOS_SEED       which sessions' leaders are killed                 [1]
# CHAOS_BINARY     the binary under test                              [the release build]
# CHAOS_HISTORY    directory in which the histories are kept          [none]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=chaos
if [[ ${1:-} == turns ]]; then
  shift
  target=chaos_turns
  export CHAOS_SESSIONS=${CHAOS_SESSIONS:-8} CHAOS_KILLS=${CHAOS_KILLS:-20}
  export CHAOS_TAKEOVERS=${CHAOS_TAKEOVERS:-200} CHAOS_INTERRUPTS=${CHAOS_INTERRUPTS:-200}
fi
export CHAOS_SESSIONS=${CHAOS_SESSIONS:-100}
export CHAOS_KILLS=${CHAOS_KILLS:-50}
export CHAOS_PAUSE_MS=${CHAOS_PAUSE_MS:-200}
if [[ -z ${CHAOS_BINARY:-} ]]; then
  cargo build --release --locked --bin outlive
  CHAOS_BINARY=$(realpath "${CARGO_TARGET_DIR:-target}/release/outlive")
fi
export CHAOS_BINARY
if [[ -n ${CHAOS_HISTORY:-} ]]; then
  mkdir -p "$CHAOS_HISTORY"
  CHAOS_HISTORY=$(realpath "$CHAOS_HISTORY")
  export CHAOS_HISTORY
fi
exec cargo test --locked --test "$target" -- --nocapture --test-threads=1 "$@"
