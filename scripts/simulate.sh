#!/bin/sh
# Runs whole clusters under a seeded scheduler: first groups that count, then whole nodes with sessions.
#
#   scripts/simulate.sh [SEEDS]            that many seeds of each (default 200), from 1
#   scripts/simulate.sh --from N --seeds M
#   scripts/simulate.sh --cluster …        only the groups
#   scripts/simulate.sh --sessions …       only the whole nodes
#   scripts/simulate.sh --sessions --seed N [--trace]   one seed, with all that happened
set -eu
cd "$(dirname "$0")/.."
which=both
case "${1:-}" in
    --cluster) which=cluster; shift ;;
    --sessions) which=sessions; shift ;;
    --seed) which=cluster ;;
esac
case "${1:-}" in
    '' | --*) ;;
    *) set -- --seeds "$@" ;;
esac
export OUTLIVE_SIMULATE=1
export RUSTFLAGS="${RUSTFLAGS:-} --cfg tokio_unstable"
# openraft checks itself at every step in this profile; without any optimisation that takes most of the time.
export CARGO_PROFILE_DEV_OPT_LEVEL=1
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/simulation"
failed=0
if [ $which != sessions ]; then
    cargo test --quiet -p outlive-cluster --test simulation -- "$@" || failed=1
fi
if [ $which != cluster ]; then
    cargo test --quiet -p outlive --test simulation -- "$@" || failed=1
fi
exit $failed
