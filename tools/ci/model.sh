#!/usr/bin/env bash
# Packs the built-in model: tools/ci/model.sh OUT writes stories-SCHEME-VERSION.tar (a model folder with its .mlpackage, for
# `lilims pull`) in fp16, int8 and int4, and SHA256SUMS. Each is converted twice and has to come out the same.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

out=$1
mkdir -p "$out"
out=$(cd "$out" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
checkpoint=workstreams/ws05-model-manager/src/lilims/models/builtin/stories
for scheme in fp16 int8 int4; do
    archive=stories-$scheme-$version.tar
    for try in first second; do
        mkdir -p "$scratch/$try"
        hatch run lilims convert "$checkpoint" -o "$scratch/$try/stories-$scheme" --quantize "$scheme" --quiet
        hatch run lilims export "$scratch/$try/stories-$scheme" --to archive -o "$scratch/$try/$archive" --quiet
    done
    cmp "$scratch/first/$archive" "$scratch/second/$archive" || { echo "$archive is not the same twice" >&2; exit 1; }
    cp "$scratch/first/$archive" "$out/"
done
(cd "$out" && if command -v sha256sum > /dev/null; then sha256sum stories-*.tar; else shasum -a 256 stories-*.tar; fi \
    | tee SHA256SUMS)
