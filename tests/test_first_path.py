"""Convert → load → generate: every architecture and scheme, through the public interface of each package."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

REFERENCES = Path(__file__).parents[1] / "workstreams" / "ws01-conversion" / "tests" / "references"
MODELS: dict[str, Any] = json.loads((REFERENCES / "models.json").read_text())["models"]
CASES = [(name, scheme) for name, entry in MODELS.items() if len(entry["schemes"]) > 1 for scheme in entry["schemes"]]

# Loading and generating happen in a process of their own, so that its peak memory is theirs. The bound is far above
# what the tiny models take (about 130 MB, nearly all of it Python, numpy and ONNX Runtime) and far below a leak of
# sessions.
MEMORY_LIMIT = 400e6  # bytes
GENERATE = """
import json, resource, sys
from lilims.runtime import load
folder, prompt, count = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
model = load(folder, executor="portable", precision="exact")
ids = [token.id for token in model.generate(prompt, max_tokens=count, ignore_eos=True)]
if sys.platform == "linux":  # ru_maxrss is handed down to a new program by the process that started it; VmHWM is not
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    peak = int(status["VmHWM"].split()[0]) * 1024
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"ids": ids, "peak": peak}))
"""


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """Converts (once) a tiny random model."""
    from lilims.conversion import convert
    from lilims.conversion.random_checkpoint import write_random_checkpoint

    made: dict[tuple[str, str], Path] = {}

    def make(name: str, scheme: str) -> Path:
        if (name, scheme) not in made:
            source = tmp_path_factory.mktemp("source") / name
            write_random_checkpoint(MODELS[name]["config"], source, seed=MODELS[name]["seed"])
            made[name, scheme] = tmp_path_factory.mktemp("out") / f"{name}-{scheme}"
            convert(source, made[name, scheme], quantize=scheme)  # type: ignore[arg-type]
        return made[name, scheme]

    return make


@pytest.mark.skipif(sys.platform == "win32", reason="coremltools 9 has no Windows build: nothing to convert with")
@pytest.mark.parametrize(("name", "scheme"), CASES, ids=["-".join(case) for case in CASES])
def test_twenty_tokens(converted: Callable[[str, str], Path], name: str, scheme: str) -> None:
    """Greedy ids equal those that transformers gave for the same stored weights, within the memory bound."""
    with np.load(REFERENCES / f"{name}.npz") as recorded:
        prompt, wanted = recorded["greedy_prompt"].tolist(), recorded[f"greedy_{scheme}"].tolist()
    arguments = [str(converted(name, scheme)), json.dumps(prompt), str(len(wanted))]
    done = subprocess.run([sys.executable, "-c", GENERATE, *arguments], check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert len(wanted) == 20
    assert found["ids"] == wanted
    assert found["peak"] < MEMORY_LIMIT
