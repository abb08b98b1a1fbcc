"""All arms, each trained with several seeds, and their comparison on people held out, by one command."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dxa_monai.bundling.known_ids import refuse_unknown_ids
from dxa_monai.errors import InputError, find_user_error
from dxa_monai.evaluation.arms import ArmEvaluation
from dxa_monai.evaluation.held_out import TrainedArm
from dxa_monai.experiments.trainings import Training, run_trainings
from dxa_monai.files import atomic_path
from dxa_monai.runs.outputs import claim_outputs
from dxa_monai.runs.ownership import letting_go
from dxa_monai.scan.reader import RawDXAReader
from dxa_monai.tracking.run_note import NOTE_NAME
from dxa_monai.tracking.server import check_tracking_uri
from dxa_monai.tracking.tracked_run import mlflow_run

RECORD_NAME = "comparison.json"
OVERLAY = "overlay"
"""What an arm calls the config files, beside the training config, that make it."""
OWN_SETTINGS = ("arm", "seed", "output_dir", "tracking_uri", "experiment", "parent_run")
"""What a comparison sets itself."""
SHARED_SETTINGS = ("manifest", "dataset_dir", "clouds_dir", "points", "mesh")
"""What trainings and tables have in common: a setting of the comparison, not of a training."""


class Comparison:
    """Train every arm with every seed, and in every variant, and compare the arms on the people held out.

    All trainings have the same data, split and seeds; they differ in what their arm and variant set. Split, reader and
    measures are then read from the run folders, so that the tables are of people whom no network has seen. Finished
    trainings are kept: an interrupted command goes on.

    ::

        output_dir/
          {arm}-seed{seed}/            a run folder for each training, {arm}-{variant}-seed{seed} for variants
          evaluation/                  tables and figures
          comparison.json              what was compared

    Args:
        config_files: training config of the bundle and its overlays.
        arms: what each arm sets in the training config, by its name, and in ``overlay`` the config files beside the
            training config that it adds; text stands for the setting ``text_sets``. ``{seed}`` in a path stands for the
            seed of training, so that pretraining is repeated, too.
        evaluation: of the trained arms.
        output_dir: gets the runs.
        data: settings of all trainings about the data: ``manifest``, ``split_seed``, ...
        reader: how scans are read, by all trainings.
        seeds: of training.
        variants: what each variant of an arm sets, by its name; the arm as it is has the name "".
        text_sets: the setting that an arm given as text stands for.
        optional: names of arms and variants that are left out with a line, and a line in the table, if they cannot be
            trained (a file that is not at hand, too few pairs); any other that cannot be is an error.
        overrides: further settings of all trainings; an arm's own win.
        workers: trainings at a time, of one thread each.
        tracking_uri: of MLflow; empty: not tracked. One run for the comparison, one below it for each training.
        experiment: MLflow's name for what belongs together.
        parent_run: id of the MLflow run that the comparison's is shown below; None: it stands alone.
        about: what MLflow should know besides.

    Raises:
        InputError: there is no arm or seed, or an arm, a variant or the overrides set what the comparison sets.
    """

    def __init__(
        self,
        config_files: Sequence[str],
        arms: Mapping[str, str | Mapping[str, Any]],
        evaluation: ArmEvaluation,
        output_dir: str | Path,
        data: Mapping[str, Any],
        reader: RawDXAReader | None = None,
        seeds: Sequence[int] = (0, 1, 2),
        variants: Mapping[str, Mapping[str, Any]] | None = None,
        text_sets: str = OVERLAY,
        optional: Sequence[str] = (),
        overrides: Mapping[str, Any] | None = None,
        workers: int = 1,
        tracking_uri: str = "",
        experiment: str = "dxa_monai",
        parent_run: str | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        if not arms or not seeds:
            raise InputError(f"arms, seeds: expected at least one of each, got {len(arms)} and {len(seeds)}.")
        self.config_files = [str(path) for path in config_files]
        self.arms = {
            name: dict(given) if isinstance(given, Mapping) else {text_sets: given} for name, given in arms.items()
        }
        self.evaluation = evaluation
        self.folder = Path(output_dir)
        self.data = dict(data)
        if reader is not None:
            declared = reader.source.as_dict()
            self.data |= {f"reader#{name}": declared[name] for name in ("channels", "pixel_spacing_mm")}
        self.seeds = list(seeds)
        self.variants = {name: dict(settings) for name, settings in (variants or {"": {}}).items()}
        self.optional = set(optional)
        self.overrides = dict(overrides or {})
        self.workers = workers
        self.tracking_uri = tracking_uri
        self.experiment = experiment
        self.parent_run = parent_run
        self.about = dict(about or {})
        self._refuse_own_settings()

    @letting_go()
    def run(self) -> dict[str, Path]:
        """Train what is not trained yet and evaluate.

        Returns:
            The written files by name.

        Raises:
            InputError: an arm cannot be trained, arms differ in an architecture that none of them names, or as the
                trainings and the evaluation say.
            TrainingError: a training failed.
        """
        check_tracking_uri(self.tracking_uri)
        arms = self.evaluation.task.complete(self.arms)
        planned, skipped = self._first_look(arms)
        # made only now, so that a mistake leaves nothing behind
        claim_outputs(self.folder, [RECORD_NAME])
        about = {
            **self.about,
            **self.data,
            "arms": self.arms,
            "variants": list(self.variants),
            "seeds": self.seeds,
            "overrides": self.overrides,
        }
        note = self.folder / NOTE_NAME
        with mlflow_run(
            self.tracking_uri,
            self.experiment,
            "comparison",
            about,
            local_log=self.folder,
            parent_run=self.parent_run,
            note=note,
            go_on=True,
        ) as run:
            tracking = {"tracking_uri": self.tracking_uri, "experiment": self.experiment, "parent_run": run.run_id}
            if not run.active:
                # below a run that could not be started nothing is tracked: its trainings would be nobody's
                tracking = {"tracking_uri": ""} if self.tracking_uri else {}
            trainings = [
                self._training(arms[arm], arm, variant, seed, tracking)
                for seed in self.seeds
                for arm, variant in planned
            ]
            run_trainings(trainings, self.workers)
            path = self.folder / RECORD_NAME
            with atomic_path(path) as temporary:
                temporary.write_text(json.dumps(about | {"skipped": skipped}, indent=2, default=str) + "\n")
            run.log_artifact(path)
            trained = [
                TrainedArm(arm, tuple(self._folder(arm, variant, seed) / "best.pt" for seed in self.seeds), variant)
                for arm, variant in planned
            ]
            files = self.evaluation.of(trained, self.about, skipped, run.run_id, run.active)
        return files | {"comparison": path}

    def _first_look(self, arms: Mapping[str, Mapping[str, Any]]) -> tuple[list[tuple[str, str]], dict[str, str]]:
        """What can be trained, arm and variant, and why other arms cannot; found out before the first training."""
        for name, settings in {**arms, **self.variants}.items():
            files = self._files(settings if name in arms else {})
            refuse_unknown_ids(files, [each for each in settings if each != OVERLAY])
        refuse_unknown_ids(self.config_files, [*self.overrides, *self.data])
        self._refuse_other_overlays(arms)
        usable, skipped = [], {}
        architectures: dict[str, dict[str, Any]] = {}
        for arm in arms:
            try:
                for seed in self.seeds:
                    architectures[arm] = self._looked_at(arms, arm, "", seed)
                usable.append(arm)
            except InputError as error:
                if arm not in self.optional:
                    raise
                skipped[arm] = str(error)
                print(f"{arm}: skipped; {error}")
        if not usable:
            raise InputError(f"arms: expected at least one that can be trained, got none of {', '.join(arms)}.")
        self._refuse_other_architectures(arms, architectures)
        planned = []
        for variant in self.variants:
            try:
                if variant:
                    self._looked_at(arms, usable[0], variant, self.seeds[0])
                planned += [(arm, variant) for arm in usable]
            except InputError as error:
                if variant not in self.optional:
                    raise
                print(f"{variant}: left out; {error}")
        return planned, skipped

    def _looked_at(self, arms: Mapping[str, Mapping[str, Any]], arm: str, variant: str, seed: int) -> dict[str, Any]:
        """The architecture of a training's network, after a look at its data and at where it starts from."""
        parser = self._training(arms[arm], arm, variant, seed, {}).parser()
        try:
            parser.get_parsed_content("data").check()
            parser.get_parsed_content("start").check()
            architecture: dict[str, Any] = parser.get_parsed_content("network_def").architecture()
        except (InputError, RuntimeError, ValueError) as error:
            raise (find_user_error(error) or error) from None
        return architecture

    def _refuse_other_architectures(
        self, arms: Mapping[str, Mapping[str, Any]], architectures: Mapping[str, Mapping[str, Any]]
    ) -> None:
        """Arms differ in what their names say: an architecture that no arm names came with a checkpoint."""
        chosen = {
            arm: any(name.startswith(("network_def", "encoder", OVERLAY)) for name in arms[arm])
            for arm in architectures
        }
        (first, expected), *others = architectures.items()
        for arm, architecture in others:
            different = [name for name, value in expected.items() if architecture.get(name) != value]
            if different and not (chosen[arm] or chosen[first]):
                raise InputError(
                    f"{arm}: expected the network of {first}, so that arms differ in their start alone, "
                    f"got another {', '.join(different)}."
                )

    def _refuse_other_overlays(self, arms: Mapping[str, Mapping[str, Any]]) -> None:
        for arm, settings in arms.items():
            path = Path(self.config_files[0]).parent / f"arm_{arm}.json"
            if path.is_file() and not any(Path(file).name == path.name for file in self._files(settings)):
                raise InputError(
                    f"arms: expected '{arm}' to name the overlay that makes it, {{'{OVERLAY}': '{path.name}'}}, "
                    f"got {dict(settings)}; the name of an arm is a label."
                )

    def _refuse_own_settings(self) -> None:
        own = [name for name in OWN_SETTINGS if name != "arm"]
        for given in (*self.arms.values(), *self.variants.values(), self.overrides):
            taken = next((name for name in given if name in own), None)
            if taken is not None:
                raise InputError(f"{taken}: expected settings of the training, got one that the comparison sets.")
            shared = next((name for name in given if name.partition("#")[0] in SHARED_SETTINGS), None)
            if shared is not None:
                raise InputError(
                    f"{shared}: expected it as a setting of the comparison (--{shared}), which its tables follow, got "
                    "it as a setting of the trainings alone."
                )

    def _training(
        self, of_arm: Mapping[str, Any], arm: str, variant: str, seed: int, tracking: Mapping[str, Any]
    ) -> Training:
        settings = {**self.data, **self.overrides, **self.variants[variant], "arm": arm}
        settings |= {name: _of_seed(value, seed) for name, value in of_arm.items() if name != OVERLAY}
        settings |= {"seed": seed, "output_dir": str(self._folder(arm, variant, seed)), **tracking}
        return Training(tuple(self._files(of_arm)), settings)

    def _files(self, of_arm: Mapping[str, Any]) -> list[str]:
        """Training config, the arm's overlays, then presets and whatever else."""
        given = of_arm.get(OVERLAY, [])
        overlays = [given] if isinstance(given, str) else list(given)
        folder = Path(self.config_files[0]).parent
        paths = [path if Path(path).is_absolute() or Path(path).is_file() else str(folder / path) for path in overlays]
        missing = next((path for path in paths if not Path(path).is_file()), None)
        if missing is not None:
            raise InputError(f"{missing}: expected the overlay of an arm, got no such file.")
        return [self.config_files[0], *paths, *self.config_files[1:]]

    def _folder(self, arm: str, variant: str, seed: int) -> Path:
        return self.folder / "-".join([arm, *([variant] if variant else []), f"seed{seed}"])


def _of_seed(value: Any, seed: int) -> Any:
    return value.replace("{seed}", str(seed)) if isinstance(value, str) else value
