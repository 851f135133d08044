#!/usr/bin/env bash
# Builds every distribution, checks the files, installs the wheels into a clean environment and uses lilims from there.
#
#   tools/ci/wheels.sh [DIST [SBOM]]     DIST: an empty folder for the distributions, which stay there (default: a temporary
#                                        one); SBOM: the file that gets the CycloneDX list of what was installed
#
# Every lilims package comes from DIST, also if an index has one of that name and version; other packages from the index.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
root=$PWD

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
dist=${1:-$scratch/dist}
mkdir -p "$dist"
dist=$(cd "$dist" && pwd)
[ -z "$(ls -A "$dist")" ] || { echo "$dist is not empty" >&2; exit 1; }

hatch build --all "$dist"
hatch run release:check "$dist"

base=$(hatch run release:python -c 'import sys; print(sys._base_executable)')
hatch run release:uv venv --quiet --python "$base" "$scratch/venv"
python=$scratch/venv/bin/python
hatch run release:uv pip install --quiet --python "$python" "$dist"/*.whl
version=$("$python" -c 'from importlib.metadata import version; print(version("lilims"))')
(cd "$scratch" && "$python" "$root/tools/ci/smoke.py" --python "$python" --forbid "$root" --version "$version")
[ -z "${2:-}" ] || hatch run release:sbom "$python" "$dist" "$2"
