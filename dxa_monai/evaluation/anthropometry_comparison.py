"""All arms, seeds and sizes of the training set by one command: table 3 with its learning curve (paper section 4.2)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from monai.bundle import ConfigParser

from dxa_monai.errors import InputError
from dxa_monai.evaluation.anthropometry import FIRST_COLUMNS, baselines_of, predictions_of, write_tables
from dxa_monai.evaluation.arm_agreement import MEAN_OF_MEASURES, arm_table
from dxa_monai.evaluation.measure_baselines import MEAN_ARM
from dxa_monai.evaluation.trainings import run_trainings
from dxa_monai.figures.measures import learning_curve_figure
from dxa_monai.files import atomic_path, output_folder
from dxa_monai.handlers.tracking import mlflow_run
from dxa_monai.handlers.tracking_server import check_tracking_uri
from dxa_monai.networks.trunk_weights import IMAGENET, initialise_trunk
from dxa_monai.scan.manifest import read_manifest
from dxa_monai.scan.measures import PAPER_MEASURES, first_pairs
from dxa_monai.scan.splits import check_new_people, split_by_subject

FINE_TUNED, FROZEN = "fine_tuned", "frozen"


def compare_arms(
    config_files: Sequence[str],
    manifest: str | Path,
    arms: Mapping[str, str],
    output_dir: str | Path,
    seeds: Sequence[int] = (0, 1, 2),
    sizes: Sequence[int] = (50, 100, 250, 500),
    frozen: bool = True,
    pairs: int = 0,
    split_seed: int = 0,
    workers: int = 1,
    overrides: Mapping[str, Any] | None = None,
    measures: Sequence[str] = PAPER_MEASURES,
    tracking_uri: str = "",
    experiment: str = "dxa_anthropometry",
    params: Mapping[str, Any] | None = None,
) -> dict[str, Path]:
    """Train every arm with every seed, fine-tuned on all and on fewer pairs and with a frozen trunk, and compare them.

    All trainings have the same config, split and seeds; arms differ in where the trunk starts from. Finished trainings
    are kept, so that an interrupted command goes on.

    Args:
        config_files: training config of the bundle and its overlays.
        manifest: scans with the measures.
        arms: initial weights by the name of the arm, see
            :func:`dxa_monai.networks.trunk_weights.initialise_trunk`; ``{seed}`` in a path stands for the seed of
            training, so that pretraining is repeated, too. The arm ``imagenet`` is left out, and the table says so, if
            its file is not at hand or is not of this trunk; any other arm that does not fit is an error.
        output_dir: gets ``runs/``, the tables and figures.
        seeds: of training.
        sizes: numbers of training pairs of the learning curve besides all.
        frozen: whether to train with a frozen trunk, too.
        pairs: scans that are used at all; 0: all.
        split_seed: of the split by person.
        workers: trainings at a time, of one thread each.
        overrides: further settings of the trainings.
        measures: columns of the manifest.
        tracking_uri: of MLflow; empty: not tracked. One run for the comparison, one below it for each training.
        experiment: MLflow's name for what belongs together.
        params: what MLflow should know of the data and the code.

    Returns:
        The written files by name.

    Raises:
        InputError: an arm does not fit, a person is in the pretraining of an arm, or as the trainings say.
    """
    check_tracking_uri(tracking_uri)
    rows = first_pairs(read_manifest(manifest), pairs, split_seed)
    split = split_by_subject(rows, seed=split_seed)
    usable, skipped = _usable_arms(config_files, arms, seeds, overrides or {}, rows)
    # made only now, so that a mistake leaves nothing behind
    folder = output_folder(output_dir)
    all_pairs = len(split["train"])
    sizes = sorted({size for size in sizes if 0 < size < all_pairs} | {all_pairs})
    about = dict(params or {}) | {"arms": dict(arms), "seeds": list(seeds), "sizes": sizes, "pairs": len(rows)}
    with mlflow_run(tracking_uri, experiment, "comparison", about, local_log=folder) as run:
        runs: list[dict[str, Any]] = [
            {"arm": arm, "trunk": trunk, "training_pairs": size, "seed": seed}
            for seed in seeds
            for trunk, size in [(FINE_TUNED, size) for size in sizes] + ([(FROZEN, all_pairs)] if frozen else [])
            for arm in usable
        ]
        common = dict(overrides or {}) | {"manifest": str(manifest), "pairs": pairs, "split_seed": split_seed}
        if run.active:
            common |= {"tracking_uri": tracking_uri, "experiment": experiment, "parent_run": run.run_id}
        elif tracking_uri:
            # below a run that could not be started nothing is tracked: its trainings would be nobody's
            common |= {"tracking_uri": ""}
        settings = [common | _settings(each, arms[each["arm"]], folder / "runs") for each in runs]
        for each, chosen in zip(runs, settings, strict=True):
            each["checkpoint"] = str(Path(chosen["output_dir"]) / "best.pt")
        run_trainings(config_files, settings, workers)
        predictions = pd.concat(
            [baselines_of(first_pairs(split["train"], size, split_seed), split["test"], measures) for size in sizes]
            + [predictions_of(runs, split["test"])],
            ignore_index=True,
        )
        of_all = predictions[predictions["training_pairs"] == all_pairs]
        files = write_tables(of_all, split["test"], folder, run, skipped=skipped)
        files |= _learning_curve(predictions[predictions["trunk"] != FROZEN], folder)
        files["comparison"] = folder / "comparison.json"
        with atomic_path(files["comparison"]) as temporary:
            temporary.write_text(json.dumps(about | {"skipped": skipped, "training_pairs": all_pairs}, indent=2) + "\n")
        for name in ("learning_curve", "learning_curve_figure", "comparison"):
            run.log_artifact(files[name])
    return files


def _settings(each: Mapping[str, Any], weights: str, folder: Path) -> dict[str, Any]:
    """What one training sets besides what all set."""
    name = "-".join([each["arm"], each["trunk"], str(each["training_pairs"]), f"seed{each['seed']}"])
    return {
        "arm": each["arm"],
        "initial_weights": _weights(weights, each["seed"]),
        "frozen": each["trunk"] == FROZEN,
        "training_pairs": each["training_pairs"],
        "seed": each["seed"],
        "output_dir": str(folder / name),
    }


def _learning_curve(predictions: pd.DataFrame, folder: Path) -> dict[str, Path]:
    table = arm_table(predictions, FIRST_COLUMNS)
    files = {"learning_curve": folder / "learning_curve.csv"}
    with atomic_path(files["learning_curve"]) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")
    means = table[table["measure"] == MEAN_OF_MEASURES]
    # the mean predictor's R2 is about 0 and would flatten what is to be seen
    drawn = means[means["arm"] != MEAN_ARM]
    files["learning_curve_figure"] = learning_curve_figure(drawn, folder / "learning_curve.png")
    shown = means.pivot(index="arm", columns="training_pairs", values="r2").loc[list(dict.fromkeys(means["arm"]))]
    print("R2, mean of measures, by number of training pairs:")
    print(shown.to_string(float_format=lambda value: f"{value:.3f}"))
    return files


def _usable_arms(
    config_files: Sequence[str],
    arms: Mapping[str, str],
    seeds: Sequence[int],
    overrides: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
) -> tuple[list[str], dict[str, str]]:
    """Names of the arms that can be trained, and why others cannot, found out before the first training."""
    if not arms or not seeds:
        raise InputError(f"arms, seeds: expected at least one of each, got {len(arms)} and {len(seeds)}.")
    parser = ConfigParser()
    parser.read_config(list(config_files))
    parser.update(dict(overrides))
    usable, skipped = [], {}
    for arm, given in arms.items():
        try:
            for weights in dict.fromkeys(_weights(given, seed) for seed in seeds):
                check_new_people(rows, weights)
                network = parser.get_parsed_content("network_def", instantiate=True)
                mean_image = torch.zeros_like(network.mean_image)
                print(f"{arm}: {initialise_trunk(network, weights, mean_image, 1.0).summary()}")
            usable.append(arm)
        except InputError as error:
            if arm != IMAGENET:
                raise
            skipped[arm] = str(error)
            print(f"{arm}: skipped; {error}")
    return usable, skipped


def _weights(given: str, seed: int) -> str:
    return str(given).replace("{seed}", str(seed))
