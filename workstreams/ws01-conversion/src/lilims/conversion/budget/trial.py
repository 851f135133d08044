"""A model with some of its matrices replaced, measured against the checkpoint on windows of a text.

Knows how a trial is opened in any process and what is measured. Must not know which trials are made, or why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lilims.core.errors import CheckpointError

from ..calibration.opened import Floats, OpenedModel
from ..evaluation.cache import Cached, make_room
from ..evaluation.metrics import Scores, summarise
from ..evaluation.runner import score_window
from ..evaluation.sources import key
from ..evaluation.windows import Window
from ..fp16_scale import rescaled
from ..policy.plan import Plan
from ..prepare import prepare
from ..quantize import Scheme, quantize
from ..weights.tensors import whole
from .goal import Figures

__all__ = ["Trial", "TrialWork", "alone"]


@dataclass(frozen=True)
class TrialWork:
    """What a process needs to measure trials of a checkpoint.

    Attributes:
        source: the checkpoint's path, and `adapters` those of its adapters.
        sha256: the checkpoint's.
        stream_scale: of the residual stream (`fp16_scale.rescaled`).
        windows: the text.
    """

    source: Path
    adapters: tuple[Path, ...]
    sha256: str
    stream_scale: float
    plan: Plan
    windows: tuple[Window, ...]
    context: int
    threads: int

    def open(self) -> Trial:
        """The model, all of whose layers are in memory from then on."""
        from dataclasses import replace

        given = prepare(self.source, adapters=self.adapters)
        if given.checkpoint.sha256 != self.sha256:  # of another machine, perhaps
            raise CheckpointError(
                "is another checkpoint than the one that is measured",
                where=self.source,
                hint="workers have to see the same files by the same path",
            )
        given = replace(given, spec=rescaled(given.spec, self.stream_scale))
        tokens = len(self.windows[0].inputs)
        return Trial(self, OpenedModel(given, self.plan, tokens, self.context, self.threads))


class Trial:
    """An open model."""

    def __init__(self, work: TrialWork, opened: OpenedModel) -> None:
        self.work, self.opened = work, opened
        spec = opened.given.spec
        self._layers = [opened.layer(index) for index in range(len(spec.layers))]
        self._head = opened.head()
        self._embedding = opened.read("embedding")
        ids = [(window.ids, window.first) for window in work.windows]
        name = key("checkpoint", work.sha256, work.stream_scale, work.context, work.threads, spec.vocab_size, ids)
        shelf = make_room(name, work.windows, spec.vocab_size)
        self._exact = _Replaced(self, {})
        self._reference = self._exact if shelf is None else Cached(shelf, self._exact)

    def logits(self, window: Window, matrices: Mapping[str, Floats]) -> Floats:
        """Logits [n, vocab] behind every token that is run."""
        rows = self.opened.embedded(window.inputs, matrices.get("embedding", self._embedding))
        for layer in self._layers:
            rows = layer.run(rows, matrices)[0]
        return self._head.run(rows, matrices)[0][:, : self.opened.given.spec.vocab_size]

    def measure(self, matrices: Mapping[str, Floats]) -> Figures:
        """How the model with these matrices differs from the checkpoint.

        Raises:
            ExecutionError: logits are not finite.
        """
        changed = _Replaced(self, matrices)
        scores = Scores.joined(score_window(window, changed, self._reference) for window in self.work.windows)
        summary = summarise(scores)
        found = summary.comparison
        assert found is not None
        ratio, divergence = found.log_ratio, found.divergence
        return Figures(ratio.value, ratio.error, divergence.value, summary.nll.value, len(scores.nll))


@dataclass(frozen=True)
class _Replaced:
    """`Trial.logits` as a source (`evaluation.sources.Source`)."""

    trial: Trial
    matrices: Mapping[str, Floats]

    def rows(self, window: Window) -> Iterator[Floats]:
        yield np.ascontiguousarray(self.trial.logits(window, self.matrices)[window.first :])


def alone(trial: Trial, schemes: Mapping[str, Scheme]) -> Figures:
    """What is lost where only these matrices are quantised, each by itself."""
    opened = trial.opened
    matrices = {}
    for role, scheme in schemes.items():
        values = whole(opened.given, opened.plan, role)
        stored = quantize(values, scheme.fitted(values.shape), name=opened.given.names[role])
        matrices[role] = stored.dequantize()
    return trial.measure(matrices)
