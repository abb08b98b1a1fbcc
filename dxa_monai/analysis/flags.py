"""What a scan may be flagged with: every name, and a sentence for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FlagName = Literal[
    "empty_scan",
    "no_open_air",
    "not_a_whole_body",
    "zero_mismatch",
    "table_edge",
    "one_sided_air",
    "coarse_export",
    "dead_column",
    "energies_displaced",
    "blurred",
    "no_phantom",
    "few_photons",
    "little_open_air",
    "limb_out_of_field",
    "too_thick",
    "metal",
    "implausible_r",
    "scanner_mismatch",
    "landmarks_guessed",
    "landmarks_by_network",
    "limbs_differ",
    "arms_touch",
]
"""Every flag; the first three are always fatal, ``too_thick`` and ``implausible_r`` may be."""


@dataclass(frozen=True)
class Flag:
    """Something doubtful.

    Attributes:
        name: for tables.
        sentence: for people, with the figures that gave rise to it.
        fatal: there are no numbers of this scan.
    """

    name: FlagName
    sentence: str
    fatal: bool = False
