"""Semantic versions: precedence, and ranges as node-semver reads them."""

from __future__ import annotations

import random

import pytest

from lilims.core.errors import UsageError
from lilims.core.versions import Range, Version

ORDER = [  # semver.org, item 11, and build metadata
    "0.0.1", "0.1.0", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2",
    "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "1.0.1", "1.2.0", "1.10.0", "2.0.0",
]  # fmt: skip


def test_precedence() -> None:
    versions = [Version.parse(text) for text in ORDER]
    assert sorted(random.Random(1).sample(versions, len(versions))) == versions
    assert len(set(versions)) == len(ORDER)
    assert [str(version) for version in versions] == ORDER


def test_build_metadata_does_not_count() -> None:
    first, second = Version.parse("1.0.0+linux"), Version.parse("1.0.0+mac.5")
    assert first == second and hash(first) == hash(second) and str(second) == "1.0.0+mac.5"


@pytest.mark.parametrize("text", ["", "1", "1.2", "01.2.3", "1.2.3-", "v1.2.3", "1.2.3 ", "1.2.3-a..b", "9" * 400])
def test_what_is_no_version(text: str) -> None:
    with pytest.raises(UsageError, match="not a version"):
        Version.parse(text)


RANGES = {
    "": "0.0.0 1.2.3 99.0.0 | 1.2.3-rc.1",
    "*": "0.0.0 1.2.3 | 1.2.3-rc.1",
    "latest": "0.0.0 1.2.3 | 1.2.3-rc.1",
    "1.2.3": "1.2.3 1.2.3+b | 1.2.4 1.2.2 1.2.3-rc.1",
    "=1.2.3": "1.2.3 | 1.2.4",
    "1.2.3-rc.1": "1.2.3-rc.1 | 1.2.3 1.2.3-rc.2",
    "1": "1.0.0 1.9.9 | 0.9.9 2.0.0 2.0.0-rc.1 1.5.0-rc.1",
    "1.x": "1.0.0 1.9.9 | 2.0.0",
    "1.2": "1.2.0 1.2.9 | 1.1.9 1.3.0",
    "1.x.3": "1.0.0 1.9.9 | 2.0.0",
    "^1.2": "1.2.0 1.3.0 1.99.0 | 1.1.9 2.0.0 2.0.0-alpha 1.3.0-beta",
    "^1.2.3": "1.2.3 1.9.0 | 1.2.2 2.0.0",
    "^0.2.3": "0.2.3 0.2.9 | 0.3.0 0.2.2 1.0.0",
    "^0.0.3": "0.0.3 | 0.0.4 0.0.2",
    "^0.0": "0.0.0 0.0.9 | 0.1.0",
    "^0": "0.0.0 0.9.0 | 1.0.0",
    "^1.2.3-beta.2": "1.2.3-beta.2 1.2.3-beta.3 1.2.3 1.9.0 | 1.2.3-beta.1 1.2.4-beta.2 2.0.0",
    "~1.2.3": "1.2.3 1.2.9 | 1.2.2 1.3.0",
    "~1.2": "1.2.0 1.2.9 | 1.3.0",
    "~1": "1.0.0 1.9.0 | 2.0.0",
    ">1.2.3": "1.2.4 2.0.0 | 1.2.3",
    ">1.2": "1.3.0 2.0.0 | 1.2.0 1.2.9",
    ">=1.2": "1.2.0 9.0.0 | 1.1.9",
    "<1.2": "1.1.9 0.0.0 | 1.2.0 1.2.0-rc.1",
    "<=1.2": "1.2.9 0.0.0 | 1.3.0",
    "<=1.2.3": "1.2.3 | 1.2.4",
    ">*": "| 0.0.0 1.0.0",
    "<=*": "0.0.0 9.0.0 |",
    ">=1 <3": "1.0.0 2.9.9 | 0.9.9 3.0.0",
    ">= 1.0, < 3": "1.0.0 2.9.9 | 0.9.9 3.0.0",
    "1 || ^3.1": "1.5.0 3.1.0 | 2.0.0 3.0.0 4.0.0",
}


@pytest.mark.parametrize("text", RANGES)
def test_ranges(text: str) -> None:
    inside, outside = (part.split() for part in RANGES[text].split("|", 1)) if "||" not in text else (
        part.split() for part in RANGES[text].split(" | ")
    )  # fmt: skip
    found = Range.parse(text)
    assert [v for v in inside if Version.parse(v) not in found] == []
    assert [v for v in outside if Version.parse(v) in found] == []


@pytest.mark.parametrize("text", ["one", "1.2.3.4", "^", "1..2", ">=", "1 ||", "^1.2-", "1.2.3;rm", "1 " * 200])
def test_what_is_no_range(text: str) -> None:
    with pytest.raises(UsageError, match="range of versions"):
        Range.parse(text)


def test_the_best_of_several() -> None:
    versions = [Version.parse(text) for text in ("1.0.0", "1.10.0", "1.9.0", "2.0.0-rc.1")]
    assert str(Range.parse("").best(versions)) == "1.10.0"
    assert str(Range.parse("~1.9").best(versions)) == "1.9.0"
    assert Range.parse("^2").best(versions) is None
    assert str(Range.parse("").best(versions[3:])) == "2.0.0-rc.1"  # there is nothing else
