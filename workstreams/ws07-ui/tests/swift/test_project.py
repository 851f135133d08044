"""The Xcode project, its settings and entitlements, read without Xcode."""

from __future__ import annotations

import json
import plistlib
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from .helpers import STARTER, expanded, read_project, read_settings

PROJECT = STARTER / "Lilims.xcodeproj/project.pbxproj"
ID = re.compile(r"[0-9A-F]{24}")


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    value = read_project(PROJECT.read_text("utf-8"))
    assert isinstance(value, dict)
    return value


def _strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in _strings(item)] + list(value)
    return [text for item in value for text in _strings(item)] if isinstance(value, list) else [value]


def test_every_id_of_the_project_is_an_object_and_every_object_is_used(project: dict[str, Any]) -> None:
    objects = project["objects"]
    named = {text for item in objects.values() for text in _strings(item) if ID.fullmatch(text)}
    assert named <= objects.keys(), named - objects.keys()
    assert objects.keys() - named <= {project["rootObject"]}
    assert objects[project["rootObject"]]["isa"] == "PBXProject"


def test_files_of_the_project_exist(project: dict[str, Any]) -> None:
    objects = project["objects"]
    groups = {
        child: item.get("path", "")
        for item in objects.values()
        if item["isa"] == "PBXGroup"
        for child in item["children"]
    }
    for key, item in objects.items():
        placed = item["isa"] in ("PBXFileReference", "PBXFileSystemSynchronizedRootGroup")
        if placed and item["sourceTree"] == "<group>" and item["path"] != "Models":  # which the export makes
            assert (STARTER / groups[key] / item["path"]).exists(), item["path"]


def test_two_targets_share_the_package_and_the_settings(project: dict[str, Any]) -> None:
    objects = project["objects"]
    targets = {item["name"]: item for item in objects.values() if item["isa"] == "PBXNativeTarget"}
    assert {name: target["productType"].rpartition(".")[2] for name, target in targets.items()} == {
        "Lilims": "application", "LilimsUITests": "ui-testing",
    }  # fmt: skip
    (product,) = (objects[key] for key in targets["Lilims"]["packageProductDependencies"])
    assert product["productName"] == "LilimsKit"
    assert objects[product["package"]]["relativePath"] == "LilimsKit"
    bases = [
        objects[item["baseConfigurationReference"]]["path"]
        for item in objects.values()
        if item["isa"] == "XCBuildConfiguration"
    ]
    assert sorted(set(bases)) == ["Application.xcconfig", "Base.xcconfig", "UITests.xcconfig"]
    (models,) = (item for item in objects.values() if item.get("path") == "Models")
    assert models["lastKnownFileType"] == "folder"  # copied as it is: Xcode would compile each package into one place


def test_the_project_overrides_nothing_of_the_settings_files(project: dict[str, Any]) -> None:
    """A setting in the project would win, silently."""
    said = read_settings(STARTER / "Config/Application.xcconfig") | read_settings(STARTER / "Config/UITests.xcconfig")
    for item in project["objects"].values():
        if item["isa"] == "XCBuildConfiguration":
            assert not item["buildSettings"].keys() & said.keys()


@pytest.mark.parametrize("text", ["{ a = ; }", "{ a = b }", "{ a = b; a = c; }", "{ a = b; } c", "{ a = @; }"])
def test_what_is_no_property_list_is_refused(text: str) -> None:
    with pytest.raises((ValueError, IndexError)):
        read_project(text)


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    return read_settings(STARTER / "Config/Application.xcconfig")


def test_build_settings(settings: dict[str, str]) -> None:
    wanted = {
        "ENABLE_HARDENED_RUNTIME": "YES", "IPHONEOS_DEPLOYMENT_TARGET": "18.0", "MACOSX_DEPLOYMENT_TARGET": "15.0",
        "SWIFT_VERSION": "6.0", "SWIFT_STRICT_CONCURRENCY": "complete", "GENERATE_INFOPLIST_FILE": "YES",
        "SUPPORTED_PLATFORMS": "iphoneos iphonesimulator macosx", "LILIMS_NETWORK_CLIENT": "NO",
        "INFOPLIST_KEY_ITSAppUsesNonExemptEncryption": "NO",
    }  # fmt: skip
    assert {name: settings.get(name) for name in wanted} == wanted


