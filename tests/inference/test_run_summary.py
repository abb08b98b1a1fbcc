from pathlib import Path

import pytest

from dxa_monai.errors import InputError
from dxa_monai.inference.run_summary import tell_unused_files

ROWS = [{"scan_id": "a"}, {"scan_id": "b"}]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["a.json"], []),
        (["a.json", "z.json"], ["1 files of points are of no scan of this run and are not used: z.json"]),
        ([], ["no points of a scan of this run (SCANID.json) are there"]),
        (
            ["z.json"],
            [
                "no points of a scan of this run (SCANID.json) are there",
                "1 files of points are of no scan of this run and are not used: z.json",
            ],
        ),
    ],
)
def test_a_folder_of_the_wrong_files_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], names: list[str], told: list[str]
) -> None:
    for name in names:
        (tmp_path / name).write_text("{}")
    tell_unused_files(ROWS, tmp_path, "points")
    assert capsys.readouterr().out.splitlines() == [f"{tmp_path}: {each}" for each in told]


def test_a_name_in_other_capitals_is_refused(tmp_path: Path) -> None:
    (tmp_path / "A.JSON").write_text("{}")
    with pytest.raises(InputError, match=r"expected points named a\.json, got A\.JSON"):
        tell_unused_files(ROWS, tmp_path, "points")
