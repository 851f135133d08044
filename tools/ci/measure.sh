#!/usr/bin/env bash
# Figures for a report: sizes, perplexity and speed of this checkout, and of the commit it is based on.
#
#   tools/ci/measure.sh OUT [BASE]     OUT/head and OUT/base get sizes.json and quality.json, OUT/head also speed.json
#
# Both are measured here, in turns, by their own code. Without BASE, or where BASE cannot be measured, there is no base.
# `lilims ci report OUT/head --base OUT/base` makes the report.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
head=$PWD

mkdir -p "$1"
out=$(cd "$1" && pwd)
runs=${MEASURE_RUNS:-5}
scratch=$(mktemp -d)
cleanup() {
    git -C "$head" worktree remove --force "$scratch/tree" 2> /dev/null || true
    rm -rf "$scratch"
}
trap cleanup EXIT

figures() { # TREE NAME: packages, sizes and the quality gate
    mkdir -p "$out/$2" "$scratch/$2"
    (
        cd "$1"
        hatch build --all --target wheel "$scratch/$2/dist"
        hatch run python tools/ci/quality_gate.py --json --models stories --packages "$scratch/$2" > "$out/$2/quality.json" || true
        hatch run python "$head/tools/ci/sizes.py" "$scratch/$2"/dist/*.whl "$scratch/$2"/stories-* > "$out/$2/sizes.json"
    )
    [ -s "$out/$2/quality.json" ]
}

speed() { # TREE NAME: one run more in the history
    (cd "$1" && hatch run lilims bench "$scratch/$2/stories-int4" -p 128 -n 64 -r 5 --cold 1 --history "$scratch/$2.jsonl" --quiet > /dev/null)
}

figures "$head" head
base=0
if [ -n "${2:-}" ] && git worktree add --quiet --detach "$scratch/tree" "$2"; then
    if figures "$scratch/tree" base; then base=1; else echo "the base cannot be measured" >&2; fi
fi
if [ "$base" = 1 ]; then
    for _ in $(seq "$runs"); do
        speed "$scratch/tree" base || { echo "the base's speed cannot be measured" >&2; exit 0; }
        speed "$head" head
    done
    hatch run lilims bench gate --baseline "$scratch/base.jsonl" --candidate "$scratch/head.jsonl" --json > "$out/head/speed.json" \
        || [ -s "$out/head/speed.json" ] # a regression: the report says so
fi
