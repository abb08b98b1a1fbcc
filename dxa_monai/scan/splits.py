"""Training, validation and test people: no person in two splits."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dxa_monai.errors import InputError
from dxa_monai.scan.csv_table import read_table, write_table
from dxa_monai.scan.manifest import Row, read_path_list
from dxa_monai.scan.people import person_key

Split = dict[str, list[Row]]

SPLIT_NAMES = ("train", "validation", "test")
SPLIT_FILE_NAME = "split.csv"
SPLIT_COLUMNS = ("split", "subject_id", "scan_id")


# scikit-learn's StratifiedGroupKFold makes folds of equal size only, and MONAI's partition_dataset_classes does not
# group scans by person and rounds each class by itself, so that small strata leave validation and test empty.
def split_by_subject(
    rows: Iterable[Mapping[str, Any]],
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    seed: int = 0,
    strata: int = 4,
) -> Split:
    """Split scans by person, stratified by the age at the first visit.

    1. The number of people in each split is ``fractions`` of all, rounded by largest remainder.
    2. People are lined up by age stratum (quantiles of age; people of unknown age are a stratum of their own), in
       random order within each.
    3. One after another they join the split that lags most behind its share of the people so far. The line ends with
       exactly the numbers of step 1, and each stratum is shared out as evenly as whole people allow.

    Args:
        rows: manifest rows; ``subject_id`` and ``scan_id`` are needed, ``age_years`` is used where known.
        fractions: shares of train, validation and test; positive, sum 1.
        seed: of the random order.
        strata: number of age strata.

    Returns:
        ``{"train": rows, "validation": rows, "test": rows}``, each ordered by subject_id and scan_id. The result does
        not depend on the order of ``rows``.

    Raises:
        InputError: the fractions or ``strata`` are wrong, or there are too few people for every split to have one.
    """
    shares = _checked_fractions(fractions)
    if strata < 1:
        raise InputError(f"strata: expected at least 1, got {strata}.")
    scans_of: dict[str, list[Row]] = {}
    for row in rows:
        scans_of.setdefault(row["subject_id"], []).append(dict(row))
    sizes = _split_sizes(len(scans_of), shares)

    people = sorted(scans_of)
    stratum = _age_strata({person: _first_age_years(scans_of[person]) for person in people}, strata)
    rank = dict(zip(people, np.random.default_rng(seed).permutation(len(people)).tolist(), strict=True))
    line = sorted(people, key=lambda person: (stratum[person], rank[person]))

    members: dict[str, list[str]] = {name: [] for name in SPLIT_NAMES}
    for place, person in enumerate(line, start=1):
        # share of the people so far minus members, in units of 1 / number of people: whole numbers compare exactly
        lag = [size * place - len(members[name]) * len(line) for name, size in sizes.items()]
        members[SPLIT_NAMES[lag.index(max(lag))]].append(person)
    split = {
        name: [
            row for person in sorted(members[name]) for row in sorted(scans_of[person], key=lambda row: row["scan_id"])
        ]
        for name in SPLIT_NAMES
    }
    check_disjoint(split, "split")
    return split


def check_disjoint(split: Mapping[str, Sequence[Mapping[str, Any]]], source: object) -> None:
    """Refuse a split in which a person, or a scan, occurs in two parts.

    Raises:
        InputError: it names the first such person or scan and the two parts.
    """
    for key, kind in (("subject_id", "subject"), ("scan_id", "scan")):
        part_of: dict[str, str] = {}
        for part, rows in split.items():
            for row in rows:
                name = person_key(row[key]) if key == "subject_id" else row[key]
                earlier = part_of.setdefault(name, part)
                if earlier != part:
                    raise InputError(
                        f"{source}: expected every {kind} in one split, "
                        f"got {kind} '{row[key]}' in {earlier} and {part}."
                    )


def split_from_path_lists(
    train: str | os.PathLike[str],
    validation: str | os.PathLike[str],
    test: str | os.PathLike[str],
    data_root: str | os.PathLike[str] | None = None,
    subject_pattern: str | None = None,
) -> Split:
    """The split that three lists of paths hold, as the published code keeps it.

    Args:
        train: one-column CSV file, see :func:`~dxa_monai.scan.manifest.read_path_list`.
        validation: the same.
        test: the same.
        data_root: data folder of the paths; None: each list's own folder.
        subject_pattern: regular expression that finds the subject in a path.

    Raises:
        InputError: a list cannot be read, or a subject or scan is in two of them.
    """
    lists = zip(SPLIT_NAMES, (train, validation, test), strict=True)
    split = {name: read_path_list(path, data_root, subject_pattern) for name, path in lists}
    check_disjoint(split, f"{train}, {validation}, {test}")
    return split


def write_split(split: Mapping[str, Sequence[Mapping[str, Any]]], folder: str | os.PathLike[str]) -> Path:
    """Write who is in which split to ``split.csv`` (``split, subject_id, scan_id``) in ``folder``; return its path.

    Raises:
        InputError: a person or scan is in two splits, or the folder cannot be written to.
    """
    path = Path(folder) / SPLIT_FILE_NAME
    check_disjoint(split, path)
    rows = (
        {"split": name, "subject_id": row["subject_id"], "scan_id": row["scan_id"]}
        for name in SPLIT_NAMES
        for row in split[name]
    )
    write_table(path, SPLIT_COLUMNS, rows)
    return path


def read_split(path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]] | None = None) -> Split:
    """Read what :func:`write_split` wrote, or a user's file of that form.

    Args:
        path: the file, or the folder that holds ``split.csv``.
        rows: manifest rows that the scan_ids stand for; scans that the split does not name are left out.

    Returns:
        For each split the manifest rows in the file's order; without ``rows``, ``subject_id`` and ``scan_id`` only.

    Raises:
        InputError: the file cannot be read, names an unknown split, a scan that ``rows`` lacks or has under another
            subject, a scan twice, no scan at all for a split, or a subject in two splits.
    """
    path = Path(path)
    path = path / SPLIT_FILE_NAME if path.is_dir() else path
    known = None if rows is None else {row["scan_id"]: dict(row) for row in rows}
    split: Split = {name: [] for name in SPLIT_NAMES}
    seen: set[tuple[str, str]] = set()
    for line, cells in read_table(path, SPLIT_COLUMNS):
        part, subject_id, scan_id = (cells[name] for name in SPLIT_COLUMNS)
        if part not in split:
            raise InputError(f"{path}, line {line}: expected a split of {', '.join(SPLIT_NAMES)}, got '{part}'.")
        row: Row = {"subject_id": subject_id, "scan_id": scan_id}
        if known is not None:
            if scan_id not in known:
                raise InputError(f"{path}, line {line}: expected a scan_id of the manifest, got '{scan_id}'.")
            row = known[scan_id]
            if row["subject_id"] != subject_id:
                raise InputError(
                    f"{path}, line {line}: expected subject '{row['subject_id']}' for scan '{scan_id}' "
                    f"as in the manifest, got '{subject_id}'."
                )
        split[part].append(row)
        if (part, scan_id) in seen:
            raise InputError(f"{path}, line {line}: expected every scan once, got '{scan_id}' again.")
        seen.add((part, scan_id))
    for name in SPLIT_NAMES:
        if not split[name]:
            raise InputError(f"{path}: expected scans in train, validation and test, got none in {name}.")
    check_disjoint(split, path)
    return split


def split_beside(arms: Mapping[str, Any]) -> str:
    """Folder of the first checkpoint of the first arm, where the split lies that it was trained on.

    Args:
        arms: a checkpoint, or a list of checkpoints of several seeds, by the name of the arm.

    Raises:
        InputError: there is no checkpoint.
    """
    paths = [path for given in arms.values() for path in ([given] if isinstance(given, str) else given)]
    if not paths:
        raise InputError("arms: expected at least one arm and its checkpoint, got none.")
    return str(Path(paths[0]).parent)


def check_new_people(rows: Iterable[Mapping[str, Any]], weights: str | os.PathLike[str]) -> None:
    """Refuse people whom pretrained weights have seen, by the ``split.csv`` beside the weights.

    Where there is none (weights without a file, or a file that came alone) nothing can be checked; a printed line says
    so for a file.

    Raises:
        InputError: a person is in both; the first is named.
    """
    path = Path(weights)
    if not path.is_file():
        return
    if not (path.parent / SPLIT_FILE_NAME).is_file():
        print(f"{path}: no {SPLIT_FILE_NAME} beside it, so nobody can tell which people it has seen")
        return
    seen = {person_key(row["subject_id"]) for part in read_split(path.parent).values() for row in part}
    known = sorted({row["subject_id"] for row in rows if person_key(row["subject_id"]) in seen})
    if known:
        raise InputError(
            f"{path}: expected weights pretrained on other people, got subject '{known[0]}' in both "
            f"({len(known)} in all); make the cohort with another --seed."
        )


def _checked_fractions(fractions: Sequence[float]) -> tuple[float, ...]:
    shares = tuple(float(value) for value in fractions)
    if (
        len(shares) != len(SPLIT_NAMES)
        or not all(0 < value < 1 for value in shares)
        or not math.isclose(sum(shares), 1)
    ):
        raise InputError(
            f"fractions: expected {len(SPLIT_NAMES)} positive numbers with sum 1 ({', '.join(SPLIT_NAMES)}), "
            f"got {', '.join(str(value) for value in shares)}."
        )
    return shares


def _split_sizes(people: int, shares: tuple[float, ...]) -> dict[str, int]:
    """Number of people in each split.

    Raises:
        InputError: one of them is 0.
    """
    sizes = _largest_remainder(people, shares)
    if min(sizes) == 0:
        needed = people + 1
        while min(_largest_remainder(needed, shares)) == 0:
            needed += 1
        raise InputError(
            f"manifest: expected at least {needed} subjects, so that train, validation and test all have one, "
            f"got {people}."
        )
    return dict(zip(SPLIT_NAMES, sizes, strict=True))


def _largest_remainder(total: int, shares: tuple[float, ...]) -> list[int]:
    """Whole numbers with the given sum that are closest to ``total * share`` (Hamilton's method)."""
    sizes = [math.floor(total * share) for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda index: sizes[index] - total * shares[index])
    for index in by_remainder[: total - sum(sizes)]:
        sizes[index] += 1
    return sizes


def _first_age_years(scans: list[Row]) -> float | None:
    ages = [row["age_years"] for row in scans if row.get("age_years") is not None]
    return min(ages) if ages else None


def _age_strata(age_years: Mapping[str, float | None], strata: int) -> dict[str, int]:
    """Stratum 0..strata-1 of each person by quantile of age, and ``strata`` for people of unknown age."""
    known = sorted((age, person) for person, age in age_years.items() if age is not None)
    stratum = dict.fromkeys(age_years, strata)
    for place, (_, person) in enumerate(known):
        stratum[person] = place * strata // len(known)
    return stratum