ENTITLEMENT = "CODE_SIGN_ENTITLEMENTS[sdk=macosx*]"
SANDBOX = {"com.apple.security.app-sandbox": True, "com.apple.security.files.user-selected.read-write": True}


def test_the_sandbox_lets_in_what_a_person_has_chosen_and_nothing_else(settings: dict[str, str]) -> None:
    path = STARTER / expanded(settings, ENTITLEMENT)
    assert plistlib.loads(path.read_bytes()) == SANDBOX


def test_the_switch_adds_the_network_client_and_nothing_else(settings: dict[str, str], tmp_path: Path) -> None:
    for path in (STARTER / "Config").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "Local.xcconfig").write_text("DEVELOPMENT_TEAM = ABCDE12345\nLILIMS_NETWORK_CLIENT = YES\n")
    switched = read_settings(tmp_path / "Application.xcconfig")
    path = STARTER / expanded(switched, ENTITLEMENT)
    assert plistlib.loads(path.read_bytes()) == {**SANDBOX, "com.apple.security.network.client": True}
    assert switched.keys() - settings.keys() == {"DEVELOPMENT_TEAM"}


def test_nothing_opens_a_connection() -> None:
    """The app and its package have no code for it: the switch is for code that a developer adds."""
    for path in (*STARTER.glob("App/*.swift"), *STARTER.glob("LilimsKit/Sources/**/*.swift")):
        assert not re.search(r"URLSession|NWConnection|import Network|https?://", path.read_text("utf-8")), path.name


def test_the_privacy_manifest_collects_nothing() -> None:
    manifest = plistlib.loads((STARTER / "App/PrivacyInfo.xcprivacy").read_bytes())
    assert manifest == {"NSPrivacyTracking": False, "NSPrivacyTrackingDomains": [], "NSPrivacyCollectedDataTypes": [],
                        "NSPrivacyAccessedAPITypes": []}  # fmt: skip


def test_the_scheme_tests_and_archives_targets_of_the_project(project: dict[str, Any]) -> None:
    scheme = ElementTree.fromstring(
        (STARTER / "Lilims.xcodeproj/xcshareddata/xcschemes/Lilims.xcscheme").read_text("utf-8")
    )
    references = list(scheme.iter("BuildableReference"))
    assert references
    for reference in references:
        assert project["objects"][reference.attrib["BlueprintIdentifier"]]["name"] == reference.attrib["BlueprintName"]
    (test,), (archive,) = scheme.iter("TestAction"), scheme.iter("ArchiveAction")
    assert [r.attrib["BlueprintName"] for r in test.iter("BuildableReference")] == ["LilimsUITests"]
    assert archive.attrib["buildConfiguration"] == "Release"


def test_the_icon_is_what_the_store_wants() -> None:
    folder = STARTER / "App/Assets.xcassets/AppIcon.appiconset"
    images = json.loads((folder / "Contents.json").read_text("utf-8"))["images"]
    icon = (folder / images[0]["filename"]).read_bytes()
    assert icon[:8] == b"\x89PNG\r\n\x1a\n"
    width, height, depth, colour = (*(int.from_bytes(icon[i : i + 4], "big") for i in (16, 20)), icon[24], icon[25])
    assert (width, height, depth, colour) == (1024, 1024, 8, 2)  # RGB without alpha


def test_the_guide_names_every_entitlement_and_the_switch() -> None:
    guide = (Path(__file__).parents[4] / "docs/swift.md").read_text("utf-8")
    for name in (*SANDBOX, "com.apple.security.network.client", "LILIMS_NETWORK_CLIENT", "ENABLE_HARDENED_RUNTIME"):
        assert name in guide
