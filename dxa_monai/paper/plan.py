"""What the paper consists of: commands of the bundles, in the order in which they need each other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dxa_monai
from dxa_monai.errors import InputError

COHORT, PAIRS = "cohort", "pairs"
ANALYSIS, RECONSTRUCTION, ABLATION = "analysis", "reconstruction", "ablation"
ANTHROPOMETRY, GENERATION = "anthropometry", "generation"
PARTS = (COHORT, PAIRS, ANALYSIS, RECONSTRUCTION, ABLATION, ANTHROPOMETRY, GENERATION)
EVALUATION = "evaluation"
"""Folder of a comparison's tables and figures."""
_OF_IMAGES = (f"{EVALUATION}/image_quality.csv", f"{EVALUATION}/composition.csv")

BASE_ARM, PAPER_ARM, OWN_ARM = "no_dxa", "dxa", "energy_ratio"
PRETRAINED = (BASE_ARM, PAPER_ARM, OWN_ARM)
"""Without the DXA loss, with it as published, and with the ratio in the window that tells fat from lean."""
RANDOM_ARM, IMAGENET_ARM = "random", "imagenet"

PAPER_PAIRS = 1107
"""Scans with a mesh that the paper had."""


@dataclass(frozen=True)
class Preset:
    """How large everything is.

    Attributes:
        people: for pretraining.
        pairs_people: who have a mesh, too.
        pretraining: preset of the DXA-VAE.
        downstream: preset of the networks that start from it.
        curve: numbers of pairs of the learning curve.
        own_settings: of the arm ``OWN_ARM``, as chosen on validation people of this size.
    """

    people: int
    pairs_people: int
    pretraining: str
    downstream: str
    curve: tuple[int, ...]
    own_settings: Mapping[str, Any] = field(default_factory=dict)


PRESETS = {
    "small": Preset(300, 960, "small", "small", (50, 100, 250, 500)),
    "medium": Preset(
        2000, 960, "medium", "small", (50, 100, 250, 500), {"contrast_weight": 18.0, "contrast_by_region": True}
    ),
    "paper": Preset(16000, 960, "paper", "paper", (50, 100, 250, 500)),
}


