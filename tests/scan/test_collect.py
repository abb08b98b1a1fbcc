from pathlib import Path

import pytest

from dxa_monai.errors import InputError
from dxa_monai.scan.collect import collect_scans
from dxa_monai.scan.manifest import read_manifest


def test_manifest_and_folder_name_the_same_scans(bar_cohort: Path) -> None:
    by_manifest = {entry["image"]: entry for entry in collect_scans(bar_cohort)}
    by_folder = {entry["image"]: entry for entry in collect_scans(bar_cohort.parent)}
    people = {path: entry.pop("subject_id") for path, entry in by_manifest.items()}
    assert by_manifest == by_folder
    assert len(by_manifest) == 25
    assert people == {row["scan"]: row["subject_id"] for row in read_manifest(bar_cohort)}


def test_single_file(bar_cohort: Path) -> None:
    path = bar_cohort.parent / "scans" / "P00-1.npy"
    assert collect_scans(path) == [{"image": str(path.resolve()), "scan_id": "P00-1", "relative": "P00-1.npy"}]


def test_hidden_and_foreign_files_are_left_out(tmp_path: Path) -> None:
    for name in (".a.npy", "notes.txt", "sub/b.nii.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [entry["relative"] for entry in collect_scans(tmp_path)] == ["sub/b.nii.gz"]


@pytest.mark.parametrize(("name", "message"), [("nothing", "got no such path"), ("", "got none in it")])
def test_nothing_to_read_is_refused(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        collect_scans(tmp_path / name)
