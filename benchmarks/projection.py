"""Time the geometry of one virtual person: solve, poses, projections, measures.

Run from the repository root: ``OMP_NUM_THREADS=1 python -m benchmarks.projection --people 20``. Prints median and
slowest milliseconds of each step over the people; the first person is left out because it compiles the kernels.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from dxa_monai.phantom.anthropometry import measure
from dxa_monai.phantom.body.model import BodyModel, UnreachableBody
from dxa_monai.phantom.body.positioning import sample_positioning
from dxa_monai.phantom.body.table import fit_positioning
from dxa_monai.phantom.tissue.projection import (
    BodyDoesNotFit,
    centre_frame,
    grouped_thickness_maps_cm,
    surface_area_map,
    thickness_map_cm,
)

Result = TypeVar("Result")
_BODY_DENSITY_KG_L = 1.01


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=20)
    people = parser.parse_args().people

    milliseconds: dict[str, list[float]] = defaultdict(list)

    def timed(step: str, work: Callable[[], Result]) -> Result:
        start = time.perf_counter()
        result = work()
        milliseconds[step].append(1000.0 * (time.perf_counter() - start))
        return result

    start = time.perf_counter()
    model = BodyModel()
    print(f"start {time.perf_counter() - start:.1f} s")
    rng = np.random.default_rng(0)
    unreachable = outside = done = 0
    while done <= people:
        sex, age_years = str(rng.choice(["F", "M"])), float(rng.uniform(18, 89))
        height_cm = float(rng.normal(163.0 if sex == "F" else 176.0, 7.0))
        bmi, muscle = float(rng.lognormal(np.log(27.0), 0.18)), float(rng.uniform(0.05, 0.45))
        volume_l = bmi * (height_cm / 100.0) ** 2 / _BODY_DENSITY_KG_L
        try:
            person = timed("solve", lambda: model.solve(sex, age_years, height_cm, volume_l, muscle))  # noqa: B023
            positioning = timed("fit", lambda: fit_positioning(model, person, sample_positioning(rng)))  # noqa: B023
            body = timed("supine and lean", lambda: model.supine(person, positioning))  # noqa: B023
            frame = centre_frame(body.vertices_m, positioning.shift_mm)
        except UnreachableBody:
            unreachable += 1
            continue
        except BodyDoesNotFit:
            outside += 1
            continue
        standing = timed("t-pose and lean", lambda: model.t_pose(person))  # noqa: B023
        timed("measures", lambda: measure(standing, model))  # noqa: B023
        vertices = model.closed_vertices(body.vertices_m)
        arguments = vertices, model.closed_faces, frame
        timed("thickness", lambda: thickness_map_cm(*arguments))  # noqa: B023
        parts = vertices, model.part_faces, model.part_of_face, 6, frame
        timed("thickness of parts", lambda: grouped_thickness_maps_cm(*parts))  # noqa: B023
        timed("surface area", lambda: surface_area_map(*arguments))  # noqa: B023
        if done == 0:
            milliseconds.clear()
        done += 1
    for step, values in milliseconds.items():
        print(f"{step:20s} median {np.median(values):7.2f} ms   slowest {max(values):7.2f} ms")
    print(f"{unreachable} people unreachable, {outside} outside the field")


if __name__ == "__main__":
    main()
