"""Writes the reference curves that come with this package: ``dxa_monai/analysis/data/nhanes_white.csv``.

    python -m scripts.build_reference_curves

The numbers below are those of Kelly, Wilson and Heymsfield, "Dual energy X-ray absorptiometry body composition
reference values from NHANES", PLoS ONE 4(9):e7038, 2009, doi:10.1371/journal.pone.0007038, supplementary tables S1 to
S8, of White adults, every ten years: median M, standard deviation sigma in the measure's unit, and power L. Their
spread over the median is what a file of curves calls ``sigma``. See ``nhanes_white_source.txt`` on how they were read
and checked.
"""

from __future__ import annotations

from pathlib import Path

from dxa_monai.analysis.reference_curves import COLUMNS, NAMED
from dxa_monai.scan.csv_table import write_table

POPULATION = "White adults of the United States, NHANES 1999-2004, Hologic QDR 4500A (Kelly et al. 2009)"
AGES_YEARS = (20, 30, 40, 50, 60, 70, 80)
KELLY_2009: dict[tuple[str, str], str] = {
    ("total_fat_percent", "M"): "23.4/6.68/.221 25.7/6.25/.428 27.5/5.68/.631 29.0/5.30/.831 30.5/5.19/1.028 "
    "31.4/5.11/1.223 31.6/4.88/1.418",
    ("total_fat_percent", "F"): "35.1/7.22/.361 37.0/7.21/.785 38.9/6.96/1.207 40.8/6.46/1.626 42.5/5.86/2.041 "
    "43.0/5.37/2.453 42.5/5.14/2.866",
    ("fat_mass_index_kg_m2", "M"): "5.95/2.59/-.144 6.78/2.77/-.084 7.57/2.89/-.024 8.21/2.91/.037 8.71/2.86/.097 "
    "8.82/2.66/.157 8.46/2.32/.217",
    ("fat_mass_index_kg_m2", "F"): "8.48/3.80/-.310 9.35/3.98/-.188 10.27/4.13/-.064 11.20/4.25/.059 12.03/4.28/.183 "
    "12.02/3.99/.308 11.27/3.47/.433",
    ("fat_free_mass_index_kg_m2", "M"): "18.98/2.50/-1.115 19.60/2.54/-.929 20.04/2.56/-.740 20.15/2.53/-.546 "
    "19.91/2.44/-.348 19.36/2.26/-.148 18.58/2.03/.053",
    ("fat_free_mass_index_kg_m2", "F"): "15.60/2.01/-1.404 16.03/2.18/-1.352 16.30/2.32/-1.299 16.35/2.36/-1.244 "
    "16.21/2.30/-1.188 15.92/2.16/-1.132 15.53/1.98/-1.076",
    ("trunk_limb_fat_ratio", "M"): ".926/.156/.057 1.063/.203/.185 1.183/.241/.312 1.281/.261/.439 1.351/.267/.565 "
    "1.361/.267/.692 1.306/.257/.819",
    ("trunk_limb_fat_ratio", "F"): ".745/.192/.183 .841/.220/.183 .897/.235/.183 .947/.245/.183 .998/.255/.183 "
    "1.011/.256/.183 .976/.247/.183",
    ("total_bmc_g", "M"): "2705/431/-.284 2755/427/-.132 2768/411/.021 2739/402/.174 2673/411/.327 2583/415/.479 "
    "2459/412/.632",
    ("total_bmc_g", "F"): "2124/286/.138 2177/294/.204 2198/306/.271 2150/309/.342 2034/314/.417 1879/316/.495 "
    "1703/306/.574",
}
"""By measure and sex, ``M/sigma/L`` at each of ``AGES_YEARS``, as printed."""


def main() -> None:
    """Write the file."""
    rows = []
    for (measure, sex), printed in KELLY_2009.items():
        for age, numbers in zip(AGES_YEARS, printed.split(), strict=True):
            median, deviation, power = map(float, numbers.split("/"))
            cells = (measure, sex, age, power, median, f"{deviation / median:.6g}", POPULATION)
            rows.append(dict(zip(COLUMNS, cells, strict=True)))
    path: Path = NAMED["nhanes_white"]
    write_table(path, COLUMNS, rows)
    print(f"{len(rows)} rows: {path}")


if __name__ == "__main__":
    main()
