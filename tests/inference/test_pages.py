"""Pages of scans: they hold what the reports hold, need no other file, and take no text for HTML."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest

from dxa_monai.analysis.composition import QUANTITIES as ALL_QUANTITIES
from dxa_monai.analysis.composition import REPORTED_REGIONS
from dxa_monai.analysis.indices import INDICES, body_indices
from dxa_monai.analysis.reference_curves import read_reference
from dxa_monai.errors import InputError
from dxa_monai.inference.body_composition import claim_analysis
from dxa_monai.inference.pages import RUN_PAGE, page_names, scan_page, write_pages
from dxa_monai.inference.report import with_person

PERSON = {"subject_id": "P1", "age_years": 71.0, "sex": "F", "height_cm": 165.0, "mass_kg": 70.0}


def _report(scan_id: str, *flags: tuple[str, bool], **person: Any) -> dict[str, Any]:
    regions = {
        region: {quantity: 1000.0 * place + 10.0 * column + 7.0 for column, quantity in enumerate(ALL_QUANTITIES)}
        for place, region in enumerate(REPORTED_REGIONS, start=1)
    }
    values, missing = body_indices(regions, person)
    return {
        "scan_id": scan_id,
        "scan": f"{scan_id}.npy",
        **person,
        "regions": regions,
        "indices": values,
        "indices_missing": missing,
        "flags": [{"name": name, "sentence": f"It is {name}.", "fatal": fatal} for name, fatal in flags],
        "scanner": {"calibration": "scan", "residual_nepers": 0.0012},
        "zero": {"source": "open air", "air_pixels": 5000},
        "method": "newton",
        "versions": {"dxa_monai": "0"},
    }


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [str(value) for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_page_has_every_number_and_its_picture_inside(tmp_path: Path) -> None:
    matplotlib.image.imsave(tmp_path / "A.png", np.zeros((2, 2, 3)))
    report = _report("A", **PERSON)
    write_pages([report], tmp_path)
    page = _Page((tmp_path / "A.html").read_text())
    assert [link[:22] for link in page.links] == ["data:image/png;base64,"]
    for region, quantities in report["regions"].items():
        assert region.replace("_", " ") in page.text
        assert f"{quantities['fat_g']:.0f}" in page.text
        assert f"{quantities['bmd_g_cm2']:.3f}" in page.text
    assert f"{report['indices']['fat_mass_index_kg_m2']:.2f}" in page.text
    assert "doi:10.1093/ageing/afy169" in page.text
    assert "age (years): 71.0" in re.sub(r"\s+", " ", page.text)
    assert "not a medical device" in page.text
    assert "dashed: android A, gynoid G, lumbar spine L" in page.text


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
@pytest.mark.parametrize("paper", ["A4", "Letter"])
def test_the_picture_is_on_the_first_printed_page_and_all_takes_three(tmp_path: Path, paper: str) -> None:
    matplotlib.image.imsave(tmp_path / "A.png", np.zeros((935, 690, 3)))
    write_pages([_report("A", ("no_phantom", False), **PERSON)], tmp_path)
    page = tmp_path / "A.html"
    page.write_text(page.read_text().replace("<style>", f"<style>@page {{ size: {paper}; }}", 1))
    command = [
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--print-to-pdf={tmp_path / 'A.pdf'}",
        page.as_uri(),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    pages = re.findall(rb"<</Type /Page\n.*?>>\nendobj", (tmp_path / "A.pdf").read_bytes(), re.DOTALL)
    assert 1 <= len(pages) <= 3
    assert b"/XObject" in pages[0]  # the picture: nothing else is drawn on the first page


def test_what_is_not_known_is_left_empty_with_its_reason(tmp_path: Path) -> None:
    page = _Page(scan_page(_report("A"), tmp_path / "none.png"))
    assert page.links == []
    assert page.text.count("left empty: height_cm is not known") == sum(
        "height_cm" in i.needs for i in INDICES.values()
    )
    assert "Nothing is known of the person." in page.text


def test_a_reference_puts_the_person_on_its_curves(tmp_path: Path) -> None:
    reference = read_reference("nhanes_white")
    row = {"scan_id": "A", "scan": "A.npy", **PERSON}
    report = with_person(_report("A", **PERSON), row, reference)
    write_pages([report], tmp_path, reference)
    page = _Page((tmp_path / "A.html").read_text())
    assert [link[:22] for link in page.links] == ["data:image/png;base64,"]
    assert "White adults of the United States" in page.text
    standing = report["reference"]["standings"]["total_bmc_g"]
    assert f"{standing['z']:+.2f}" in page.text
    child = with_person(report, row | {"age_years": 9.0}, reference)
    write_pages([child], tmp_path, reference)
    page = _Page((tmp_path / "A.html").read_text())
    assert page.links == []
    assert "left empty: the reference is of ages from 20 to 80, got 9 years" in page.text


def test_a_scan_without_numbers_says_why(tmp_path: Path) -> None:
    refused = _report("A", ("empty_scan", True)) | {"regions": {}}
    write_pages([refused], tmp_path)
    assert "It is empty_scan." in (tmp_path / "A.html").read_text()
    assert "By region" not in (tmp_path / "A.html").read_text()
    assert "empty_scan" in (tmp_path / RUN_PAGE).read_text()


def test_flagged_scans_stand_first_and_every_link_leads_to_a_page(tmp_path: Path) -> None:
    names = ["B", "A", "D e%f", "C"]
    flags: list[tuple[tuple[str, bool], ...]] = [(), (), (("metal", False),), (("empty_scan", True),)]
    write_pages([_report(name, *of) for name, of in zip(names, flags, strict=True)], tmp_path)
    page = _Page((tmp_path / RUN_PAGE).read_text())
    assert page.links == ["C.html", "D%20e%25f.html", "A.html", "B.html"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(page_names(names))


def test_ids_and_sentences_that_are_html_stay_text(tmp_path: Path) -> None:
    wicked = "<script>alert(1)</script>"
    report = _report("A", (wicked, False), **PERSON | {"subject_id": wicked, "sex": wicked})
    for text in (scan_page(report, tmp_path / "none.png"), write_pages([report], tmp_path).read_text()):
        assert wicked not in text
        assert wicked in _Page(text.replace("<script>\nfor", "\nfor").replace("</script>\n</body>", "</body>")).text


def test_no_scan_can_have_the_name_of_the_page_of_all(tmp_path: Path) -> None:
    rows = [{"scan_id": "scans", "scan": "scans.npy"}]
    with pytest.raises(InputError, match=r"scans\.html: expected a file of its own for every output"):
        claim_analysis(tmp_path, rows, False, also=page_names(["scans"]))
