"""All arms of the Pseudo-DXA, each trained with several seeds, by one command: tables 4 and 5 (paper section 4.3)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dxa_monai.errors import InputError
from dxa_monai.evaluation.pseudo_dxa import evaluate_pseudo_dxa
from dxa_monai.evaluation.trainings import run_trainings
from dxa_monai.files import atomic_path, output_folder
from dxa_monai.handlers.tracking import mlflow_run
from dxa_monai.handlers.tracking_server import check_tracking_uri
from dxa_monai.networks.checkpoint import load_vae
from dxa_monai.networks.trunk_weights import RANDOM
from dxa_monai.networks.vae import DXAVAE
from dxa_monai.scan.manifest import read_manifest
from dxa_monai.scan.measures import first_pairs
from dxa_monai.scan.splits import check_new_people, split_by_subject
from dxa_monai.transforms.point_clouds import draw_point_clouds, mesh_paths


def compare_generators(
    config_files: Sequence[str],
    manifest: str | Path,
    arms: Mapping[str, str | Mapping[str, Any]],
    output_dir: str | Path,
    clouds_dir: str | Path,
    seeds: Sequence[int] = (0, 1, 2),
    pairs: int = 0,
    split_seed: int = 0,
    workers: int = 1,
    overrides: Mapping[str, Any] | None = None,
    architecture_of: str = "",
    points: int = 2048,
    mesh: Mapping[str, Any] | None = None,
    scanner_model: str | Path | None = None,
    tracking_uri: str = "",
    experiment: str = "pseudo_dxa",
    params: Mapping[str, Any] | None = None,
) -> dict[str, Path]:
    """Train every arm with every seed and compare what they predict for the people held out.

    All trainings have the same config, split, seeds and architecture; arms differ in where the generator starts from.
    Finished trainings are kept, so that an interrupted command goes on.

    Args:
        config_files: training config of the bundle and its overlays.
        manifest: scans with ``mesh``.
        arms: where the generator starts from by the name of the arm: ``"random"``, or the checkpoint of a DXA-VAE, in
            which ``{seed}`` stands for the seed of training, so that pretraining is repeated, too. Instead, what an arm
            sets in the training config: ``generator`` and more, such as ``composition_weight``.
        output_dir: gets ``runs/`` and ``evaluation/``.
        clouds_dir: where the points of bodies are kept; drawn once for all trainings.
        seeds: of training.
        pairs: scans that are used at all; 0: all.
        split_seed: of the split by person.
        workers: processes, of one thread each, that train and read meshes.
        overrides: further settings of the trainings.
        architecture_of: checkpoint of the DXA-VAE whose generator a random one resembles; empty: that of the first arm
            with a checkpoint.
        points: of each body.
        mesh: how meshes are read.
        scanner_model: see :func:`dxa_monai.evaluation.pseudo_dxa.evaluate_pseudo_dxa`.
        tracking_uri: of MLflow; empty: not tracked. One run for the comparison, one below it for each training.
        experiment: MLflow's name for what belongs together.
        params: what MLflow should know of the data and the code.

    Returns:
        The written files by name.

    Raises:
        InputError: there is no arm or seed, generators differ, a person is in the pretraining of an arm, a row has no
            mesh, or as the trainings say.
    """
    check_tracking_uri(tracking_uri)
    changes = {arm: dict(given) if isinstance(given, Mapping) else {"generator": given} for arm, given in arms.items()}
    rows = first_pairs(read_manifest(manifest), pairs, split_seed)
    mesh_paths(rows)
    split = split_by_subject(rows, seed=split_seed)
    architecture_of = _checked_arms(changes, seeds, architecture_of, rows)
    # made only now, so that a mistake leaves nothing behind
    folder = output_folder(output_dir)
    draw_point_clouds(rows, clouds_dir, mesh, workers=workers)
    about = dict(params or {}) | {"arms": dict(arms), "seeds": list(seeds), "pairs": len(rows)}
    with mlflow_run(tracking_uri, experiment, "comparison", about, local_log=folder) as run:
        # below a run that could not be started nothing is tracked: its trainings would be nobody's
        tracking = {"tracking_uri": tracking_uri, "experiment": experiment, "parent_run": run.run_id}
        if not run.active:
            tracking = {"tracking_uri": ""} if tracking_uri else {}
        settings = [
            dict(overrides or {})
            | {
                "manifest": str(manifest),
                "clouds_dir": str(clouds_dir),
                "arm": arm,
                "pairs": pairs,
                "points": points,
                "mesh": dict(mesh or {}),
                "seed": seed,
                "split_seed": split_seed,
                "output_dir": str(folder / "runs" / f"{arm}-seed{seed}"),
            }
            | of_arm
            | {
                "generator": _of_seed(of_arm["generator"], seed),
                "architecture_of": _of_seed(_first_file(of_arm["generator"], architecture_of), seed),
            }
            | tracking
            for seed in seeds
            for arm, of_arm in changes.items()
        ]
        run_trainings(config_files, settings, workers)
        path = folder / "comparison.json"
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(about, indent=2) + "\n")
        run.log_artifact(path)
        checkpoints = {arm: [folder / "runs" / f"{arm}-seed{seed}" / "best.pt" for seed in seeds] for arm in arms}
        files = evaluate_pseudo_dxa(
            split["test"],
            split["train"],
            checkpoints,
            folder / "evaluation",
            clouds_dir,
            points=points,
            mesh=mesh,
            scanner_model=scanner_model,
            seed=split_seed,
            workers=workers,
            tracking_uri=tracking_uri if run.active else "",
            experiment=experiment,
            params=params,
            parent_run=run.run_id or "",
        )
    return files | {"comparison": path}


def _checked_arms(
    changes: Mapping[str, Mapping[str, Any]],
    seeds: Sequence[int],
    architecture_of: str,
    rows: Sequence[Mapping[str, Any]],
) -> str:
    """The checkpoint that a random generator resembles, after a look at all of them before the first training."""
    if not changes or not seeds:
        raise InputError(f"arms, seeds: expected at least one of each, got {len(changes)} and {len(seeds)}.")
    without = [arm for arm, of_arm in changes.items() if not of_arm.get("generator")]
    if without:
        raise InputError(f"arms: expected where the generator of '{without[0]}' starts from, got none.")
    given = [str(of_arm["generator"]) for of_arm in changes.values() if str(of_arm["generator"]) != RANDOM]
    model = str(architecture_of) or next(iter(given), "")
    if not model:
        raise InputError("architecture_of: expected the checkpoint of a DXA-VAE where all arms are random, got none.")
    first: tuple[str, dict[str, Any]] | None = None
    for path in dict.fromkeys(_of_seed(each, seed) for each in (model, *given) for seed in seeds):
        check_new_people(rows, path)
        generator = _generator_of(load_vae(path))
        if first is None:
            first = path, generator
        different = [name for name, value in first[1].items() if generator[name] != value]
        if different:
            raise InputError(
                f"{path}: expected the generator of {first[0]}, so that arms differ in their start alone, "
                f"got another {', '.join(different)}."
            )
    return model


def _generator_of(vae: DXAVAE) -> dict[str, Any]:
    """What of a DXA-VAE's architecture a Pseudo-DXA takes over."""
    return {
        name: value
        for name, value in vae.architecture().items()
        if name.startswith(("generator_", "latent_", "linear_")) or name in ("in_channels", "spatial_shape")
    }


def _first_file(*given: str) -> str:
    return next(str(each) for each in given if str(each) != RANDOM)


def _of_seed(given: str, seed: int) -> str:
    return str(given).replace("{seed}", str(seed))
