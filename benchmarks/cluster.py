"""What a Dask cluster costs against plain processes: people simulated and scans analysed, both on this machine alone.

    python -m benchmarks.cluster --people 100

Both get the same number of workers, which are started once before anything is timed (a cluster is there already; plain
processes are started by each call, which is part of it). The bytes are compared, too.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from dxa_monai.inference.body_composition import analyse_scans, collect_rows
from dxa_monai.parallel.cluster import ADDRESS_VARIABLE
from dxa_monai.phantom.cohort import generate_cohort
from dxa_monai.terminal import errors_as_sentence


def _timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _contents(folder: Path) -> dict[str, str]:
    # a hidden file says who had the folder last
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@errors_as_sentence()
def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=100)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    arguments = parser.parse_args()

    import distributed

    logging.getLogger("distributed").setLevel(logging.ERROR)
    workers = arguments.workers
    with (
        tempfile.TemporaryDirectory() as folder,
        distributed.LocalCluster(workers, threads_per_worker=1, dashboard_address=None, host="127.0.0.1") as cluster,
    ):
        root, os.environ[ADDRESS_VARIABLE] = Path(folder), cluster.scheduler_address
        # imports of the workers, and files that are read for the first time
        generate_cohort(2 * workers, root / "first", seed=1, progress=False, cluster=True)

        print(f"{'':12}{'processes':>12}{'cluster':>10}{'cluster / processes':>22}{'same bytes':>12}")
        here_s = _timed(lambda: generate_cohort(arguments.people, root / "a", workers=workers, progress=False))
        there_s = _timed(lambda: generate_cohort(arguments.people, root / "b", progress=False, cluster=True))
        same = _contents(root / "a") == _contents(root / "b")
        print(f"{'people':12}{here_s:>10.1f} s{there_s:>8.1f} s{there_s / here_s:>22.2f}{same!s:>12}", flush=True)

        rows = collect_rows(root / "a" / "manifest.csv")
        analyse_scans(rows[:1], root / "c", progress=False)
        analyse_scans(rows[:1], root / "d", progress=False)
        here_s = _timed(lambda: analyse_scans(rows, root / "c", progress=False, workers=workers))
        there_s = _timed(lambda: analyse_scans(rows, root / "d", progress=False, cluster=True))
        same = _contents(root / "c") == _contents(root / "d")
        print(f"{'scans':12}{here_s:>10.1f} s{there_s:>8.1f} s{there_s / here_s:>22.2f}{same!s:>12}", flush=True)


if __name__ == "__main__":
    main()
