#!/usr/bin/env bash
# Measures the built-in model in fp16, int8 and int4, against a history of such machines; keeps what is not worse.
#
#   tools/ci/bench_gate.sh FOLDER [option of lilims bench …]
#
# FOLDER holds history.jsonl, which is read and appended to, the packages, and gate.json: what was judged. Exits with 1 on
# a regression. EXECUTOR and UNITS say who runs the packages (portable; UNITS are Core ML's). ACCEPT=1 keeps what is
# measured whatever it is, as the new normal. Where the history has no run of such a machine, one is added and nothing is
# judged; then, and with ACCEPT, the options count: a judged run does what the last one of the history did.
set -euo pipefail

folder=${1:?a folder for the history}
shift
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
history=$folder/history.jsonl

asked=(--executor "${EXECUTOR:-portable}" ${UNITS:+--compute-units "$UNITS"})
models=()
checkpoint=$(python -c "from lilims.models.names import builtin_checkpoint; print(builtin_checkpoint())")
for scheme in fp16 int8 int4; do
    models+=("$folder/stories-$scheme")
    lilims convert "$checkpoint" -o "$folder/stories-$scheme" --quantize "$scheme" --force
done

measure() {
    echo "nothing is judged: $1"
    shift
    lilims bench "${models[@]}" "${asked[@]}" -p 128 -n 64 -r 5 --cold 3 "$@" --history "$history"
    exit
}

[ -s "$history" ] || measure "the history is empty" "$@"
[ "${ACCEPT:-}" != 1 ] || measure "this run is accepted" "$@"
result=0
lilims bench gate --baseline "$history" --history "$history" --json > "$folder/gate.json" || result=$?
cat "$folder/gate.json"
if [ "$result" = 2 ] && grep -q "the baseline has no run of" "$folder/gate.json"; then # other wrong usage fails
    rm "$folder/gate.json"
    measure "there is no run of such a machine" "$@"
fi
exit "$result"
