#!/bin/sh
# Runs whole clusters under a seeded scheduler.
#
#   scripts/simulate.sh [SEEDS]            that many seeds (default 200), from 1
#   scripts/simulate.sh --from N --seeds M
#   scripts/simulate.sh --seed N [--trace] one seed, with all that happened
set -eu
cd "$(dirname "$0")/.."
case "${1:-}" in
    '' | --*) ;;
    *) set -- --seeds "$@" ;;
esac
export OUTLIVE_SIMULATE=1
export RUSTFLAGS="${RUSTFLAGS:-} --cfg tokio_unstable"
# openraft checks itself at every step in this profile; without any optimisation that takes most of the time.
export CARGO_PROFILE_DEV_OPT_LEVEL=1
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/simulation"
exec cargo test --quiet -p outlive-cluster --test simulation -- "$@"
