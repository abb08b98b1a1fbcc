"""What is doubtful about a scan because of its scanner: zero, table, failed detectors, displaced energies, no phantom.

Each sentence says what the total of fat may be wrong by: fat and lean lie so close together in two energies that a
thousandth of a neper in one of them, all over the body, is about 0.4 kg.
"""

from __future__ import annotations

import numpy as np

from dxa_monai.analysis.flags import Flag
from dxa_monai.physics.correction import ScanCorrection
from dxa_monai.physics.phantom_blur import MOST_BLUR
from dxa_monai.scan.format import CHANNELS, FULL_SCALE_COUNTS

FAT_KG_PER_NEPER = 400.0
"""What total fat changes by when one energy reads so much more everywhere in an adult (virtual people: 300 to 500)."""
_ROUNDED_NEPERS = 4e-3
"""Coarser exports hide the photons' noise, so that air reads one and the same number and its zero is not known better
than to a part of a step: 5 counts of 14 bits."""
_WHEEL_SHARE, _WHEEL_NEPERS = 0.02, 2e-3
"""How far the wheel may attenuate more or less in a scan's air than in the scanner's model."""
_DECLARED_NEPERS = 2e-3
_SHIFT_TOLD_MM = 0.3
FEW_PHOTONS = 1.5e5
"""Photons of a pixel and channel from which on noise costs no more than 2 % of total fat (virtual people: with 3e5 an
RMSE of 1 kg, with 3e4 of 2 to 4 kg)."""
_UNSEEN_FAT_KG = 1.0
"""What 2 % scatter to primary, 0.2 % glare or the like, which only a step phantom shows, did to virtual people."""


def zero_flags(correction: ScanCorrection) -> list[Flag]:
    """Judge a scan's zero and what else was corrected.

    Args:
        correction: of :func:`dxa_monai.physics.correction.find_correction`.
    """
    zero = correction.zero
    if not zero.enough_air and not correction.zero_declared:
        sentence = (
            f"Hardly a pixel shows open air ({int(zero.air.sum())}), so the beam without a body is not known from this "
            "scan; declare zero_counts if they are known."
        )
        return [Flag("no_open_air", sentence, fatal=True)]
    return [
        *_declared(correction),
        *_wheel(correction),
        *_table(correction),
        *_air(correction),
        *_columns(correction),
        *_displaced(correction),
    ]


def _declared(correction: ScanCorrection) -> list[Flag]:
    zero = correction.zero
    if not correction.zero_declared or not zero.enough_air:
        return []
    declared = correction.zero_image_nepers.mean(dim=(1, 2)).double().numpy()
    apart = zero.level_nepers - declared
    worst = int(np.abs(apart).argmax())
    if abs(apart[worst]) <= _DECLARED_NEPERS:
        return []
    sentence = (
        f"Open air reads {_counts(correction, zero.level_nepers[worst]):.0f} counts in channel {CHANNELS[worst]}, the "
        f"declared zero is {_counts(correction, declared[worst]):.0f}: {_kilograms(apart[worst])}."
    )
    return [Flag("zero_mismatch", sentence)]


def _wheel(correction: ScanCorrection) -> list[Flag]:
    """The zeros of the six channels against each other: only the wheel may tell them apart."""
    if not correction.zero.enough_air or correction.model.source == "nominal":
        return []
    measured, expected = correction.zero.wheel_nepers, correction.model.wheel_nepers
    over = np.abs(measured - expected) - np.maximum(_WHEEL_SHARE * expected, _WHEEL_NEPERS)
    worst = int(over.argmax())
    if over[worst] <= 0:
        return []
    sentence = (
        f"In open air the wheel attenuates channel {CHANNELS[worst]} by {measured[worst]:.4f} nepers, the scanner's "
        f"model says {expected[worst]:.4f}: the channels' zeros differ by more than the wheel can explain."
    )
    return [Flag("zero_mismatch", sentence)]


