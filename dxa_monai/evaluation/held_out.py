"""Whom trained arms are compared on: read from the run folders of their checkpoints, so that nobody was trained on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dxa_monai.errors import InputError
from dxa_monai.runs.folder import RECORD, read_record
from dxa_monai.scan.manifest import Row, read_manifest
from dxa_monai.scan.source import ScanSource
from dxa_monai.scan.splits import SPLIT_FILE_NAME, SPLIT_NAMES, read_split

_SEEN_BEFORE = {"train": (), "validation": ("train",), "test": ("train", "validation")}
"""Parts of a run's split whose people must not be among those whom an arm is judged on."""


@dataclass(frozen=True)
class TrainedArm:
    """Networks of one arm, one a seed.

    Attributes:
        name: of the arm, a label.
        checkpoints: one a seed.
        variant: in which of several ways the arm was trained; empty: the arm as it is.
    """

    name: str
    checkpoints: tuple[Path, ...]
    variant: str = ""

    @property
    def label(self) -> str:
        """Name and variant."""
        return f"{self.name} {self.variant}".rstrip()


@dataclass(frozen=True, eq=False)
class HeldOutPeople:
    """Who is evaluated.

    Attributes:
        part: of the split.
        rows: manifest rows of that part.
        training_rows: manifest rows of the people that the arms were trained on, for baselines.
        source: how scans are read.
        split_seed: of the split, where the runs tell it.
    """

    part: str
    rows: list[Row]
    training_rows: list[Row]
    source: ScanSource
    split_seed: int


def trained_arms(
    arms: Mapping[str, str | Path | Sequence[str | Path]], reserved: Sequence[str] = ()
) -> list[TrainedArm]:
    """Arms as a config names them: a checkpoint, or checkpoints of several seeds, by name.

    Args:
        arms: in the order in which they are shown.
        reserved: names of baselines, see :func:`refuse_baseline_names`.

    Raises:
        InputError: there is no arm or no checkpoint, or an arm has the name of a baseline.
    """
    refuse_baseline_names(arms, reserved)
    found = [
        TrainedArm(name, tuple(Path(path) for path in ([given] if isinstance(given, (str, Path)) else given)))
        for name, given in arms.items()
    ]
    if not found or not all(arm.checkpoints for arm in found):
        raise InputError("arms: expected at least one arm and its checkpoint, got none.")
    return found


def refuse_baseline_names(arms: Iterable[str], reserved: Sequence[str]) -> None:
    """Refuse arms that a table could not tell from a baseline.

    Args:
        arms: their names.
        reserved: names of baselines, or how such names begin, with an underscore at the end.

    Raises:
        InputError: an arm has the name of a baseline.
    """
    beginnings = tuple(name for name in reserved if name.endswith("_"))
    taken = sorted(arm for arm in arms if arm in reserved or arm.startswith(beginnings))
    if taken:
        raise InputError(f"arms: expected names of trained arms, got '{taken[0]}', which names a baseline.")


def held_out_people(
    manifest: str | Path,
    arms: Sequence[TrainedArm],
    part: str = "test",
    split_file: str | Path = "",
    declared: ScanSource | None = None,
) -> HeldOutPeople:
    """The people of one part of the split that the arms were trained on.

    Split and source come from the run folder of the first checkpoint; every other checkpoint has to agree.

    Args:
        manifest: that holds their scans.
        arms: whose run folders are looked into.
        part: of the split.
        split_file: another file (or folder with ``split.csv``) that says who is in which part; empty: the runs' own.
        declared: how the scans are read; what it does not declare is read as in training.

    Raises:
        InputError: an unknown part, no split, a person of the part whom a network was trained on, networks that were
            trained on different people (no baseline could stand beside all of them), or runs that read their scans in
            different ways.
    """
    if part not in SPLIT_NAMES:
        raise InputError(f"part: expected one of {', '.join(SPLIT_NAMES)}, got '{part}'.")
    checkpoints = [path for arm in arms for path in arm.checkpoints]
    split = read_split(split_file or checkpoints[0].parent, read_manifest(manifest))
    _refuse_other_training({row["subject_id"] for row in split[part]}, part, checkpoints)
    seed = int(read_record(checkpoints[0]).get("split_seed", 0))
    return HeldOutPeople(part, split[part], split["train"], _common_source(checkpoints, declared), seed)


def _refuse_other_training(people: set[str], part: str, checkpoints: Sequence[Path]) -> None:
    """Refuse networks that have seen ``people``, and networks of different training people, where a split tells."""
    trained_on: dict[frozenset[str], Path] = {}
    for folder in dict.fromkeys(path.parent for path in checkpoints):
        if not (folder / SPLIT_FILE_NAME).is_file():
            print(f"{folder}: no {SPLIT_FILE_NAME} beside the network, so nobody can tell which people it has seen")
            continue
        own = {name: frozenset(row["subject_id"] for row in rows) for name, rows in read_split(folder).items()}
        known = sorted(person for person in people if any(person in own[name] for name in _SEEN_BEFORE[part]))
        if known:
            raise InputError(
                f"{folder}: expected a network that has not seen the people of {part}, got subject '{known[0]}' in its "
                f"{' or '.join(_SEEN_BEFORE[part])} part ({len(known)} of {len(people)} in all)."
            )
        trained_on.setdefault(own["train"], folder)
    if len(trained_on) > 1:
        first, second, *_ = trained_on.values()
        raise InputError(
            "arms: expected networks trained on the same people, "
            f"got different training people in {first} and {second}."
        )


def _recorded_source(checkpoint: Path) -> ScanSource:
    recorded = read_record(checkpoint).get("reader")
    try:
        return ScanSource() if recorded is None else ScanSource.from_dict(recorded)
    except (TypeError, ValueError) as error:
        raise InputError(f"{checkpoint.parent / RECORD}: expected how scans were read, got '{error}'") from error


def _common_source(checkpoints: Sequence[Path], declared: ScanSource | None) -> ScanSource:
    """The declared source, the rest as all runs read their scans."""
    declared = ScanSource() if declared is None else declared
    found: dict[ScanSource, Path] = {}
    for path in checkpoints:
        found.setdefault(declared.with_undeclared_from(_recorded_source(path)), path)
    if len(found) > 1:
        first, second, *_ = found.items()
        raise InputError(
            f"{second[1].parent}: expected scans that are read as in {first[1].parent} ({first[0].channels}, "
            f"{first[0].pixel_spacing_mm}), got {second[0].channels}, {second[0].pixel_spacing_mm}; declare how the "
            "scans of this manifest are read with --reader#channels and --reader#pixel_spacing_mm."
        )
    return next(iter(found))
