"""The page: complete, alone, and deaf to markup in what it shows."""

from __future__ import annotations

import base64
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from lilims.conversion import evaluate
from lilims.conversion.evaluation.measure import Evaluation
from lilims.conversion.evaluation.report.tensors import by_layer, tensor_errors
from lilims.conversion.evaluation.report.worst import worst
from lilims.conversion.evaluation.texts import Text
from lilims.core.errors import MissingDependencyError
from lilims.core.manifest import read_manifest, write_manifest

from .conftest import STORY, TEXT, Made


class Page(HTMLParser):
    """Tags, attributes and text of a page; every tag that is opened is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.open = "", []  # type: ignore[var-annotated]
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "source"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_errors_of_tensors_are_those_of_the_stored_weights(made: Made) -> None:
    """int4 by its own formula from the fp16 weights; every matrix of the model is there."""
    from lilims.conversion.evaluation.weights import Weights

    errors = tensor_errors(made("int4"), made("fp16"))
    manifest = read_manifest(made("int4"))
    assert set(errors) == {name for name, one in manifest.quantization.tensors.items() if len(one.shape) == 2}
    plain = Weights(made("fp16"), read_manifest(made("fp16"))).values("layers.0.attention.q.weight")
    assert plain is not None and plain.shape == (64, 64)
    blocks = plain.reshape(64, 2, 32).astype(np.float64)
    scale = np.maximum(blocks.max(axis=2) / 7, blocks.min(axis=2) / -8).astype(np.float16).astype(np.float64)[..., None]
    stored = np.clip(np.round(blocks / scale), -8, 7) * scale
    wanted = np.linalg.norm(stored - blocks) / np.linalg.norm(blocks)
    assert errors["layers.0.attention.q.weight"] == pytest.approx(wanted, rel=1e-3)
    assert set(tensor_errors(made("fp16"), made("fp16")).values()) == {0.0}
    layers, roles, table = by_layer(errors)
    assert layers == ["0", "1", "2", "3", "4"] and table.shape == (5, len(roles)) and np.isfinite(table).all()
    assert table[0, roles.index("attention.q")] == errors["layers.0.attention.q.weight"]


def test_worst_places(compared: Evaluation) -> None:
    tokenizer = compared.model.tokenizer()
    assert tokenizer is not None
    places = worst(compared, tokenizer)
    assert len(places) == 10
    assert places[0].divergence == pytest.approx(compared.scores.divergence.max())
    ids = tokenizer.encode(TEXT.content)
    for place in places:
        shown = place.before + place.token + place.after
        assert shown.strip() in tokenizer.decode(ids) or "\ufffd" in shown
        assert all(place is other or abs(place.at - other.at) >= 8 for other in places)


@pytest.fixture(scope="module")
def page(compared: Evaluation) -> str:
    pytest.importorskip("matplotlib")
    from lilims.conversion.evaluation.report.page import render

    return render(compared)


def test_the_page_is_whole_and_alone(page: str, compared: Evaluation) -> None:
    found = Page(page)
    links = [value for tag, attrs in found.tags for key, value in attrs.items() if key in ("src", "srcset", "href")]
    assert len(links) == 8 and all(link and link.startswith("data:image/png;base64,") for link in links)
    for link in links:
        assert base64.b64decode((link or "").partition(",")[2]).startswith(b"\x89PNG")
    assert not {"script", "iframe", "link", "object"} & {tag for tag, _ in found.tags}
    assert "url(" not in page and "@import" not in page and "default-src 'none'" in page
    assert "prefers-color-scheme: dark" in page
    for figure in (f"{compared.summary.perplexity:.3f}", f"{compared.summary.comparison.divergence.value:.4f}"):  # type: ignore[union-attr]
        assert figure in found.text
    for title in ("Perplexity for the bits", "Divergence", "Over the window", "Error per tensor", "Worst places"):
        assert title in found.text


def test_the_same_evaluation_gives_the_same_page(page: str, compared: Evaluation) -> None:
    from lilims.conversion.evaluation.report.page import render

    assert render(compared) == page


def test_text_from_outside_is_escaped(made: Made, tmp_path: Path) -> None:
    """Markup in the measured text, the model's own name and its architecture is shown, not read."""
    pytest.importorskip("matplotlib")
    from lilims.conversion.evaluation.report.page import render

    evil = "<script>alert(1)</script>&amp;<img src=x onerror=y>\x1b[31m\u202e"
    folder = Path(shutil.copytree(made("int4"), tmp_path / "model"))
    manifest = read_manifest(folder)
    sizes = manifest.architecture.model_copy(update={"model_type": evil})
    write_manifest(folder, manifest.model_copy(update={"architecture": sizes}))
    found = evaluate(folder, Text(evil, (evil + " " + STORY) * 3), context=32, windows=6, jobs=1)
    html = render(found)
    tags = Page(html).tags
    known = (
        "html head meta title style body main header p h1 h2 section div picture source img table tr th td figure "
        "blockquote mark span figcaption dl dt dd code sub"
    )
    assert {tag for tag, _ in tags} <= set(known.split())
    assert all(not key.startswith("on") for _, attrs in tags for key in attrs)
    assert "&lt;script&gt;" in html and not re.search(r"[\x00-\x09\x0b-\x1f\u202e]", html)


def test_without_a_reference_there_is_less_on_it(compared: Evaluation) -> None:
    pytest.importorskip("matplotlib")
    from lilims.conversion.evaluation.measure import positions
    from lilims.conversion.evaluation.metrics import Scores, by_position, summarise
    from lilims.conversion.evaluation.report.page import render

    none = np.zeros(0)
    scores = Scores(compared.scores.nll, none, none, none, none > 0)
    curve = by_position(scores, positions(compared.windows))
    html = render(replace(compared, reference=None, scores=scores, summary=summarise(scores), curve=curve))
    assert "Error per tensor" not in html and "KL(reference" not in html and "Worst places" in html


def test_matplotlib_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from lilims.conversion.evaluation.report.plots import require_matplotlib

    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError, match="a report needs matplotlib") as caught:
        require_matplotlib()
    assert "lilims-conversion[report]" in (caught.value.hint or "")
