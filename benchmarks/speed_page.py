"""``docs/speed.md``: the benchmarks' own lines, run one after another on this machine, by one command.

    python -m benchmarks.speed_page --cohort data/cohort --pairs data/pairs

Takes half an hour on two idle cores; ``--only NAME`` measures some of them and keeps what others printed. Nothing is
worked out here: each section is what its command prints.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from dxa_monai.bundling.release import REPOSITORY
from dxa_monai.errors import InputError
from dxa_monai.files import atomic_path
from dxa_monai.terminal import errors_as_sentence

PAGE = REPOSITORY / "docs" / "speed.md"
TITLE = "# How fast it is"
HOW = (
    "Made by `python -m benchmarks.speed_page`; every section is what its command printed, but for lines on temporary "
    "files."
)
_KEPT_LINES = 60


@dataclass(frozen=True)
class Section:
    """A benchmark and what its lines mean.

    Attributes:
        title: of the section.
        module: of ``benchmarks``.
        arguments: of its command; ``{cohort}`` and ``{pairs}`` stand for folders of virtual people.
        meaning: in words.
    """

    title: str
    module: str
    arguments: str
    meaning: str

    def command(self, cohort: str, pairs: str) -> str:
        """As it is typed."""
        arguments = self.arguments.format(cohort=cohort, pairs=pairs)
        return f"python -m benchmarks.{self.module} {arguments}".strip()


SECTIONS = {
    "start": Section(
        "Start-up",
        "startup",
        "",
        "MONAI's imports come before any config is read; what this project adds is the last column less one.",
    ),
    "step": Section(
        "Training step against its arithmetic",
        "training_step",
        "--dtype float32 --steps 2 --threads 1",
        "The floor is what the step's multiplications would take at this machine's rate for large matrices. With "
        "`--dtype bfloat16` a processor without instructions for it takes minutes a step.",
    ),
    "loader": Section(
        "Loader against step",
        "data_loading",
        "--manifest {cohort}/manifest.csv --scans 60 --steps 6 --batch-size 4 --workers 0 1",
        "Whether a training waits for its data.",
    ),
    "loss": Section(
        "Time to equal loss",
        "equal_loss",
        "--manifest {cohort}/manifest.csv",
        "The small preset of version 0.6 to its end, and today's until it is judged as well.",
    ),
    "cohort": Section(
        "Virtual people", "cohort", "--count 40", "People a second on one core, and where the time goes."
    ),
    "analysis": Section(
        "Analysis of body composition",
        "body_composition",
        "--manifest {cohort}/manifest.csv --scans 30",
        "Scans a second on one core, part by part.",
    ),
    "mesh": Section(
        "A scan from a mesh", "mesh_inference", "--meshes {pairs}/meshes", "Milliseconds a body, part by part."
    ),
    "cluster": Section(
        "Dask cluster against processes",
        "cluster",
        "--people 24 --workers 2",
        "The same work on this machine alone: what the cluster costs.",
    ),
    "peers": Section(
        "Against public libraries",
        "peers",
        "--manifest {pairs}/manifest.csv",
        "The same work by this project and by a public library.",
    ),
}


def machine() -> str:
    """One line on what the numbers are of."""
    names = re.findall(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    load = os.getloadavg()[1]
    return (
        f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores, load {load:.1f} before it began; Python "
        f"{platform.python_version()}, torch {version('torch')}, MONAI {version('monai')}."
    )


def measured(command: str) -> str:
    """What a benchmark prints, without lines on its temporary files.

    Raises:
        InputError: it failed; the sentence has its last line.
    """
    words = [sys.executable, *command.split()[1:]]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=REPOSITORY)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise InputError(f"{command}: expected it to end well, got exit code {done.returncode}: {said}")
    lines = [line.rstrip() for line in done.stdout.rstrip().splitlines() if tempfile.gettempdir() not in line]
    return "\n".join(lines[:_KEPT_LINES])


def section_text(section: Section, command: str, output: str, on: str) -> str:
    """A section of the page."""
    return f"## {section.title}\n\n{section.meaning}\n\n```\n$ {command}\n{output}\n```\n\n{on}\n"


def sections_of(page: str) -> dict[str, str]:
    """The sections of an earlier page, by name."""
    parts = re.split(r"(?m)^(?=## )", page)[1:]
    titles = {section.title: name for name, section in SECTIONS.items()}
    return {titles[title]: part for part in parts if (title := part.splitlines()[0].removeprefix("## ")) in titles}


@errors_as_sentence()
def main() -> None:
    """Measure and write the page after each section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohort", default="data/cohort", help="virtual people")
    parser.add_argument("--pairs", default="data/pairs", help="others, with meshes")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    chosen = parser.parse_args()
    kept = sections_of(PAGE.read_text(encoding="utf-8")) if PAGE.is_file() else {}
    for name in chosen.only:
        shown = SECTIONS[name].command("data/cohort", "data/pairs")
        print(shown, flush=True)
        on = machine()
        try:
            output = measured(SECTIONS[name].command(chosen.cohort, chosen.pairs))
        except InputError as error:
            sys.exit(f"error: {error}")
        kept[name] = section_text(SECTIONS[name], shown, output, on)
        text = f"{TITLE}\n\n{HOW}\n\n"
        with atomic_path(PAGE) as temporary:
            temporary.write_text(text + "\n".join(kept[each] for each in SECTIONS if each in kept), encoding="utf-8")
    print(f"Page: {PAGE}")


if __name__ == "__main__":
    main()
