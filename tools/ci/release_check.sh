#!/usr/bin/env bash
# Whether the tag of this checkout may be released: tools/ci/release_check.sh TAG
# It is on the main branch, and versions, pins, changelog and tag agree.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

tag=$1
commit=$(git rev-parse --verify --end-of-options "refs/tags/$tag^{commit}")
[ "$commit" = "$(git rev-parse HEAD)" ] || { echo "the checkout is not that of $tag" >&2; exit 1; }
git merge-base --is-ancestor "$commit" origin/main || { echo "$tag is not on main" >&2; exit 1; }
bash tools/ci/lilims_ci.sh release-check --tag "$tag" --installed
