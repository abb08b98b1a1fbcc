"""Arms of the DXA-VAE, each trained with several seeds, by one command: the paper's tables 1 and 2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dxa_monai.errors import InputError
from dxa_monai.evaluation.reconstruction import evaluate_reconstruction
from dxa_monai.evaluation.trainings import run_trainings
from dxa_monai.files import output_folder
from dxa_monai.handlers.tracking import mlflow_run
from dxa_monai.handlers.tracking_server import check_tracking_uri
from dxa_monai.scan.manifest import read_manifest
from dxa_monai.scan.splits import read_split


def compare_vae_arms(
    config_files: Sequence[str],
    manifest: str | Path,
    arms: Mapping[str, Mapping[str, Any]],
    output_dir: str | Path,
    seeds: Sequence[int] = (0, 1, 2),
    split_seed: int = 0,
    workers: int = 1,
    overrides: Mapping[str, Any] | None = None,
    components: int = 40,
    scanner_model: str | Path | None = None,
    tracking_uri: str = "",
    experiment: str = "dxa_vae",
    params: Mapping[str, Any] | None = None,
) -> dict[str, Path]:
    """Train every arm with every seed on one split and compare the reconstructions of the people held out.

    Finished trainings are kept, so that an interrupted command goes on.

    Args:
        config_files: training config of the bundle and its overlays.
        manifest: raw scans.
        arms: what each arm sets, by its name; an arm that does not set ``arm`` is the loss of its name.
        output_dir: gets ``{arm}-seed{seed}/`` and ``evaluation/``.
        seeds: of training.
        split_seed: of the split by person.
        workers: trainings at a time, of one thread each.
        overrides: further settings of all trainings.
        components: of the linear baseline.
        scanner_model: see :func:`dxa_monai.evaluation.reconstruction.evaluate_reconstruction`.
        tracking_uri: of MLflow; empty: not tracked. One run for the comparison, one below it for each training.
        experiment: MLflow's name for what belongs together.
        params: what MLflow should know of the data and the code.

    Returns:
        The written files by name.

    Raises:
        InputError: there is no arm or seed, or as the trainings say.
    """
    check_tracking_uri(tracking_uri)
    if not arms or not seeds:
        raise InputError(f"arms, seeds: expected at least one of each, got {len(arms)} and {len(seeds)}.")
    rows = read_manifest(manifest)
    folder = output_folder(output_dir)
    about = dict(params or {}) | {"arms": dict(arms), "seeds": list(seeds)}
    with mlflow_run(tracking_uri, experiment, "comparison", about, local_log=folder) as run:
        # below a run that could not be started nothing is tracked: its trainings would be nobody's
        tracking = {"tracking_uri": tracking_uri, "experiment": experiment, "parent_run": run.run_id}
        if not run.active:
            tracking = {"tracking_uri": ""} if tracking_uri else {}
        settings = [
            dict(overrides or {})
            | {"arm": arm, "manifest": str(manifest), "seed": seed, "split_seed": split_seed}
            | dict(changes)
            | {"output_dir": str(folder / f"{arm}-seed{seed}")}
            | tracking
            for seed in seeds
            for arm, changes in arms.items()
        ]
        run_trainings(config_files, settings, workers)
        checkpoints = {arm: [folder / f"{arm}-seed{seed}" / "best.pt" for seed in seeds] for arm in arms}
        split = read_split(folder / f"{next(iter(arms))}-seed{seeds[0]}", rows)
        return evaluate_reconstruction(
            split["test"],
            checkpoints,
            folder / "evaluation",
            seed=split_seed,
            tracking_uri=tracking_uri if run.active else "",
            experiment=experiment,
            params=params,
            parent_run=run.run_id or "",
            training_rows=split["train"],
            components=components,
            scanner_model=scanner_model,
        )
