#!/usr/bin/env bash
# The web chat in Chromium. Takes Debian's where it may install it; without a Chromium it fails, and skips nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

found() { command -v "${LILIMS_CHROMIUM:-chromium}" > /dev/null || command -v google-chrome > /dev/null; }

if ! found && [ "$(uname)" = Linux ] && command -v apt-get > /dev/null; then
    sudo=$([ "$(id -u)" = 0 ] || echo sudo)
    { $sudo apt-get -qq update && $sudo apt-get -qq install --yes --no-install-recommends chromium; } > /dev/null
fi
found || { echo "there is no Chromium: apt-get install chromium, or LILIMS_CHROMIUM=/path/to/it" >&2; exit 1; }
hatch run browser:test "$@"
hatch run browser:moderation