def _table(correction: ScanCorrection) -> list[Flag]:
    (first, stop), width = correction.zero.table_columns, correction.zero.air.shape[1]
    if (first, stop) == (0, width):
        return []
    sentence = (
        f"The table ends inside the field: what lies left of column {first} or right of column {stop - 1} is beside it "
        "and is not analysed."
    )
    return [Flag("table_edge", sentence)]


def _air(correction: ScanCorrection) -> list[Flag]:
    zero, flags = correction.zero, []
    if zero.one_sided and not correction.zero_declared:
        step = 2e-3
        sentence = (
            "Open air shows on one side of the body only. A zero that changes across the columns would not be seen: "
            f"for every {_counts(correction, step):.0f} counts of it {_kilograms(step)}."
        )
        flags.append(Flag("one_sided_air", sentence))
    if zero.rounding_nepers > _ROUNDED_NEPERS:
        sentence = (
            f"The export knows only every {_counts(correction, zero.rounding_nepers):.0f}th count, which hides the "
            f"photons' noise: the zero is uncertain by a part of that step, {_kilograms(zero.rounding_nepers / 2.0)}."
        )
        flags.append(Flag("coarse_export", sentence))
    return flags


def _columns(correction: ScanCorrection) -> list[Flag]:
    if not correction.dead_columns:
        return []
    columns = ", ".join(str(column) for column in correction.dead_columns)
    sentence = f"The detectors of columns {columns} failed; they were filled in from the columns beside them."
    return [Flag("dead_column", sentence)]


def _displaced(correction: ScanCorrection) -> list[Flag]:
    rows_mm, columns_mm = correction.energy_shift_mm
    if max(abs(rows_mm), abs(columns_mm)) <= _SHIFT_TOLD_MM:
        return []
    sentence = (
        f"The low-energy image lay {rows_mm:+.1f} mm along and {columns_mm:+.1f} mm across the body from the "
        "high-energy one and was moved back: the edges of bone are less certain."
    )
    return [Flag("energies_displaced", sentence)]


def scanner_flags(correction: ScanCorrection) -> list[Flag]:
    """Judge what is known of the scanner itself, whoever lies on it.

    Args:
        correction: of :func:`dxa_monai.physics.correction.find_correction`.
    """
    model, flags = correction.model, []
    if model.source == "nominal":
        sentence = (
            "The scanner was not calibrated: its voltages, filters and detector are only assumed, and total fat and "
            "lean may be wrong by 10 kg."
        )
        flags.append(Flag("scanner_mismatch", sentence))
    elif model.source != "phantom":
        sentence = (
            "The scanner was not calibrated with a step phantom, so scatter, glare and blur are not known: with 2 % of "
            f"scatter total fat and lean would be wrong by about {_UNSEEN_FAT_KG:.0f} kg."
        )
        flags.append(Flag("no_phantom", sentence))
    if model.photons_per_pixel < FEW_PHOTONS:
        sentence = (
            f"Only {model.photons_per_pixel:.0e} photons make a pixel: noise hides thin bone, or is taken for bone, "
            f"and total fat and lean may be wrong by {3.0 * (3e4 / model.photons_per_pixel) ** 0.5:.1f} kg."
        )
        flags.append(Flag("few_photons", sentence))
    if max(model.stray.blur_rows, model.stray.blur_columns) >= MOST_BLUR:
        sentence = (
            "The scanner blurs more than can be undone: thin bones sink below what is told from soft tissue, and bone "
            "mineral may be too low by a tenth."
        )
        flags.append(Flag("blurred", sentence))
    return flags


def _counts(correction: ScanCorrection, nepers: float) -> float:
    return float(nepers) / correction.model.full_scale_nepers * FULL_SCALE_COUNTS


def _kilograms(nepers: float) -> str:
    return f"total fat and lean may be wrong by {abs(nepers) * FAT_KG_PER_NEPER:.1f} kg"
