"""What a generation cost: tokens, seconds, memory.

Knows clocks and the operating system's accounting. Must not know what was generated.
"""

from __future__ import annotations

import sys
from array import array
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["FinishReason", "Statistics", "peak_rss"]

FinishReason = Literal["stop", "length", "interrupt"]
"""Why an answer ended: at a stop or end token, at the number of tokens asked for, or by an interrupt."""


@dataclass
class Statistics:
    """Figures of one generation; they grow while it runs. Seconds are of this process's work, not of the consumer's.

    Attributes:
        prompt_tokens: tokens of the prompt.
        reused_tokens: of these, tokens that the session's state held already.
        generated_tokens: tokens chosen, a final eos included.
        tokenize_seconds: seconds of making ids of the prompt, a chat template included.
        time_to_first_token: seconds from the call until the first token is chosen: encoding, prefill, sampling.
        prefill_seconds: seconds of the prompt's calls.
        decode_seconds: seconds of all steps after the first token, sampling included.
        sampling_seconds: seconds of choosing tokens from logits.
        detokenize_seconds: seconds of making text of tokens.
        steps: seconds of each step after the first token. A step of speculative decoding gives several tokens.
        drafted_tokens, accepted_tokens: tokens that speculative decoding proposed, and those of them that were kept.
        speedup: how many times faster than by plain steps speculative decoding was, as far as these tell.
        finish_reason: "stop" at an eos id or a stop string, "length" at max_tokens or a full context, "interrupt";
            None if it did not finish.
        stop_string: the stop string that ended it.
        constraint_met: whether the text is all that its constraint wants; None without a constraint. One that ends with
            "length" may be cut off in the middle.
        seed: of the random numbers; given again, it gives the same tokens.
    """

    prompt_tokens: int = 0
    reused_tokens: int = 0
    generated_tokens: int = 0
    tokenize_seconds: float = 0.0
    time_to_first_token: float = 0.0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    sampling_seconds: float = 0.0
    detokenize_seconds: float = 0.0
    steps: array[float] = field(default_factory=lambda: array("d"))
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    speedup: float | None = None
    finish_reason: FinishReason | None = None
    stop_string: str | None = None
    constraint_met: bool | None = None
    seed: int | None = None

    @property
    def prefill_tokens_per_second(self) -> float:
        """Prompt tokens that were computed over their seconds; 0 before they are done."""
        computed = self.prompt_tokens - self.reused_tokens
        return computed / self.prefill_seconds if self.prefill_seconds else 0.0

    @property
    def decode_tokens_per_second(self) -> float:
        """Tokens after the first over their seconds; 0 if there are none."""
        return (self.generated_tokens - 1) / self.decode_seconds if self.decode_seconds else 0.0

    @property
    def seconds(self) -> float:
        """Seconds of the whole generation so far, without those that its consumer took."""
        first = self.time_to_first_token or self.tokenize_seconds + self.prefill_seconds
        return first + self.decode_seconds + self.detokenize_seconds

    @property
    def acceptance(self) -> float | None:
        """Share of the drafted tokens that were kept; None if none was drafted."""
        return self.accepted_tokens / self.drafted_tokens if self.drafted_tokens else None

    def as_dict(self) -> dict[str, Any]:
        """The figures for `--json`; `peak_rss` is in bytes, None where the system does not tell."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "reused_tokens": self.reused_tokens,
            "generated_tokens": self.generated_tokens,
            "time_to_first_token": self.time_to_first_token,
            "prefill_tokens_per_second": self.prefill_tokens_per_second,
            "decode_tokens_per_second": self.decode_tokens_per_second,
            "drafted_tokens": self.drafted_tokens,
            "accepted_tokens": self.accepted_tokens,
            "speedup": self.speedup,
            "peak_rss": peak_rss(),
            "finish_reason": self.finish_reason,
            "constraint_met": self.constraint_met,
            "seed": self.seed,
        }


def peak_rss() -> int | None:
    """Most bytes of physical memory that this process has held so far, or None where the system does not tell.

    Linux: VmHWM of /proc/self/status (`ru_maxrss` starts at the parent's size there). macOS: `ru_maxrss`, in bytes.
    Windows: PeakWorkingSetSize of GetProcessMemoryInfo.
    """
    if sys.platform == "win32":
        return _windows_peak()
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            line = next(line for line in file if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return None
    return int(line.split()[1]) * 1024


def _windows_peak() -> int | None:
    if sys.platform != "win32":
        return None
    import ctypes
    from ctypes import wintypes

    class Counters(ctypes.Structure):
        _fields_ = (
            [("cb", wintypes.DWORD), ("PageFaultCount", wintypes.DWORD), ("PeakWorkingSetSize", ctypes.c_size_t)]
            + [(f"rest{i}", ctypes.c_size_t) for i in range(7)]
        )  # fmt: skip

    counters = Counters(cb=ctypes.sizeof(Counters))
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    query = kernel.K32GetProcessMemoryInfo
    query.argtypes = [wintypes.HANDLE, ctypes.POINTER(Counters), wintypes.DWORD]
    kernel.GetCurrentProcess.restype = wintypes.HANDLE
    done = query(kernel.GetCurrentProcess(), ctypes.byref(counters), counters.cb)
    return int(counters.PeakWorkingSetSize) if done else None
