#!/usr/bin/env bash
# Runs the tests of each member in its own folder and environment: proves that what it declares is all it needs.
# One test of each file and some more do for that, and no sweep over many models: `hatch test` at the root runs them all.
#
#   tools/ci/workstreams.sh [FOLDER …]     those members (default: all)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

[ $# -gt 0 ] || set -- shared workstreams/ws*/
for folder; do
    [ -f "$folder/pyproject.toml" ] || continue
    printf '\n--- %s\n' "$folder"
    (cd "$folder" && hatch test tests --one-in 20 -m 'not parity and not soak and not slow and not browser')
done
