"""Writes ``samples/``: one virtual person as a raw scan, as a mesh, and in numbers, to try every bundle on.

    python -m scripts.build_samples

The person is in no cohort that released networks were trained on (those are of the seeds 0 and 1).
"""

from __future__ import annotations

from pathlib import Path

from dxa_monai.bundling.release import REPOSITORY
from dxa_monai.files import atomic_path, output_folder
from dxa_monai.phantom.body.mesh import write_ply
from dxa_monai.phantom.simulate import Simulator
from dxa_monai.scan.csv_table import write_table
from dxa_monai.scan.io import RawScan, save_scan
from dxa_monai.scan.measures import PAPER_MEASURES, measure_label

SAMPLES = REPOSITORY / "samples"
INDEX, SEED = 4, 2026
_TOTALS = ("total_fat_g", "total_lean_g", "total_bmc_g", "total_bmd_g_cm2", "total_fat_percent", "total_mass_g")


def main(folder: Path = SAMPLES) -> None:
    """Simulate and write."""
    simulator = Simulator()
    record = simulator.simulate_person(INDEX, SEED)
    person, visit = record.person, record.visits[0]
    output_folder(folder)
    with atomic_path(folder / "scan.npz") as temporary:
        save_scan(RawScan(visit.counts, visit.frame.pixel_spacing_mm), temporary)
    with atomic_path(folder / "body.ply") as temporary:
        write_ply(temporary, record.vertices_m, simulator.model.faces)
    known = {
        "subject_id": "SAMPLE",
        "scan": "scan.npz",
        "mesh": "body.ply",
        "age_years": round(person.age_years, 1),
        "sex": person.sex,
        "height_cm": round(person.height_cm, 1),
        "mass_kg": round(visit.totals["total_mass_g"] / 1000.0, 1),
    }
    write_table(folder / "manifest.csv", list(known), [known])
    rows = [(measure_label(name), _shown(visit.totals[name])) for name in _TOTALS]
    rows += [(measure_label(name), _shown(record.anthropometry[name])) for name in PAPER_MEASURES]
    who = f"{'woman' if person.sex == 'F' else 'man'} of {person.age_years:.0f} years, {person.height_cm:.0f} cm"
    table = "\n".join(f"| {label} | {value} |" for label, value in rows)
    (folder / "README.md").write_text(_PAGE.format(who=who, index=INDEX, seed=SEED, table=table), encoding="utf-8")
    print(f"{who}: {folder}")


def _shown(value: float) -> str:
    """Four digits, without an exponent."""
    return f"{float(f'{value:.4g}'):g}"


_PAGE = """\
# A virtual person to try things on

A {who}: simulated, nobody's scan (Apache-2.0, like all of this project). `scan.npz` is the raw scan, `body.ply` the
same person's 3D body scan in metres, `manifest.csv` names both and what is known of the person (number {index} of seed
{seed}; released networks were trained on others). In the folder of a downloaded bundle, for example of
`dxa_body_composition`:

```bash
python -m monai.bundle run --config_file configs/inference.json --input samples/manifest.csv --output_dir results
```

`dxa_vae` and `dxa_anthropometry` take the same, `pseudo_dxa` takes `samples/body.ply`. In the repository configs lie in
`bundles/NAME/configs/`. The truth, beside which results can be held; the analysis flags `no_phantom`, since a person's
own scan calibrates no scanner as a step phantom does:

| truth | |
|---|---|
{table}

Made by `python -m scripts.build_samples`.
"""


if __name__ == "__main__":
    main()
