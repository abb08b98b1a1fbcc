import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dxa_monai.errors import InputError
from dxa_monai.files import atomic_path, output_folder, path_inside, remove_partial


def test_file_appears_whole_and_alone(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a.nii.gz") as temporary:
        assert temporary.name.endswith(".nii.gz")
        temporary.write_text("new")
        assert not (tmp_path / "a.nii.gz").exists()
    assert (tmp_path / "a.nii.gz").read_text() == "new"
    assert os.listdir(tmp_path) == ["a.nii.gz"]


def test_failure_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("old")

    def write_half() -> None:
        with atomic_path(tmp_path / "a.csv") as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert (tmp_path / "a.csv").read_text() == "old"
    assert os.listdir(tmp_path) == ["a.csv"]


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    kept = {"a.partial.npy", ".hidden", ".a.partial.npy", "below"}
    for name in kept - {"below"}:
        (tmp_path / name).touch()
    for name in ("a.nii.gz", "b.npy", "c", "d.e-f (1).json"):
        with atomic_path(tmp_path / name) as temporary:
            (tmp_path / "below" / temporary.name).touch()
            os.link(temporary, tmp_path / "link")
            left = temporary.name
        (tmp_path / "link").rename(tmp_path / left)
        (tmp_path / name).unlink()
    assert len(os.listdir(tmp_path)) == len(kept) + 4
    remove_partial(tmp_path)
    assert set(os.listdir(tmp_path)) == kept
    assert len(os.listdir(tmp_path / "below")) == 4


def test_new_file_has_the_permissions_of_any_other(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    with atomic_path(tmp_path / "a.txt") as temporary:
        temporary.touch()
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize(
    "name",
    [
        b"x" * 251 + b".npy",
        b"a." + b"y" * 250,
        b"caf\xe9.npy",
        b"new\nline.npy",
        b"$a$b${c.npy",
        "\u5c71".encode() * 80,
        b"-x",
    ],
)
def test_any_name_that_a_file_can_have_can_be_written_and_tidied_up(name: bytes, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(name)
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        os.link(temporary, tmp_path / "link")
        left = temporary.name
    assert path.read_text() == "new"
    (tmp_path / "link").rename(tmp_path / left)
    remove_partial(tmp_path)
    assert os.listdir(os.fsencode(tmp_path)) == [name]


@pytest.mark.parametrize(("name", "told"), [("x" * 256, "File name too long"), ("a\0b", "null")])
def test_names_that_no_file_can_have_are_told(name: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=told), atomic_path(tmp_path / name) as temporary:
        temporary.touch()
    with pytest.raises(InputError, match=told):
        output_folder(tmp_path / name)
    assert os.listdir(tmp_path) == []


def _refuse(number: int | None) -> Callable[..., None]:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("300 requested and 100 written") if number is None else OSError(number, os.strerror(number))

    return refuse


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES])
def test_a_disk_without_permissions_is_written_all_the_same(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "chmod", _refuse(number))
    monkeypatch.setattr(os, "fsync", _refuse(errno.EINVAL))
    with atomic_path(tmp_path / "a.csv") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "a.csv").read_text() == "new"


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (None, "expected room to write it, got '300 requested and 100 written'"),
        (errno.ENOSPC, "expected room to write it, got 'No space left on device'"),
        (errno.EIO, "expected to write it, got 'Input/output error'"),
        (errno.EROFS, "expected to write it, got 'Read-only file system'"),
        (errno.EMFILE, "expected to write it, got 'Too many open files'"),
    ],
)
@pytest.mark.parametrize("step", ["fsync", "replace", "open"])
def test_what_the_disk_does_not_take_is_told_and_the_old_file_is_there(
    step: str, number: int | None, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.csv").write_text("old")
    with monkeypatch.context() as patched:
        patched.setattr(os, step, _refuse(number))
        with pytest.raises(InputError, match=told), atomic_path(tmp_path / "a.csv") as temporary:
            temporary.write_text("new")
    assert (tmp_path / "a.csv").read_text() == "old"
    assert os.listdir(tmp_path) == ["a.csv"]


def test_output_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    assert output_folder(tmp_path / "a" / "b").is_dir()


def test_output_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(InputError, match=r"a: expected a folder that can be written to, got 'File exists'"):
        output_folder(tmp_path / "a")


@pytest.mark.parametrize("path", ["../b", "/etc/passwd", "a/../../b", "link/b"])
def test_path_that_leaves_its_folder_is_refused(tmp_path: Path, path: str) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    with pytest.raises(InputError, match="expected a path inside"):
        path_inside(folder, path)


def test_path_inside_is_resolved(tmp_path: Path) -> None:
    assert path_inside(tmp_path, "a/../b.npy") == tmp_path.resolve() / "b.npy"
