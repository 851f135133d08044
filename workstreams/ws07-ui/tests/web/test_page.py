"""The page's files: libraries as their authors published them, nothing from elsewhere, nothing inline."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from lilims.ui.web.page import STATIC

VENDOR = STATIC / "vendor"
PACKAGES = json.loads((VENDOR / "vendor.json").read_text("utf-8"))["packages"]
OWN = [path for path in sorted(STATIC.rglob("*")) if path.is_file() and VENDOR not in path.parents]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package["name"])
def test_a_library_is_the_published_one(package: dict[str, object]) -> None:
    files = package["files"]
    assert isinstance(files, dict)
    for name, file in files.items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == file["sha256"], name
    assert any(name.endswith("LICENSE") for name in files), "the licence lies beside it"
    assert re.fullmatch(r"sha512-[A-Za-z0-9+/]{86}==", str(package["integrity"]))
    assert str(package["version"]) in str(package["tarball"])


def test_every_library_is_recorded() -> None:
    there = {path.relative_to(VENDOR).as_posix() for path in VENDOR.rglob("*") if path.is_file()} - {"vendor.json"}
    assert there == {name for package in PACKAGES for name in package["files"]}


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_nothing_comes_from_elsewhere(path: Path) -> None:
    text = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
    text = re.sub(r'placeholder: "[^"]*"', "", text)
    assert not re.search(r"(https?:)?//[a-z0-9-]+\.[a-z]", text), "an address"
    assert "innerHTML" not in text and "eval(" not in text and "document.write" not in text
    if path.suffix == ".html":
        assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=", text), "inline script or style"


def test_every_module_that_is_imported_is_there() -> None:
    for path in (STATIC / "js").glob("*.js"):
        for name in re.findall(r'from "([^"]+)"', path.read_text("utf-8")):
            target = STATIC / name.removeprefix("/web/") if name.startswith("/") else path.parent / name
            assert target.is_file(), f"{path.name}: {name}"


def test_every_icon_is_drawn() -> None:
    drawn = set(re.findall(r"^  (\w+): \"M", (STATIC / "js/dom.js").read_text("utf-8"), re.MULTILINE))
    for path in (STATIC / "js").glob("*.js"):
        text = path.read_text("utf-8")
        for name in re.findall(r'(?:icon|tool)\("(\w+)"', text):
            assert name in drawn, f"{path.name}: {name}"


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, two: str) -> float:
    """As WCAG 2.2 defines it."""
    high, low = sorted((_luminance(one), _luminance(two)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_contrast_of_the_palette(theme: str) -> None:
    text = (STATIC / "style/base.css").read_text("utf-8") + (STATIC / "style/code.css").read_text("utf-8")
    selector = r":root \{" if theme == "light" else r':root\[data-theme="dark"\] \{'
    blocks = re.findall(selector + r"([^}]+)\}", text)
    colour = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", "".join(blocks)))
    grounds = ("paper", "surface", "sunken")
    for ground in grounds:
        for name in ("ink", "soft", "accent", "danger"):
            assert _contrast(colour[name], colour[ground]) >= 4.5, (name, ground)
        assert _contrast(colour["edge"], colour[ground]) >= 3, ("edge", ground)
    for name, ground in (("on-accent", "accent"), ("warn", "warn-tint"), ("danger", "danger-tint"), ("ink", "tint"),
                         ("soft", "hover"), ("soft", "tint"), ("paper", "ink")):  # fmt: skip
        assert _contrast(colour[name], colour[ground]) >= 4.5, (name, ground)
    for name in ("keyword", "string", "number", "comment", "name", "type", "ink"):
        assert _contrast(colour[name], colour["code"]) >= 4.5, name
