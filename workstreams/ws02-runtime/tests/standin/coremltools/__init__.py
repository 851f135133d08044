"""A stand-in for coremltools in a child process: the fake decoder, which misbehaves on request.

The file named by STANDIN says how: lines `<what> <number of the prediction in this process> <how>`, read at each
prediction. How: exit, kill, hang, raise, objects (a result that is no array of numbers), garbage (bytes in every pipe).
"""

import contextlib
import enum
import importlib.util
import os
import plistlib
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from lilims.runtime import coreml

_fakes = importlib.util.spec_from_file_location("standin_fakes", Path(__file__).parents[2] / "fakes.py")
fakes = importlib.util.module_from_spec(_fakes)
sys.modules["standin_fakes"] = fakes
_fakes.loader.exec_module(fakes)

FILE = Path(os.environ["STANDIN"])
_VERSION = FILE.with_suffix(".plist")
_VERSION.write_bytes(plistlib.dumps({"ProductBuildVersion": "24A335"}))
coreml._SYSTEM_VERSION = _VERSION
print("a line that Core ML prints")  # must not reach the pipe

DECODER = fakes.FakeExecutor()


class ComputeUnit(enum.Enum):
    CPU_ONLY = 1
    CPU_AND_GPU = 2


class MLState:
    def __init__(self):
        self.content = DECODER.make_state()

    def read_state(self, name):
        assert name == "kv_cache"
        return DECODER.read_state(self.content, fakes.ROWS).astype(np.float32)

    def write_state(self, name, value):
        DECODER.write_state(self.content, value)


class CompiledMLModel:
    def __init__(self, path, compute_units, function_name):
        self._proxy = object()
        self._function = DECODER.function(function_name)
        _misbehave("load", 0)

    def make_state(self):
        return MLState()

    def predict(self, data, state):
        found = _misbehave("predict", len(DECODER.calls) + 1)
        return found or self._function.predict(data, state.content)


def _misbehave(what, number):
    for line in FILE.read_text().splitlines():
        where, wanted, how = line.split()
        if where == what and wanted in (str(number), "*"):
            return _MANNERS[how]()
    return None


def _raise():
    raise RuntimeError("ANE failure -1")


def _garbage():
    for handle in range(3, 32):
        with contextlib.suppress(OSError):
            os.write(handle, b"garbage" * 10)


_MANNERS = {
    "exit": lambda: os._exit(3),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "hang": lambda: time.sleep(1000),
    "raise": _raise,
    "objects": lambda: {"logits": np.array([object()])},
    "garbage": _garbage,
}

models = SimpleNamespace(
    CompiledMLModel=CompiledMLModel,
    utils=SimpleNamespace(compile_model=lambda package, destination_path: Path(destination_path).mkdir()),
)
