from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.mesh.io import BodyMesh
from dxa_monai.phantom.body.mesh import write_ply
from dxa_monai.phantom.body.model import BodyModel
from dxa_monai.runs import ownership
from dxa_monai.transforms import point_clouds
from dxa_monai.transforms.mesh_points import LoadMeshPointsd
from dxa_monai.transforms.point_clouds import (
    PointSubsetd,
    as_points_datalist,
    draw_point_clouds,
    load_points,
)
from tests.bodies import coarse
from tests.runs.test_ownership import owned_by_another_process


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Two people; the first has two scans."""
    folder = tmp_path_factory.mktemp("meshes")
    model = BodyModel()
    body = model.t_pose(model.solve("F", 30, 168.0, 60.0)).vertices_m
    found = []
    for scan_id, person, scale in (("a-1", "a", 1.0), ("a-2", "a", 1.0), ("b-1", "b", 1.05)):
        path = folder / f"{person}.ply"
        mesh = coarse(BodyMesh(body * scale, model.faces))
        write_ply(path, mesh.vertices_m, mesh.faces)
        found.append({"subject_id": person, "scan_id": scan_id, "scan": f"{scan_id}.npy", "mesh": str(path)})
    return found


def test_points_are_those_of_the_mesh_and_its_scans_share_them(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    drawn = draw_point_clouds(rows, tmp_path / "points", {"unit": "m"}, count=500)
    assert drawn[0]["points"] == drawn[1]["points"] != drawn[2]["points"]
    assert len(list((tmp_path / "points").glob("*.npy"))) == 2
    expected = LoadMeshPointsd("points", count=500, unit="m")({"points": rows[0]["mesh"]})["points"]
    torch.testing.assert_close(load_points(drawn[0], 500), torch.as_tensor(expected), rtol=0, atol=0)
    assert drawn[0] | {"points": 0} == rows[0] | {"points": 0}
    assert as_points_datalist(drawn)[2] == {
        "image": drawn[2]["points"],
        "label": "b-1.npy",
        "scan_id": "b-1",
        "subject_id": "b",
    }


def test_files_are_kept_until_mesh_or_settings_change(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    first = Path(draw_point_clouds(rows[:1], tmp_path, {"unit": "m"}, count=50)[0]["points"])
    written = first.stat().st_mtime_ns
    assert Path(draw_point_clouds(rows[:1], tmp_path, {"unit": "m"}, count=50)[0]["points"]) == first
    assert first.stat().st_mtime_ns == written
    other = draw_point_clouds(rows[:1], tmp_path, {"unit": "m", "seed": 1}, count=50)[0]["points"]
    assert not np.array_equal(np.load(other), np.load(first))


def _left_by_a_killed_command(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    left = folder / ".a-0123.abcdefgh.partial.npy"
    left.write_bytes(b"half of it")
    return left


def test_what_a_killed_command_left_is_deleted_whether_or_not_points_are_to_be_drawn(
    rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    for _ in range(2):
        left = _left_by_a_killed_command(tmp_path / "points")
        draw_point_clouds(rows[:1], tmp_path / "points", {"unit": "m"}, count=50)
        assert not left.exists()


def test_a_command_waits_for_another_one_that_draws_and_takes_what_it_drew(
    rows: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (drawn,) = draw_point_clouds(rows[:1], tmp_path / "elsewhere", {"unit": "m"}, count=50)
    folder = tmp_path / "points"
    monkeypatch.setattr(ownership, "_SILENT_S", 0.1)
    monkeypatch.setattr(point_clouds, "_draw_one", None)
    with owned_by_another_process(folder) as other, ThreadPoolExecutor(1) as thread:
        left = _left_by_a_killed_command(folder)
        found = thread.submit(draw_point_clouds, rows[:1], folder, {"unit": "m"}, count=50)
        while not caplog.records:
            assert not found.done()
        assert f"{folder}: waits for this folder, which process {other.pid}" in caplog.text
        assert left.exists()
        shutil.copy(drawn["points"], folder)
        other.kill()
        assert found.result()[0]["points"] == str(folder / Path(drawn["points"]).name)


def test_points_that_are_all_there_are_taken_from_a_folder_in_which_another_command_draws(
    rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    first = draw_point_clouds(rows[:1], tmp_path, {"unit": "m"}, count=50)
    with owned_by_another_process(tmp_path):
        left = _left_by_a_killed_command(tmp_path)
        assert draw_point_clouds(rows[:1], tmp_path, {"unit": "m"}, count=50) == first
        assert left.exists()


def test_a_row_without_a_mesh_and_a_bad_mesh_are_told_in_a_sentence(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    without = [rows[0], {name: value for name, value in rows[2].items() if name != "mesh"}]
    with pytest.raises(InputError, match=r"column mesh for every scan, got none for scan 'b-1' \(1 of 2"):
        draw_point_clouds(without, tmp_path / "points")
    (tmp_path / "bad.ply").write_text("ply\n")
    with pytest.raises(InputError, match=r"bad\.ply"):
        draw_point_clouds([rows[0] | {"mesh": str(tmp_path / "bad.ply")}], tmp_path / "points")
    with pytest.raises(InputError, match="noise_mm"):
        draw_point_clouds(rows, tmp_path / "points", {"noise_mm": -1})


def test_subset_is_random_where_asked_for_and_the_first_points_otherwise() -> None:
    cloud = torch.arange(140.0).reshape(7, 20)
    first = PointSubsetd("points", 5)({"points": cloud})["points"]
    torch.testing.assert_close(first[:6], cloud[:6, :5])
    torch.testing.assert_close(first[6].sum(), cloud[6].sum())  # five stand for the area of twenty
    torch.testing.assert_close(first[6] / first[6, 0], cloud[6, :5] / cloud[6, 0])
    chooser = PointSubsetd("points", 5, resample=True)
    chooser.set_random_state(0)
    draws = [chooser({"points": cloud})["points"] for _ in range(2)]
    assert not torch.equal(*draws)
    for draw in draws:
        assert len(set(draw[0].tolist())) == 5
        torch.testing.assert_close(draw[1] - draw[0], torch.full((5,), 20.0))
    chooser.set_random_state(0)
    torch.testing.assert_close(chooser({"points": cloud})["points"], draws[0])
    with pytest.raises(InputError, match="at most the 20 points"):
        PointSubsetd("points", 21)({"points": cloud})
    with pytest.raises(InputError, match="at least one"):
        PointSubsetd("points", 0)
