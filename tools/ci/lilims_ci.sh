#!/usr/bin/env bash
# `lilims ci …` with next to nothing installed: for jobs that only decide or report. The packages of the checkout that it
# needs (core, ci) and what core depends on go into a virtual environment that lasts as long as the command.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/venv"
bin=$scratch/venv/bin
[ -d "$bin" ] || bin=$scratch/venv/Scripts
"$bin/python" -m pip install --quiet --disable-pip-version-check "$root/shared" >&2
"$bin/python" -m pip install --quiet --disable-pip-version-check --no-deps "$root/workstreams/ws10-ci" >&2
"$bin/lilims" ci "$@"
