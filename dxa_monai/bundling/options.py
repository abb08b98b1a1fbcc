"""The options of every command: what each is and what it means, in one place.

An option is an id at the top of a config (or below one, as ``mesh#unit``) that holds a plain value. The values of a
command line, of overlays and of Python calls are checked against this table before anything runs
(:mod:`dxa_monai.bundling.command_line`), and ``--explain True`` prints it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dxa_monai.bundling.option_kinds import (
    Choice,
    Count,
    Device,
    Flag,
    Kind,
    ListOf,
    MappingOf,
    Number,
    PathTo,
    Text,
)
from dxa_monai.errors import InputError, shown

NONE = ("None", "null", "$None")
"""How nothing is written on a command line."""


@dataclass(frozen=True)
class Option:
    """What an option is.

    Attributes:
        kind: of its value.
        meaning: in one line.
        nullable: it can be None, too, also where no config says so.
    """

    kind: Kind
    meaning: str
    nullable: bool = False

    def read(self, name: str, given: Any, nullable: bool = False) -> Any:
        """The value of what is given.

        Args:
            name: of the option, for the message.
            given: text of a command line, or a value.
            nullable: the config has None for it.

        Raises:
            InputError: it is no value of this option; the sentence says what one is.
        """
        nullable = nullable or self.nullable
        if nullable and (given is None or (isinstance(given, str) and given in NONE)):
            return None
        try:
            if given is None or (isinstance(given, str) and given in NONE):
                raise ValueError
            return self.kind.read(given)
        except ValueError:
            expected = self.kind.expected + (" or None" if nullable else "")
            raise InputError(f"{name}: expected {expected}, got {shown(given)}.") from None


_WEIGHTS = "weights, random or imagenet"
_CHANNEL = Choice("dxa_monai.scan.format.CHANNELS")

OPTIONS: dict[str, Option] = {
    # where things are
    "bundle_root": Option(PathTo("a folder"), "folder that the defaults of the other paths lie in"),
    "bundles_dir": Option(PathTo("a folder"), "folder of the bundles"),
    "config_dir": Option(PathTo("a folder"), "folder with the bundle's configs"),
    "dataset_dir": Option(PathTo("a folder"), "folder of the data"),
    "manifest": Option(PathTo("a CSV file"), "one row a scan: subject_id, scan and what else is known"),
    "pairs_manifest": Option(PathTo("a CSV file"), "the same of people who have a mesh, too", True),
    "input": Option(PathTo("a file, a folder or a manifest"), "what is read"),
    "output_dir": Option(PathTo("a folder"), "gets the results"),
    "output": Option(PathTo("a file"), "the file that is written"),
    "table": Option(PathTo("a body_composition.csv"), "scans of people, analysed"),
    "precision": Option(PathTo("a precision.csv"), "of repeated scans on your scanner; None: of virtual people", True),
    "clouds_dir": Option(PathTo("a folder"), "keeps the points of meshes"),
    "checkpoint": Option(PathTo("a network"), "the trained network"),
    "visit": Option(Text(), "column that orders the scans of a person: dates or numbers"),
    "phantom_scan": Option(PathTo("a scan"), "raw scan of the step phantom"),
    "scanner_model": Option(PathTo("a JSON file"), "the calibrated scanner; None: calibrated from scans", True),
    "landmarks": Option(PathTo("a folder"), "edited landmarks, one SCANID.json each; None: they are found", True),
    "landmark_finder": Option(Choice("dxa_monai.inference.landmark_finders.FINDERS"), "who finds landmarks"),
    "landmark_network": Option(PathTo("a network"), "the network that finds landmarks"),
    "polygons": Option(
        PathTo("a JSON file, or a folder of SCANID.json"), "regions of your own; None: there are none", True
    ),
    "reference": Option(
        PathTo("a CSV file of curves, or nhanes_white"), "people whom values are held against; None: nobody", True
    ),
    "split_file": Option(PathTo("a CSV file or its folder", True), "who is in which part; empty: split here"),
    "path_lists": Option(ListOf(PathTo(), may_be_empty=True), "three lists of scans instead of a manifest"),
    "config_files": Option(ListOf(PathTo()), "training config and its overlays"),
    "tracking_files": Option(ListOf(PathTo(), may_be_empty=True), "overlays that turn tracking on"),
    # how scans and meshes are read
    "channels": Option(ListOf(_CHANNEL, 6), "order of the channels in the files; None: as the files declare", True),
    "pixel_spacing_mm": Option(ListOf(Number(1e-6), 2), "of a row and of a column; None: as the files say", True),
    "zero_counts": Option(ListOf(Number(), 6), "what open air reads, by channel; None: found in each scan", True),
    "bad_scans": Option(Choice("dxa_monai.scan.quarantine.BAD_SCANS"), "what is done about unusable scans"),
    "max_bad_share": Option(Number(0, 1), "share of scans that may be set aside"),
    "duplicates": Option(Choice("dxa_monai.runs.screened_scans.DUPLICATES"), "what is done about copies of scans"),
    "screened_parts": Option(
        ListOf(Choice("dxa_monai.scan.splits.SPLIT_NAMES")), "parts whose scans are looked at; None: all", True
    ),
    "points": Option(Count(1), "points of each body's surface"),
    "draws": Option(Count(1), "draws of the points that the encoder sees; their predicted scans are averaged"),
    "mesh": Option(MappingOf("how meshes are read", "{'unit': 'cm'}"), "how meshes are read"),
    "mesh#unit": Option(Choice("dxa_monai.mesh.io.METRES_PER_UNIT"), "unit of the meshes; None: inferred", True),
    "mesh#up_axis": Option(Choice("dxa_monai.mesh.io.AXES"), "axis of the meshes that points up"),
    "mesh#facing": Option(Choice("dxa_monai.mesh.io.AXES"), "axis that people face; None: the usual one", True),
    "mesh#repair": Option(Flag(), "mend what can be mended"),
    "mesh#accept": Option(
        ListOf(Choice("dxa_monai.mesh.checks.DEFECTS"), may_be_empty=True), "defects that are let through"
    ),
    "mesh#seed": Option(Count(), "seed of the points"),
    # what is analysed, and how
    "calibration": Option(
        Choice("dxa_monai.inference.run_scanner.CALIBRATIONS"), "without a scanner model, what stands for it"
    ),
    "calibrations": Option(
        ListOf(Choice("dxa_monai.evaluation.measured.CALIBRATIONS")), "what the scanners' models come from"
    ),
    "method": Option(Choice("dxa_monai.analysis.composition.METHODS"), "how channels become materials"),
    "pictures": Option(Flag(), "draw pictures"),
    "pages": Option(Flag(), "write an HTML page for each scan, and one for all"),
    "maps": Option(Flag(), "write maps of fat, lean, bone mineral and regions as NIfTI"),
    "dicom": Option(Flag(), "write picture, regions and numbers as DICOM"),
    "formats": Option(ListOf(Choice("dxa_monai.inference.meshes.FORMATS")), "endings in which scans are written"),
    "composition": Option(Flag(), "analyse body composition, too"),
    "components": Option(Count(), "principal components of the baseline; None: the code's size", True),
    "effects": Option(
        ListOf(Choice("dxa_monai.evaluation.scanner_effects.EFFECTS")), "effects of scanners; None: all", True
    ),
    "people": Option(Count(1), "how many people"),
    "scanners": Option(Count(1), "how many scanners are drawn"),
    "copies": Option(Count(), "moved copies of each scan"),
    "resamples": Option(Count(1), "resamples of the bootstrap"),
    "part": Option(Choice("dxa_monai.scan.splits.SPLIT_NAMES"), "part of the split that is evaluated"),
    "arms": Option(
        MappingOf("each arm's name with what makes it", "{'mine': 'runs/mine/best.pt'}"), "what is compared"
    ),
    # virtual people
    "count": Option(Count(1), "number of people"),
    "children_share": Option(Number(0, 1), "share of children"),
    "conditions": Option(MappingOf("shares by condition", "{'hip_implant': 0.05}"), "implants and other conditions"),
    "save_meshes": Option(Flag(), "also write the meshes"),
    "progress": Option(Flag(), "show a progress bar"),
    # training
    "arm": Option(Text(), "label of the run; chooses nothing"),
    "overlay": Option(Text(), "which overlay was read; set by overlays"),
    "preset": Option(Text(), "label of the preset; set by presets"),
    "resume": Option(Flag(), "go on with the folder's interrupted run"),
    "save_every_s": Option(Number(0), "seconds between two states to resume from"),
    "max_epochs": Option(Count(1), "epochs"),
    "steps_per_epoch": Option(Count(1), "steps of an epoch"),
    "patience": Option(Count(1), "epochs without a better network until it ends; None: to the end", True),
    "val_interval": Option(Count(1), "epochs between two validations"),
    "batch_size": Option(Count(1), "scans at a time"),
    "learning_rate": Option(Number(0), "of the optimiser"),
    "amp": Option(Flag(), "compute in bfloat16 where that does"),
    "cache_rate": Option(Number(0, 1), "share of the scans that is kept in memory"),
    "backbone": Option(PathTo(_WEIGHTS), "weights of the VGG in perceptual losses"),
    "initial_weights": Option(PathTo(_WEIGHTS), "where the trunk starts from"),
    "generator": Option(PathTo("weights, or random"), "where the generator starts from"),
    "architecture_of": Option(PathTo("a network, or random", True), "whose architecture the generator has"),
    "encoder": Option(MappingOf("the kind of encoder and its sizes", "{'kind': 'pointnet2'}"), "encoder of the mesh"),
    "shape_components": Option(Count(), "principal components of shape that the network starts from; 0: none"),
    "shape_cell_m": Option(Number(0.01, 1), "side in metres of the cells of the thickness maps that shape is seen in"),
    "material_components": Option(Count(), "components of the maps of fat, lean and bone that shape tells; 0: no maps"),
    "placed": Option(Count(), "rounds in which training scans are moved to where bodies are expected; 0: none"),
    "postures": Option(Count(0, 20), "further postures of each training body, from T to A pose; 0: as it was scanned"),
    "match_composition": Option(
        Flag(), "images hold the fat and bone of people of each shape, at the start and at the end"
    ),
    "frozen": Option(Flag(), "keep the pretrained part as it is"),
    "frozen_epochs": Option(Count(), "epochs that a pretrained generator is kept as it is"),
    "mirrored": Option(Flag(), "mirror images count in mean and linear path"),
    "moved_copies": Option(Count(highest=4), "copies of each scan, moved, that the read-out is fitted to, too"),
    "contrast_weight": Option(Number(0), "how often the energies' contrast counts in the linear path"),
    "contrast_by_region": Option(Flag(), "arms, legs and the rest count alike in it, however few pixels they have"),
    "latent_weight": Option(Number(0), "of the codes' distance in the loss"),
    "composition_weight": Option(Number(0), "of body composition in the loss"),
    "warm_up_epochs": Option(Count(), "epochs before the scheduled terms of the loss begin"),
    "ramp_epochs": Option(Count(), "epochs in which they grow"),
    "raw_views_per_step": Option(Count(1), "views of the raw perceptual term in a step; None: all", True),
    "calibrated_views_per_step": Option(Count(1), "of the calibrated one; None: all", True),
    "pairs": Option(Count(), "scans that are used at all; 0: all"),
    "training_pairs": Option(Count(), "scans of the training people that are used; 0: all"),
    "measures": Option(ListOf(Text()), "columns of the manifest that are predicted; None: the body's", True),
    # comparison and search
    "seeds": Option(ListOf(Count()), "seeds of training"),
    "downstream_seeds": Option(ListOf(Count(), may_be_empty=True), "of what starts from pretrained weights; none: all"),
    "generation_seeds": Option(ListOf(Count(), may_be_empty=True), "of what makes scans from meshes; none: those"),
    "sizes": Option(ListOf(Count(1), may_be_empty=True), "numbers of training pairs of the learning curve"),
    "variants": Option(MappingOf("each variant's name with its settings"), "ways in which each arm is trained"),
    "overrides": Option(MappingOf("settings of all trainings", "{'max_epochs': 10}"), "settings of all trainings"),
    "space": Option(MappingOf("settings with their ranges", "{'batch_size': {'choices': [4,8]}}"), "what is searched"),
    "metric": Option(Text(), "what a trial is judged by"),
    "direction": Option(Choice("dxa_monai.experiments.search.DIRECTIONS"), "whether more or less of it is better"),
    "trials": Option(Count(1), "trainings of the search"),
    "pruning": Option(MappingOf("when trials end early", "{'from_epoch': 6}"), "when; None: all end late", True),
    "parts": Option(ListOf(Choice("dxa_monai.paper.plan.PARTS")), "parts of the paper that are run; None: all", True),
    # how it is run
    "device": Option(Device(), "where networks compute"),
    "trt_precision": Option(Choice("dxa_monai.inference.tensorrt.PRECISIONS"), "in which TensorRT computes"),
    "workers": Option(Count(), "processes that do the work", True),
    "num_workers": Option(Count(), "processes that read scans"),
    "mesh_workers": Option(Count(), "processes that read meshes"),
    "cluster": Option(Flag(), "the workers of a Dask cluster do it instead"),
    "seed": Option(Count(), "of what is drawn at random"),
    "split_seed": Option(Count(), "of the split by person"),
    "tracking_uri": Option(Text(), "of MLflow; empty: nothing is tracked"),
    "experiment": Option(Text(), "MLflow's name for what belongs together"),
    "parent_run": Option(Text(), "MLflow run that this one is shown below; set by comparisons", True),
    "log_model": Option(Flag(), "add the best network to the MLflow run, as a model that its snippet loads"),
}
"""By name; one name means the same in every command."""
