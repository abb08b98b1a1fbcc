"""Trains the weights that lie in ``bundles/NAME/models``, from nothing: ``python -m scripts.train_weights``.

Three virtual cohorts; on the first the DXA-VAE, on the second the body measures from its codes and the mesh-to-scan
network from its generator, on the third the network of landmarks. What is finished is kept: an interrupted command goes
on. Then the weights are rounded, compared with the unrounded ones on the people held out (where the bundle has tables
of R2), and copied with what inference and evaluation read beside them. Run it in the repository's root: the paths it
records are relative. See docs/releases.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from monai.bundle import run

from dxa_monai.bundling.release import REPOSITORY
from dxa_monai.errors import InputError
from dxa_monai.experiments.trainings import Training, run_trainings
from dxa_monai.files import atomic_path, output_folder
from dxa_monai.networks.checkpoint import compact_checkpoint
from dxa_monai.phantom.cohort import generate_cohort
from dxa_monai.terminal import errors_as_sentence

ARM = "energy_ratio"
"""The DXA-VAE that is released: its reconstructions hold the scan's fat, lean and bone (table 2 in its docs)."""
MOST_LOST_R2 = 0.03
"""By fewer bits, in any cell of a bundle's tables where R2 is positive. The mineral of arms hangs on pixels that are
bone by a hair: it moves by 0.01 when nothing else does."""
LARGEST_FILE_BYTES = 8_000_000
"""Of what is committed; larger weights are published (``python -m scripts.publish_weights``)."""
BESIDE = ("split.csv", "run.json", "noise_floor.json", "scanner_model.json")
"""What a training leaves beside its weights and the released weights need, where there is one."""
WITH_PRESETS = "train.json"
SINGLE, HALF = "float32", "float16"
HALF_FILE, COST_FILE = "half.pt", "half_precision.json"


@dataclass(frozen=True)
class Cohort:
    """People of a training; another seed for each cohort, so that nobody is in two of them.

    Attributes:
        people: number of them.
        seed: of the cohort.
        special: what :func:`dxa_monai.phantom.cohort.generate_cohort` is told besides.
    """

    people: int
    seed: int
    special: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """How weights are trained.

    Attributes:
        bundle: whose config is run.
        cohort: name of the people.
        settings: what the config is told besides; values that are names of earlier recipes stand for their weights.
        overlays: config files of the bundle between that of the training and the preset's.
        config: of the training; one that is not ``train.json`` has no presets and no table of R2.
        weights: name of the released file.
    """

    bundle: str
    cohort: str
    settings: Mapping[str, Any]
    overlays: tuple[str, ...] = ()
    config: str = WITH_PRESETS
    weights: str = "model.pt"


_ODD = {"amputation": 0.06, "hip_implant": 0.06, "knee_implant": 0.06}
_ODD |= {"jewellery": 0.08, "arm_of_another": 0.1, "head_cut_off": 0.1}
_OTHERS = {
    "pairs": Cohort(960, 1),
    "landmarks": Cohort(240, 7, {"children_share": 0.2, "conditions": _ODD, "save_meshes": False}),
}
COHORTS = {
    "small": {"cohort": Cohort(300, 0), **_OTHERS},
    "paper": {"cohort": Cohort(16000, 0), **_OTHERS},
}
_POSTURES = {"postures": 3, "shape_components": 200, "shape_cell_m": 0.06}
"""People stand in any posture from T to A pose: more components, of coarser maps, which take no more room."""
RECIPES = {
    "dxa_vae": Recipe("dxa_vae", "cohort", {}, (f"arm_{ARM}.json",)),
    "dxa_anthropometry": Recipe(
        "dxa_anthropometry", "pairs", {"arm": ARM, "initial_weights": "dxa_vae", "pairs": 1107}
    ),
    "pseudo_dxa": Recipe("pseudo_dxa", "pairs", {"arm": ARM, "generator": "dxa_vae", "pairs": 1107} | _POSTURES),
    "landmarks": Recipe("dxa_body_composition", "landmarks", {}, config="train_landmarks.json", weights="landmarks.pt"),
}
"""In the order of training."""
DRY_PEOPLE = 20  # two of them in validation and test, which R2 needs
DRY_SETTINGS: dict[str, Any] = {"max_epochs": 1, "steps_per_epoch": 2, "batch_size": 2}
DRY_SETTINGS |= {"num_workers": 0, "pairs": 0, "backbone": "random"}


