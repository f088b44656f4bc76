#!/bin/sh
# Gives what reads bytes of others much that is nearly right: messages of peers, commands and files of the journal,
# heads and bodies of requests, answers of endpoints, tokens, keys, grants. The test command runs 256 cases of each;
# this runs more.
#
#   scripts/fuzz.sh [CASES] [FILTER]    so many of each (default 100000), of the tests whose names have FILTER
set -eu
cd "$(dirname "$0")/.."
export PROPTEST_CASES="${1:-100000}"
exec cargo nextest run --workspace --lib --test journal --no-fail-fast -E "test(/fuzz::/) & test(${2:-fuzz})"
