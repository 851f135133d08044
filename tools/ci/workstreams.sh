#!/usr/bin/env bash
# Runs the tests of each member in its own folder and environment: proves that what it declares is all it needs.
# Sweeps over many models are left out: they need nothing that the other tests do not, and `hatch test` at the root runs them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

for folder in shared workstreams/ws*/; do
    [ -f "$folder/pyproject.toml" ] || continue
    printf '\n--- %s\n' "$folder"
    (cd "$folder" && hatch test tests -m 'not parity and not soak and not slow')
done
