#!/usr/bin/env bash
# The Swift starter: tools/ci/swift.sh STEP …
#
#   package      exports the built-in model, builds LilimsKit and runs its tests, against that export too; on Linux the
#                half that needs Core ML, and the app without its views, are type-checked against declarations of Apple's interfaces
#   simulator    builds the app and runs its tests on an iPhone simulator (Xcode)
#   signing      prints ready=yes where all of LILIMS_TEAM_ID, ASC_KEY_ID, ASC_ISSUER_ID and ASC_KEY are set, else ready=no
#   gates        `lilims bench gates --embedded`: fails where the model misses a phone's targets
#   testflight   archives the app and uploads it; takes the four variables, and BUILD, a number that only grows
#
# LILIMS is how lilims is called (hatch run lilims), MODEL the model (stories), WORK where things are built (build/swift).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

read -ra lilims <<< "${LILIMS:-hatch run lilims}"
model=${MODEL:-stories}
work=${WORK:-build/swift}
mkdir -p "$work"
work=$(cd "$work" && pwd)
app=$work/app

export_app() {
    "${lilims[@]}" export "$model" --to swift -o "$app" --bundle always --yes ${BUNDLE_ID:+--bundle-id "$BUNDLE_ID"} --quiet
}

typecheck() { # what Swift on Linux has no modules for
    local declared=workstreams/ws07-ui/tests/swift/declarations modules=$work/modules swift=(swiftc -swift-version 6) name
    mkdir -p "$modules"
    for name in CoreML CryptoKit os Accessibility UIKit; do
        "${swift[@]}" -parse-as-library -emit-module -module-name "$name" -o "$modules/$name.swiftmodule" "$declared/$name.swift"
    done
    for name in LilimsCore LilimsKit; do
        "${swift[@]}" -emit-module -enable-testing -module-name "$name" -I "$modules" -o "$modules/$name.swiftmodule" \
            "$app/LilimsKit/Sources/$name"/*.swift
    done
    "${swift[@]}" -typecheck -enable-testing -module-name LilimsKitTests -I "$modules" "$app"/LilimsKit/Tests/LilimsKitTests/*.swift
    "${swift[@]}" -typecheck -parse-as-library -module-name Lilims -I "$modules" \
        "$app"/App/{Announcer,BackgroundTime,Chat,Library,Metrics}.swift
    echo "type-checked: LilimsKit with its tests, and the app without its views"
}

package() {
    export_app
    LILIMS_EXPORTED=$(echo "$app"/Models/*.lilims) swift test --package-path "$app/LilimsKit"
    [ "$(uname)" = Darwin ] || typecheck
}

simulator() {
    local phone
    export_app
    # The newest that this Xcode knows: simulators of a newer one may lie beside them.
    phone=$(xcrun simctl list devices available --json | python3 -c '
import json, re, sys
newest = tuple(map(int, sys.argv[1].split(".")[:2]))
found = [(version, phone["udid"]) for runtime, phones in json.load(sys.stdin)["devices"].items() for phone in phones
         if (name := re.search(r"\.iOS-(\d+)-(\d+)", runtime)) and (version := tuple(map(int, name.groups()))) <= newest
         and phone["name"].startswith("iPhone")]
if not found:
    sys.exit(f"there is no iPhone simulator up to iOS {sys.argv[1]}: xcodebuild -downloadPlatform iOS")
print(max(found)[1])' "$(xcrun --sdk iphonesimulator --show-sdk-version)")
    rm -rf "$work/results.xcresult"
    xcodebuild test -project "$app/Lilims.xcodeproj" -scheme Lilims -destination "id=$phone" \
        -derivedDataPath "$work/derived" -resultBundlePath "$work/results.xcresult" CODE_SIGNING_ALLOWED=NO
}

signing() {
    local ready=yes name
    for name in LILIMS_TEAM_ID ASC_KEY_ID ASC_ISSUER_ID ASC_KEY; do [ -n "${!name:-}" ] || ready=no; done
    echo "ready=$ready"
}

gates() { "${lilims[@]}" bench gates "$model" --embedded; }

testflight() {
    [ "$(signing)" = ready=yes ] || { echo "the signing secrets are not all set: docs/swift.md" >&2; exit 1; }
    local key archive=$work/Lilims.xcarchive access
    secret=$(mktemp -d) # not local: the trap runs when this function is long over
    trap 'rm -rf "$secret"' EXIT
    key=$secret/AuthKey.p8
    (umask 077 && printf '%s\n' "$ASC_KEY" > "$key")
    access=(-allowProvisioningUpdates -authenticationKeyPath "$key" -authenticationKeyID "$ASC_KEY_ID"
        -authenticationKeyIssuerID "$ASC_ISSUER_ID")
    export_app
    xcodebuild archive -project "$app/Lilims.xcodeproj" -scheme Lilims -destination generic/platform=iOS \
        -derivedDataPath "$work/derived" -archivePath "$archive" "${access[@]}" \
        DEVELOPMENT_TEAM="$LILIMS_TEAM_ID" CURRENT_PROJECT_VERSION="${BUILD:?a number that only grows}"
    xcodebuild -exportArchive -archivePath "$archive" -exportPath "$work/upload" \
        -exportOptionsPlist "$app/Config/ExportOptions.plist" "${access[@]}"
}

[ $# -gt 0 ] || { sed -n '2,/^set/p' "$0" | grep '^#' >&2; exit 2; }
for step in "$@"; do
    case "$step" in
        package | simulator | signing | gates | testflight) "$step" ;;
        *) echo "there is no step $step" >&2; exit 2 ;;
    esac
done
