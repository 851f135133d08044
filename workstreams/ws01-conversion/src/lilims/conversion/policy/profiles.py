"""Profiles: what a package is made for, as a table of defaults.

Knows schemes, chunk sizes and compute units. Must not know how they are used. Every option that is given overrides its
profile's; why each stands here, and what of it is proved, is told in docs/quantisation.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["PROFILES", "ComputeUnits", "Profile", "ProfileName"]

ProfileName = Literal["gpu", "ane", "cpu", "balanced"]
ComputeUnits = Literal["CPU_AND_GPU", "CPU_AND_NE", "CPU_ONLY"]


@dataclass(frozen=True)
class Profile:
    """Defaults of a conversion.

    Attributes:
        quantize: scheme of the matrices.
        group_size: values that share a scale, of integer schemes that name no group.
        prefill_chunk: most tokens of a `prefill` or `score` call.
        compute_units: what Core ML is told to use.
    """

    name: ProfileName
    quantize: str
    group_size: int
    prefill_chunk: int
    compute_units: ComputeUnits


PROFILES: dict[ProfileName, Profile] = {
    profile.name: profile
    for profile in (
        Profile("gpu", "int4", 32, prefill_chunk=128, compute_units="CPU_AND_GPU"),
        Profile("ane", "lut4-r8", 32, prefill_chunk=32, compute_units="CPU_AND_NE"),
        Profile("cpu", "int4", 32, prefill_chunk=128, compute_units="CPU_ONLY"),
        Profile("balanced", "int8-channel", 32, prefill_chunk=32, compute_units="CPU_AND_GPU"),
    )
}
