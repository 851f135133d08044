#!/usr/bin/env bash
# Makes the release on GitHub: tools/ci/github_release.sh TAG FILE …; wants gh and GH_TOKEN. The notes are the changelog's
# section. A version with a, b or rc in it is a pre-release.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

tag=$1
shift
notes=$(mktemp)
trap 'rm -f "$notes"' EXIT
python3 tools/ci/release_notes.py "${tag#v}" > "$notes"
kind=--latest
case "$tag" in *[abc]*) kind=--prerelease ;; esac
gh release create "$tag" --verify-tag --title "$tag" --notes-file "$notes" "$kind" "$@"
