"""Output that is valid by a JSON schema, a regular expression or a grammar, whatever the model says.

    from lilims.runtime.constrained import json_schema
    sampler = Sampler(SamplingParameters(), json_schema({"type": "object"}, model.tokenizer))

Knows llguidance, an optional package (`pip install 'lilims-runtime[constrained]'`). Must not know sampling or models.
"""

from __future__ import annotations

from .grammars import grammar, json_schema, regex
from .matcher import GrammarConstraint

__all__ = ["GrammarConstraint", "grammar", "json_schema", "regex"]
