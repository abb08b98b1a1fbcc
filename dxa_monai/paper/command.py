"""The whole paper by one command; see ``configs/paper.json``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dxa_monai.errors import InputError, TrainingError
from dxa_monai.paper.parts import FINISHED_PART, LOGS, RECORD_NAME, Outcome, run_parts
from dxa_monai.paper.plan import PARTS, PaperPlan
from dxa_monai.paper.report import HTML_NAME, MARKDOWN_NAME, Report, build_report, write_report
from dxa_monai.runs.outputs import claim_outputs
from dxa_monai.runs.ownership import letting_go
from dxa_monai.shell_words import as_typed
from dxa_monai.tracking.run_note import NOTE_NAME
from dxa_monai.tracking.server import check_tracking_uri
from dxa_monai.tracking.tracked_run import TrackedRun, mlflow_run


@letting_go()
def reproduce_paper(
    output_dir: str | Path,
    preset: str = "small",
    seeds: Sequence[int] = (0, 1, 2),
    downstream_seeds: Sequence[int] = (),
    generation_seeds: Sequence[int] = (),
    parts: Sequence[str] | None = None,
    workers: int | None = None,
    cluster: bool = False,
    manifest: str | None = None,
    pairs_manifest: str | None = None,
    tracking_uri: str = "",
    experiment: str = "paper",
    bundles_dir: str | Path = "bundles",
) -> dict[str, Path]:
    """Run all parts of the paper that are not finished and write the report of what is there.

    ::

        output_dir/
          cohort/ pairs/               virtual people
          analysis/ reconstruction/ ablation/ anthropometry/ generation/
          logs/                        what each part printed
          parts.json                   what became of each part, its time and memory
          report.html report.md

    Args:
        output_dir: gets everything.
        preset: how large it is, of :data:`dxa_monai.paper.plan.PRESETS`.
        seeds: of training.
        downstream_seeds: of the trainings for tables 3 to 5, some of ``seeds``; empty: all.
        generation_seeds: of those for tables 4 and 5, which take longest, some of these; empty: all.
        parts: that are run; None: all. Those that are finished are in the report in any case.
        workers: processes; None: one a core.
        cluster: whether virtual people are made by the workers of a Dask cluster.
        manifest: scans for pretraining; None: virtual ones.
        pairs_manifest: scans of other people, with meshes and body measures; None: virtual ones.
        tracking_uri: of MLflow; empty: nothing is tracked. Below the paper's run is one for each comparison.
        experiment: MLflow's name for what belongs together; one, so that MLflow shows all below the paper's run.
        bundles_dir: folder of the bundles.

    Returns:
        The report's files, ``markdown`` and ``html``.

    Raises:
        InputError: a setting is wrong, or the folder is another command's.
        TrainingError: a part failed; the report was written and says which.
    """
    check_tracking_uri(tracking_uri)
    if workers is not None and workers < 1:
        raise InputError(f"workers: expected at least one process, got {workers}.")
    folder, processes = Path(output_dir), workers or os.cpu_count() or 1
    for name, path in (("manifest", manifest), ("pairs_manifest", pairs_manifest)):
        if path is not None and not Path(path).is_file():
            raise InputError(f"{name}: expected a CSV file with a row a scan, got no such file: {path}.")
    plan = PaperPlan(
        preset,
        folder,
        tuple(seeds),
        tuple(downstream_seeds),
        processes,
        cluster,
        manifest,
        pairs_manifest,
        Path(bundles_dir),
        generation_seeds=tuple(generation_seeds),
    )
    names = [part.name for part in plan.parts()]
    chosen = list(names if parts is None else parts)
    unknown = [name for name in chosen if name not in names]
    if unknown:
        raise InputError(f"parts: expected some of {', '.join(names)}, got {', '.join(unknown)}.")
    for part in plan.parts():
        part.digest()  # a config that is not there is told before anything runs
    claim_outputs(folder, [RECORD_NAME, HTML_NAME, MARKDOWN_NAME, *(f"{LOGS}/{name}.log" for name in PARTS)])
    about = {"preset": preset, "seeds": list(seeds), "manifest": manifest, "pairs_manifest": pairs_manifest}
    note = folder / NOTE_NAME
    with mlflow_run(tracking_uri, experiment, "paper", about, local_log=folder, note=note, go_on=True) as run:
        tracking = {"tracking_uri": tracking_uri, "experiment": experiment, "parent_run": str(run.run_id)}
        planned = replace(plan, tracking=tracking if run.active else {}).parts()
        outcomes = run_parts(planned, chosen, folder)
        report = build_report(folder, planned, outcomes, _settings(plan))
        files = write_report(report, folder)
        _track(run, report, files)
    _tell(report, files)
    failed = [name for name in chosen if outcomes[name].state != FINISHED_PART]
    if failed:
        raise TrainingError(
            f"{folder}: expected all parts to end well, got no results of {', '.join(failed)}; {files['markdown']} "
            "says why, and the same command goes on."
        )
    return files


def _settings(plan: PaperPlan) -> dict[str, object]:
    """What was chosen, as the report shows it."""
    chosen = {
        "preset": plan.preset,
        "seeds": list(plan.seeds),
        "downstream_seeds": list(plan.downstream_seeds),
        "generation_seeds": list(plan.generation_seeds),
        "manifest": plan.manifest,
        "pairs_manifest": plan.pairs_manifest,
    }
    options = as_typed([word for name, value in chosen.items() if value for word in (f"--{name}", str(value))])
    return {
        "command": f"python -m monai.bundle run --config_file configs/paper.json {options}",
        "virtual": plan.virtual,
        "preset": plan.preset,
        "training seeds": ", ".join(map(str, plan.seeds)),
        "of the trainings for table 3": ", ".join(map(str, plan.of_anthropometry)),
        "of the trainings for tables 4 and 5": ", ".join(map(str, plan.of_generation)),
        "processes": plan.workers,
    }


def _track(run: TrackedRun, report: Report, files: dict[str, Path]) -> None:
    """Costs and verdicts as numbers, report, tables and figures as artifacts."""
    costs: dict[str, Outcome] = dict(report.parts)
    run.log_metrics({f"minutes/{name}": cost.seconds / 60.0 for name, cost in costs.items()})
    run.log_metrics({f"gigabytes/{name}": cost.peak_bytes / 1e9 for name, cost in costs.items()})
    verdicts = [claim.verdict for claim in report.claims]
    run.log_metrics({f"verdicts/{word}": float(verdicts.count(word)) for word in sorted(set(verdicts))})
    folder = files["html"].parent
    for path in (
        *files.values(),
        *(folder / source for source in sorted({source for table in report.tables for source in table.sources})),
    ):
        run.log_artifact(path)
    for figure in report.figures:
        run.log_artifact(folder / figure.path)


def _tell(report: Report, files: dict[str, Path]) -> None:
    for claim in report.claims:
        print(f"{claim.verdict:>18}  {claim.text}: {claim.ours}" + (f" (paper {claim.paper})" if claim.paper else ""))
    for sentence in report.missing:
        print(f"missing: {sentence}", file=sys.stderr)
    print(f"Report: {files['html']}, {files['markdown']}")
