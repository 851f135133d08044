#!/usr/bin/env bash
# Runs a command as on a new machine: in a fresh clone of this repository, with an empty home, a new virtual environment
# and next to no environment variables.
#
#   tools/ci/fresh_clone.sh                 the README's commands, with timings
#   tools/ci/fresh_clone.sh --quick         the same, but only some of the tests
#   tools/ci/fresh_clone.sh COMMAND …       any command; it starts in the clone
#
# The clone is of HEAD and of what is changed or new on top of it; files that git ignores stay behind. PYTHON names the
# Python to use (default: python3.11). Variables of package indexes, certificates, proxies and lilims' tests pass through;
# so does CI, under which Hypothesis draws the same examples each time.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

case "${1:-}" in
    "") set -- bash .ci/steps demo test ;;
    --quick) set -- bash .ci/steps demo some-tests ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/home" "$work/tmp"

git clone --quiet --no-hardlinks "$root" "$work/lilims"
git -C "$root" diff --binary HEAD > "$work/changes"
[ ! -s "$work/changes" ] || git -C "$work/lilims" apply --whitespace=nowarn "$work/changes"
git -C "$root" ls-files -z --others --exclude-standard > "$work/new"
tar -C "$root" --null -T "$work/new" -cf - | tar -C "$work/lilims" -xf -
rm "$work/changes" "$work/new"

# The interpreter itself: a launcher that finds it through the home (pyenv's) would find nothing there.
python=$("${PYTHON:-python3.11}" -c 'import os, sys; print(os.path.realpath(sys.executable))')
"$python" -m venv "$work/venv"

# What macOS has as bash (3.2) and env do not know: `env -0`, and an empty list under `set -u`.
kept=()
for name in "${!PIP_@}" "${!UV_@}" "${!NPM_CONFIG_@}" "${!npm_config_@}" LILIMS_TEST_DATA LILIMS_REQUIRE_TEST_DATA CI TERM LANG LC_ALL \
    SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE NODE_EXTRA_CA_CERTS \
    http_proxy https_proxy no_proxy all_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY; do
    [ -z "${!name+set}" ] || kept+=("$name=${!name}")
done

cd "$work/lilims"
env -i ${kept[@]+"${kept[@]}"} HOME="$work/home" TMPDIR="$work/tmp" PATH="$work/venv/bin:$PATH" "$@"