def train_weights(
    preset: str, data_dir: Path, runs_dir: Path, models_dir: Path, workers: int | None, dry_run: bool = False
) -> list[Path]:
    """Train all bundles' weights and write them to ``models_dir/NAME/models``.

    Args:
        preset: "small" or "paper".
        data_dir: gets the cohorts; those that are there are used.
        runs_dir: gets a folder for each training.
        models_dir: folder of bundles.
        workers: processes of the cohort; None: one a core.
        dry_run: twenty people, one epoch, batches of two, no downloads: shows that the whole chain works with these
            networks on this machine. The weights are worth nothing.

    Returns:
        The files of weights.

    Raises:
        InputError: a folder holds something else, or half precision costs too much.
        TrainingError: a training failed.
    """
    weights: dict[str, str] = {}
    released = []
    for name, recipe in RECIPES.items():
        cohort, bundle = COHORTS[preset][recipe.cohort], recipe.bundle
        people = DRY_PEOPLE if dry_run else cohort.people
        dataset = data_dir / recipe.cohort
        generate_cohort(people, dataset, cohort.seed, workers, **cohort.special)
        folder = runs_dir / name
        settings = {key: weights.get(value, value) for key, value in recipe.settings.items()}
        settings |= {"manifest": str(dataset / "manifest.csv"), "output_dir": str(folder)}
        files = [recipe.config, *recipe.overlays]
        if recipe.config == WITH_PRESETS:
            files.append(f"preset_{preset}.json")
            settings["preset"] = preset
        if bundle == "pseudo_dxa":
            settings |= {"clouds_dir": str(runs_dir / "points")}
        if dry_run:
            known = json.loads((_configs(bundle) / recipe.config).read_text()).keys()
            settings |= {key: value for key, value in DRY_SETTINGS.items() if key in known}
            # so few people have no more components than that
            settings |= {"network_def#linear_channels": 0} if bundle == "dxa_vae" else {}
        run_trainings([Training(tuple(str(_configs(bundle) / file) for file in files), settings)], 0)
        weights[name] = str(folder / "best.pt")
        if not dry_run and recipe.config == WITH_PRESETS:
            _evaluate(bundle, preset, folder, dataset)
        released.append(_release(folder, output_folder(models_dir / bundle / "models"), recipe.weights))
    return released


def _evaluate(name: str, preset: str, folder: Path, dataset: Path) -> None:
    """The bundle's tables of the weights in both precisions, once; refuse them if rounding costs too much."""
    if (folder / "evaluation" / COST_FILE).is_file():
        return
    half = folder / HALF_FILE
    compact_checkpoint(folder / "best.pt", half)
    chosen = {"clouds_dir": str(folder.parent / "points")} if name == "pseudo_dxa" else {}
    points = json.loads((_configs(name) / f"preset_{preset}.json").read_text()).get("points")
    run(
        config_file=str(_configs(name) / "evaluate.json"),
        dataset_dir=str(dataset),
        arms={SINGLE: str(folder / "best.pt"), HALF: str(half)},
        output_dir=str(folder / "evaluation"),
        **chosen | ({"points": points} if points else {}),
    )
    lost = lost_r2(folder / "evaluation")
    print(f"{name}: half precision changes R2 by at most {lost:.5f}, {half.stat().st_size / 1e6:.1f} MB")
    if lost > MOST_LOST_R2:
        raise InputError(f"{half}: expected R2 to change by at most {MOST_LOST_R2}, got {lost:.4f}.")
    with atomic_path(folder / "evaluation" / COST_FILE) as temporary:
        temporary.write_text(json.dumps({"lost_r2": lost}) + "\n")


def _release(folder: Path, models: Path, weights: str) -> Path:
    """Copy a training's rounded weights with what belongs to them."""
    compact_checkpoint(folder / "best.pt", models / weights)
    for name in BESIDE:
        if (folder / name).is_file():
            with atomic_path(models / name) as temporary:
                shutil.copyfile(folder / name, temporary)
    return models / weights


def lost_r2(evaluation: Path) -> float:
    """The greatest difference of a positive R2 between the two precisions in the tables of an evaluation."""
    differences = []
    for name in ("composition.csv", "measures.csv"):
        if not (evaluation / name).is_file():
            continue
        table = pd.read_csv(evaluation / name)
        by_arm = {arm: table.loc[table["arm"] == arm, "r2"].to_numpy() for arm in (SINGLE, HALF)}
        differences += list(abs(by_arm[SINGLE] - by_arm[HALF])[by_arm[SINGLE] > 0.0])
    return float(max(differences, default=0.0))


def _configs(name: str) -> Path:
    return REPOSITORY / "bundles" / name / "configs"


@errors_as_sentence()
def main(arguments: Sequence[str] | None = None) -> None:
    """Train and say what lies where.

    Args:
        arguments: instead of those of the command line.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=COHORTS, default="small", help="paper wants a GPU; default: small")
    parser.add_argument("--data_dir", type=Path, default=Path("data"), help="of the cohorts; default: data")
    parser.add_argument("--runs_dir", type=Path, help="default: runs/weights_PRESET")
    parser.add_argument(
        "--models_dir", type=Path, help="default: bundles (small), runs/weights_PRESET/release (others)"
    )
    parser.add_argument("--workers", type=int, help="processes that make people; default: one a core")
    parser.add_argument("--dry_run", action="store_true", help="twenty people, one epoch, results thrown away")
    chosen = parser.parse_args(arguments)
    runs_dir = chosen.runs_dir or Path("runs", f"weights_{chosen.preset}")
    small = chosen.preset == "small"
    models_dir = chosen.models_dir or (Path("bundles") if small else runs_dir / "release")
    if chosen.dry_run:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            train_weights(chosen.preset, root / "data", root / "runs", root / "models", chosen.workers, dry_run=True)
        print(f"The {chosen.preset} preset's trainings run on this machine.")
        return
    for path in train_weights(chosen.preset, chosen.data_dir, runs_dir, models_dir, chosen.workers):
        size = path.stat().st_size
        print(f"{path}  {size / 1e6:.1f} MB" + (", too large to commit" if size > LARGEST_FILE_BYTES else ""))


if __name__ == "__main__":
    main()