@dataclass(frozen=True)
class Part:
    """One command of a bundle.

    Attributes:
        name: of the part and of its folder.
        title: for people.
        config_files: of the command.
        settings: what it is told; plain values.
        folder: that it writes into.
        outputs: files in ``folder`` that are there when it has ended well.
        minutes: on one core, roughly; the estimate of the time left begins with them.
        needs: parts whose results it reads.
        trainings: run folders that it makes.
        passing: settings that do not change the results.
        people: virtual people that it makes.
    """

    name: str
    title: str
    config_files: tuple[str, ...]
    settings: Mapping[str, Any]
    folder: Path
    outputs: tuple[str, ...]
    minutes: float
    needs: tuple[str, ...] = ()
    trainings: int = 0
    passing: Mapping[str, Any] = field(default_factory=dict)
    people: int = 0

    def arguments(self) -> list[str]:
        """Of ``python``, with all settings."""
        given = [
            word for name, value in {**self.settings, **self.passing}.items() for word in (f"--{name}", _text(value))
        ]
        return ["-m", "monai.bundle", "run", "--config_file", _text(list(self.config_files)), *given]

    def digest(self) -> str:
        """Of all that the results depend on: settings, the bundle's configs, version.

        Raises:
            InputError: a config cannot be read.
        """
        files = {Path(path) for path in self.config_files}
        if self.trainings:
            files |= {other for path in files for other in path.parent.glob("*.json")}
        try:
            hashes = {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}
        except OSError as error:
            raise InputError(f"{error.filename}: expected a config of the part {self.name}, got '{error}'.") from error
        about = [dxa_monai.__version__, hashes, {name: _text(value) for name, value in self.settings.items()}]
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class PaperPlan:
    """The parts of the paper for one choice of people, sizes and seeds.

    Args:
        preset: of ``PRESETS``.
        output_dir: gets a folder for each part.
        seeds: of training.
        downstream_seeds: of the trainings that start from pretrained networks, some of ``seeds``; empty: all.
        generation_seeds: of those that make scans from meshes, which take longest, some of these; empty: all.
        workers: processes of each part.
        cluster: whether virtual people are made by the workers of a Dask cluster.
        manifest: scans for pretraining; None: those of a virtual cohort, made here.
        pairs_manifest: scans with meshes and measures of other people; None: likewise.
        bundles_dir: folder of the bundles.
        tracking: ``tracking_uri``, ``experiment`` and ``parent_run`` of MLflow; empty: not tracked.

    Raises:
        InputError: the preset is not known, there is no seed, one twice, or one of which nothing is pretrained.
    """

    preset: str
    output_dir: Path
    seeds: tuple[int, ...]
    downstream_seeds: tuple[int, ...] = ()
    workers: int = 1
    cluster: bool = False
    manifest: str | None = None
    pairs_manifest: str | None = None
    bundles_dir: Path = Path("bundles")
    tracking: Mapping[str, str] = field(default_factory=dict)
    generation_seeds: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise InputError(f"preset: expected one of {', '.join(PRESETS)}, got '{self.preset}'.")
        if not self.seeds:
            raise InputError("seeds: expected at least one, got none.")
        if len(set(self.seeds)) < len(self.seeds):
            raise InputError(f"seeds: expected each once, got {', '.join(map(str, self.seeds))}.")
        _refuse_others("downstream_seeds", self.downstream_seeds, self.seeds)
        _refuse_others("generation_seeds", self.generation_seeds, self.of_anthropometry)

    @property
    def of_anthropometry(self) -> tuple[int, ...]:
        """Seeds of the trainings for table 3."""
        return self.downstream_seeds or self.seeds

    @property
    def of_generation(self) -> tuple[int, ...]:
        """Seeds of the trainings for tables 4 and 5."""
        return self.generation_seeds or self.of_anthropometry

    @property
    def virtual(self) -> bool:
        """Whether all people are made here."""
        return self.manifest is None and self.pairs_manifest is None

    def parts(self) -> list[Part]:
        """In an order in which none needs a later one."""
        cohort = [self._cohort(COHORT, "virtual people for pretraining", self._sizes.people, 0)]
        pairs = [self._cohort(PAIRS, "virtual people with meshes", self._sizes.pairs_people, 1), self._analysis()]
        made = (cohort if self.manifest is None else []) + (pairs if self.pairs_manifest is None else [])
        return [*made, self._reconstruction(), self._ablation(), self._anthropometry(), self._generation()]

    @property
    def _sizes(self) -> Preset:
        return PRESETS[self.preset]

    @property
    def _of_cohort(self) -> tuple[str, tuple[str, ...]]:
        """Manifest for pretraining, and the part that makes it."""
        return (self.manifest, ()) if self.manifest else (str(self.output_dir / COHORT / "manifest.csv"), (COHORT,))

    @property
    def _of_pairs(self) -> tuple[str, tuple[str, ...]]:
        given = self.pairs_manifest
        return (given, ()) if given else (str(self.output_dir / PAIRS / "manifest.csv"), (PAIRS,))

    def _weights(self, seed: str = "{seed}") -> dict[str, str]:
        """Pretrained weights by arm; a comparison fills in the seed."""
        root = self.output_dir / RECONSTRUCTION
        return {arm: str(root / f"{arm}-seed{seed}" / "best.pt") for arm in PRETRAINED}

    def _cohort(self, name: str, title: str, people: int, seed: int) -> Part:
        return Part(
            name,
            title,
            config_files=("configs/cohort.json",),
            settings={"count": people, "seed": seed, "output_dir": str(self.output_dir / name)},
            folder=self.output_dir / name,
            outputs=("manifest.csv", "contact_sheet.png"),
            minutes=people / 200.0,
            people=people,
            passing={"workers": self.workers, "cluster": self.cluster},
        )

    def _analysis(self) -> Part:
        manifest, needs = self._of_pairs
        settings = {"manifest": manifest, "part": "test", "calibrations": ["phantom", "run"], "scanners": 3}
        outputs = ("agreement.csv", "bland_altman.png")
        config = "dxa_body_composition/configs/evaluate.json"
        return self._bundle(ANALYSIS, "analysis against the truth", [config], settings, outputs, needs, 0, 4.0)

    def _reconstruction(self) -> Part:
        manifest, needs = self._of_cohort
        arms: dict[str, dict[str, Any]] = {arm: {"overlay": f"arm_{arm}.json"} for arm in PRETRAINED}
        arms[OWN_ARM] |= self._sizes.own_settings
        settings = {"manifest": manifest, "preset": self._sizes.pretraining, "seeds": list(self.seeds), "arms": arms}
        trainings = len(arms) * len(self.seeds)
        minutes = self._minutes_of_a_pretraining * trainings + 4.0
        title, config = "tables 1 and 2: reconstructions", "dxa_vae/configs/compare.json"
        return self._bundle(RECONSTRUCTION, title, [config], settings, _OF_IMAGES, needs, trainings, minutes)

    def _ablation(self) -> Part:
        manifest, needs = self._of_cohort
        configs = ["dxa_vae/configs/compare.json", "dxa_vae/configs/ablation.json"]
        path = self.bundles_dir / configs[-1]
        try:
            trainings = len(json.loads(path.read_text(encoding="utf-8"))["arms"]) * len(self.seeds)
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{path}: expected the arms of the ablation, got '{error}'.") from error
        settings = {"manifest": manifest, "seeds": list(self.seeds)}
        minutes = self._minutes_of_a_pretraining * trainings + 4.0
        title = "what the difference is owed to"
        return self._bundle(ABLATION, title, configs, settings, _OF_IMAGES, needs, trainings, minutes)

    def _anthropometry(self) -> Part:
        settings = self._downstream(self.of_anthropometry) | {
            "arms": {RANDOM_ARM: RANDOM_ARM, IMAGENET_ARM: IMAGENET_ARM, **self._weights()},
            "sizes": list(self._sizes.curve),
            "frozen": False,
        }
        trainings = (1 + len(PRETRAINED)) * (1 + len(self._sizes.curve)) * len(self.of_anthropometry)
        needs, outputs = (*self._of_pairs[1], RECONSTRUCTION), (f"{EVALUATION}/measures.csv",)
        title, config = "table 3: body measures", "dxa_anthropometry/configs/compare.json"
        return self._bundle(ANTHROPOMETRY, title, [config], settings, outputs, needs, trainings, trainings + 4.0)

    def _generation(self) -> Part:
        model = self._weights(str(self.seeds[0]))[OWN_ARM]
        settings = self._downstream(self.of_generation) | {
            "arms": {RANDOM_ARM: RANDOM_ARM, **self._weights()},
            "architecture_of": model,
        }
        trainings = (1 + len(PRETRAINED)) * len(self.of_generation)
        needs, minutes = (*self._of_pairs[1], RECONSTRUCTION), 7.0 * trainings + 12.0
        title, config = "tables 4 and 5: scans from meshes", "pseudo_dxa/configs/compare.json"
        return self._bundle(GENERATION, title, [config], settings, _OF_IMAGES, needs, trainings, minutes)

    def _downstream(self, seeds: tuple[int, ...]) -> dict[str, Any]:
        common = {"preset": self._sizes.downstream, "seeds": list(seeds), "pairs": PAPER_PAIRS}
        return {"manifest": self._of_pairs[0], **common}

    @property
    def _minutes_of_a_pretraining(self) -> float:
        return self._sizes.people / 120.0

    def _bundle(
        self,
        name: str,
        title: str,
        configs: Sequence[str],
        settings: Mapping[str, Any],
        outputs: tuple[str, ...],
        needs: tuple[str, ...],
        trainings: int,
        minutes: float,
    ) -> Part:
        folder = self.output_dir / name
        files = tuple(str(self.bundles_dir / config) for config in configs)
        told = {**settings, "output_dir": str(folder)}
        passing = {"workers": self.workers, **self.tracking}
        return Part(name, title, files, told, folder, outputs, minutes, needs, trainings, passing)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


def _refuse_others(name: str, seeds: tuple[int, ...], known: tuple[int, ...]) -> None:
    unknown = [str(seed) for seed in seeds if seed not in known]
    if unknown:
        raise InputError(f"{name}: expected some of {', '.join(map(str, known))}, got {', '.join(unknown)}.")
