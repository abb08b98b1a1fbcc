from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from dxa_monai.figures.cohort_distributions import Mark, write_distributions

LABELS = {"mass_kg": "mass, kg", "height_cm": "height, cm", "bmd": "BMD"}


def groups() -> dict[str, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    return {name: {quantity: rng.normal(k, 1.0, 50) for quantity in LABELS} for k, name in enumerate(("women", "men"))}


def test_a_picture_that_repeats(tmp_path: Path) -> None:
    marks = [Mark("women", "mass_kg", 1.0, None, True), Mark("men", "bmd", 0.5, 0.2, False)]
    paths = [write_distributions(groups(), LABELS, marks, tmp_path / f"{name}.png") for name in "ab"]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with Image.open(paths[0]) as image:
        assert min(image.size) > 400


def test_marks_of_other_groups_are_left_out(tmp_path: Path) -> None:
    plain = write_distributions(groups(), LABELS, [], tmp_path / "a.png").read_bytes()
    other = [Mark("girls", "mass_kg", 1.0, 0.1, True), Mark("women", "waist_cm", 1.0, 0.1, True)]
    assert write_distributions(groups(), LABELS, other, tmp_path / "b.png").read_bytes() == plain
    shown = [Mark("women", "mass_kg", 1.0, 0.1, True)]
    assert write_distributions(groups(), LABELS, shown, tmp_path / "c.png").read_bytes() != plain
