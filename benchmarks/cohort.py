"""How many people a second the cohort generator makes on one core, and where the time goes.

Run from the repository's root: ``python -m benchmarks.cohort --count 60``
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import tempfile
import time
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # before numpy loads

import torch  # noqa: E402

from dxa_monai.phantom.cohort import write_person  # noqa: E402
from dxa_monai.phantom.simulate import Simulator  # noqa: E402

# Function of each stage, by the file and name that the profiler knows it by.
_STAGES = {
    "shape for stature and volume": ("model.py", "solve"),
    "room on the table": ("table.py", "fit_positioning"),
    "supine pose": ("model.py", "supine"),
    "T pose": ("model.py", "t_pose"),
    "body measures": ("anthropometry.py", "measure"),
    "skeleton": ("placed.py", "place_skeleton"),
    "bone maps": ("bone_mineral.py", "bone_maps"),
    "tissues": ("maps.py", "compose"),
    "scanner": ("acquisition.py", "scan"),
    "regional totals": ("regions.py", "regional_totals"),
    "files": ("cohort.py", "write_person"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=60, help="people to make")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    begin = time.perf_counter()
    simulator = Simulator()
    simulator.simulate_person(arguments.count, arguments.seed)  # compiles the projection kernels
    print(f"start-up {time.perf_counter() - begin:.1f} s")

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("scans", "truth", "meshes", "people"):
            (folder / part).mkdir()

        def make(people: range) -> int:
            visits = 0
            for index in people:
                record = simulator.simulate_person(index, arguments.seed)
                write_person(record, simulator.model.faces, folder, save_mesh=True)
                visits += len(record.visits)
            return visits

        begin = time.perf_counter()
        visits = make(range(arguments.count))
        seconds = time.perf_counter() - begin
        profile = cProfile.Profile()
        profile.runcall(make, range(arguments.count))

    print(
        f"{arguments.count} people, {visits} scans in {seconds:.1f} s on one core: "
        f"{arguments.count / seconds:.1f} people/s, {1000 * seconds / arguments.count:.0f} ms a person"
    )
    statistics = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    print("stage (under the profiler, which slows it)         calls   ms a person")
    for stage, (file, function) in _STAGES.items():
        for (path, _, called), (_, calls, _, cumulative, _) in statistics.items():
            if Path(path).name == file and called == function:
                print(f"{stage:50s} {calls:6d} {1000 * cumulative / arguments.count:11.1f}")


if __name__ == "__main__":
    main()
