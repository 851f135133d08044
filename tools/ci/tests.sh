#!/usr/bin/env bash
# The tests that a plan names, with the Python that runs hatch: tools/ci/tests.sh RESULTS.xml
# TESTS: files and folders with blanks between, as `lilims ci plan --github` prints them; empty is all.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

mkdir -p "$(dirname "$1")"
set -f # names are names
# shellcheck disable=SC2086 # one argument each
hatch test ${TESTS:-} --junitxml "$1"
