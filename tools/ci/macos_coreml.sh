#!/usr/bin/env bash
# Asks Core ML, from the smallest question up: tools/ci/macos_coreml.sh FOLDER [probes|behaviour|quality …]
#
# Reports go to FOLDER as JSON, and to GitHub's summary of the job where there is one. UNITS are the compute units (CPU_ONLY),
# LIMIT the seconds of one probe or case (60; cases convert models first: twice that), EXECUTOR coreml. EXECUTOR=portable
# lets the portable executor stand in, which every report then says: so the script can be tried where there is no Mac.
set -euo pipefail

folder=${1:?a folder for the reports}
shift
[ $# -gt 0 ] || set -- probes behaviour quality
mkdir -p "$folder"
units=${UNITS:-CPU_ONLY} executor=${EXECUTOR:-coreml} limit=${LIMIT:-60}
asked=(--executor "$executor" --compute-units "$units")
quality=(--compute-units "$units")
[ "$executor" = coreml ] || quality=()

# What macOS writes of processes that crashed goes with the reports; not from a Mac of one's own, as it names the machine.
started=$(mktemp)
collect() {
    if [ "${RUNNER_ENVIRONMENT:-}" = github-hosted ] && [ -d ~/Library/Logs/DiagnosticReports ]; then
        find ~/Library/Logs/DiagnosticReports -name '*.ips' -newer "$started" -exec cp {} "$folder" \;
    fi
    rm -f "$started"
}
trap collect EXIT

for step in "$@"; do
    case "$step" in
        probes) lilims ci probes "${asked[@]}" --limit "$limit" --artefact "$folder/probes.json" ;;
        behaviour) lilims ci behaviour "${asked[@]}" --limit "$((2 * limit))" --artefact "$folder/behaviour.json" ;;
        quality)
            {
                code=0
                echo '```'
                python tools/ci/quality_gate.py ${quality[@]+"${quality[@]}"} --artefact "$folder/quality.json" || code=$?
                echo '```'
                exit "$code"
            } | tee -a "${GITHUB_STEP_SUMMARY:-/dev/null}"
            ;;
        *)
            echo "there is no step $step: probes, behaviour or quality" >&2
            exit 2
            ;;
    esac
done
