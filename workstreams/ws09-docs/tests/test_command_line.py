"""The page of the command line, on commands made for it."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import click
import pytest

from lilims.core import cli
from lilims.docs import Page, command_line_page


@click.group("zoo", epilog="Exit codes: 3 closed.")
def zoo() -> None:
    """Look at animals | and plants.

    \b
    as     it
    stands
    """


@cli.command("feed")
@click.argument("animal")
@click.option("--times", type=click.IntRange(1, 9), default=2, show_default=True, help="How often <a day>.")
@click.option("--at", help="When [default: noon].")
@click.option("--food", type=click.Choice(["hay", "fish"]), required=True, help="What.")
@click.option("--secret", hidden=True)
def feed(**_: object) -> None:
    """Feed an ANIMAL. Not too much."""


zoo.add_command(feed)
feed.variants = lambda: {"--to owls": click.Command("owls", params=[click.Option(["--mice"], help="How many.")])}  # type: ignore[attr-defined]


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> str:
    entry = EntryPoint("zoo", "x:y", cli.GROUP)
    monkeypatch.setattr(EntryPoint, "load", lambda self: zoo)
    monkeypatch.setattr(type(cli.lilims), "_entries", lambda self: {"zoo": entry})
    return command_line_page()


def test_the_page_says_everything(page: str) -> None:
    assert "| [`lilims zoo`](#lilims-zoo) | Look at animals \\| and plants. |" in page
    assert "## lilims zoo\n\nLook at animals | and plants.\n\n```text\nas     it\nstands\n```\n" in page
    assert "Exit codes: 3 closed." in page
    assert (
        "### lilims zoo feed\n\nFeed an ANIMAL. Not too much.\n\n```text\nlilims zoo feed [OPTIONS] ANIMAL\n```" in page
    )
    assert "| `ANIMAL` |  | required |" in page
    assert "| `--times INTEGER` | How often \\<a day\\>. 1 to 9. | `2` |" in page
    assert "| `--at TEXT` | When. | noon |" in page
    assert "| `--food [hay\\|fish]` | What. | required |" in page
    assert "#### lilims zoo feed --to owls\n" in page and "| `--mice TEXT` | How many. |  |" in page
    assert "secret" not in page and "`-v, --verbose`" not in page
    assert "| `LILIMS_THREADS` | `threads` | `0` | Threads of the portable executor; 0 means" in page


def test_it_is_the_same_on_every_terminal(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("TERM", "dumb")
    assert command_line_page() == page


def test_its_links_lead_somewhere(page: str, tmp_path: pytest.TempPathFactory) -> None:
    path = tmp_path / "cli.md"  # type: ignore[operator]
    path.write_text(page, "utf-8")
    read = Page(path)
    anchors = {target[1:] for _, target in read.links if target.startswith("#")}
    assert anchors == {"lilims-zoo", "lilims-zoo-feed"} and anchors <= read.anchors.keys()
