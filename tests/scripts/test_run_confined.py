"""Bundles that try to get out of where the script keeps them: all in one run, each attempt with what came of it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dxa_monai.bundling.release import REPOSITORY

SCRIPT = REPOSITORY / "scripts" / "run_confined.sh"

ESCAPES = '''
import ctypes, json, os, pathlib, signal, socket, subprocess
home, port, parent, handle, name = json.loads(pathlib.Path("/input/told.json").read_text())
libc = ctypes.CDLL(None, use_errno=True)

def system(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

def abstract():
    with socket.socket(socket.AF_UNIX) as one:
        one.connect("\\0" + name)

def settings():
    """Only opened: this may run where nothing keeps it from writing."""
    found = []
    for place, folders, names in os.walk("/proc"):
        folders[:] = [each for each in folders if not each.isdigit() and each not in ("self", "thread-self", "net")]
        for name in names:
            try:
                os.close(os.open(os.path.join(place, name), os.O_WRONLY | os.O_NONBLOCK))
                found.append(os.path.join(place, name))
            except OSError:
                pass
    if not found:
        raise PermissionError
    return found

attempts = {
    "read a file of the user": lambda: pathlib.Path(home, "secret").read_text(),
    "list the user's folder": lambda: os.listdir(home),
    "write beside the output": lambda: pathlib.Path(home, "escaped").write_text("x"),
    "write into the bundle": lambda: pathlib.Path("/bundle/x").write_text("x"),
    "change the input": lambda: pathlib.Path("/input/told.json").write_text("x"),
    "remove the input": lambda: os.unlink("/input/told.json"),
    "change the package": lambda: pathlib.Path("/checkout/dxa_monai/__init__.py").write_text("x"),
    "change Python": lambda: pathlib.Path(os.__file__).write_text("x"),
    "make the bundle writable": lambda: system(libc.mount(None, b"/bundle", None, 32 | 4096, None)),
    "mount": lambda: system(libc.mount(b"none", b"/output", b"tmpfs", 0, None)),
    "namespaces of its own": lambda: system(libc.unshare(0x10000000)),
    "another root": lambda: os.chroot("/output"),
    "connect to this machine": lambda: socket.create_connection(("127.0.0.1", port), 2),
    "connect to the outside": lambda: socket.create_connection(("192.0.2.1", 80), 2),
    "connect to an abstract socket": abstract,
    "end a process of the user": lambda: os.kill(parent, signal.SIGKILL),
    "see a process of the user": lambda: os.stat(f"/proc/{parent}/root/") and os.listdir(f"/proc/{parent}/cwd"),
    "use a folder left open": lambda: os.listdir(handle),
    "a secret of the environment": lambda: os.environ["SECRET_TOKEN"],
    "disks": lambda: [each for each in os.listdir("/dev") if each.startswith(("sd", "vd", "nvme"))][0],
    "settings of the kernel": settings,
    "a command of another user": lambda: subprocess.run(["su", "-c", "true"], check=True, timeout=5),
}
found = {}
for what, attempt in attempts.items():
    try:
        found[what] = f"done: {attempt()!r}"
    except BaseException as error:
        found[what] = f"no: {type(error).__name__}"
found["read the input"] = pathlib.Path("/input/told.json").read_text()[:1]
pathlib.Path("/output/found.json").write_text(json.dumps(found))
print("\\x1b[2J\\x07 told")
if not subprocess.Popen(["sleep", "300"]).poll():
    pathlib.Path("/output/left").write_text("a process goes on")
'''


@pytest.fixture(scope="module", autouse=True)
def bubblewrap() -> None:
    """Skip where bubblewrap is missing, too old, or not allowed to make namespaces."""
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    tried = [
        *[
            "bwrap",
            "--unshare-user",
            "--unshare-all",
            "--disable-userns",
            "--ro-bind",
            "/",
            "/",
            "--proc",
            "/proc",
            "true",
        ]
    ]
    result = subprocess.run(tried, capture_output=True, text=True, check=False)
    if result.returncode:
        pytest.skip(f"bubblewrap makes no namespaces here: {result.stderr.strip()}")


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for name in ("bundle", "input", "output"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def _run(folders: Path, *arguments: str, output: str = "output", **options: object) -> subprocess.CompletedProcess[str]:
    command = [str(SCRIPT), str(folders / "bundle"), str(folders / "input"), str(folders / output), *arguments]
    environment = os.environ | {"PYTHON": sys.executable, "SECRET_TOKEN": "secret", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload,no-any-return]


def test_a_config_that_runs_what_it_likes_does_not_get_out(folders: Path, listener: socket.socket) -> None:
    (folders / "secret").write_text("secret")
    (folders / "bundle" / "escape.py").write_text(ESCAPES)
    (folders / "bundle" / "train.json").write_text(json.dumps({"initialize": ["$import escape"], "run": ["$1"]}))
    abstract = f"dxa-monai-test-{os.getpid()}"
    handle = os.open(folders, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind("\0" + abstract)
        unix.listen()
        told = [str(folders), listener.getsockname()[1], os.getpid(), handle, abstract]
        (folders / "input" / "told.json").write_text(json.dumps(told))
        before = {path: path.read_bytes() for path in folders.rglob("*") if path.is_file()}
        run = ("-m", "monai.bundle", "run", "--config_file", "train.json")
        result = _run(folders, *run, pass_fds=[handle], timeout=200)
    os.close(handle)
    assert result.returncode == 0, result.stdout[-3000:]
    found = json.loads((folders / "output" / "found.json").read_text())
    assert found.pop("read the input") == "["
    assert len(found) == 22
    assert {what: came for what, came in found.items() if not came.startswith("no: ")} == {}
    after = {path: path.read_bytes() for path in folders.rglob("*") if path.is_file()}
    written = {path.name for path in set(after).difference(before)}
    assert written == {"found.json", "left"}
    assert {path: after.get(path) for path in before} == before
    # nothing of it goes on, and what it prints is text
    assert not [each for each in Path("/proc").glob("[0-9]*/cwd") if _is_below(each, folders)]
    assert "[2J told" in result.stdout
    assert "\x1b" not in result.stdout


def _is_below(link: Path, folder: Path) -> bool:
    try:
        return Path(os.readlink(link)).is_relative_to(folder)
    except OSError:
        return False


def test_a_released_bundle_works_there(folders: Path) -> None:
    configs = REPOSITORY / "bundles" / "dxa_body_composition" / "configs"
    shutil.copytree(configs, folders / "bundle" / "configs")
    ask = ["--config_file", "configs/inference.json", "--input", "/input", "--output_dir", "/output"]
    result = _run(folders, "-m", "monai.bundle", "run", *ask)
    assert result.returncode == 1
    assert "error: /input: expected" in result.stdout


def test_links_and_special_files_in_the_output_are_told(folders: Path) -> None:
    result = _run(folders, "-c", "import os; os.symlink('/etc/passwd', '/output/table.csv')")
    assert result.returncode == 1
    assert "table.csv: expected plain files, got a link" in result.stderr


def test_the_exit_code_is_that_of_the_command(folders: Path) -> None:
    assert _run(folders, "-c", "raise SystemExit(7)").returncode == 7


def test_folders_that_would_give_more_away_are_refused(folders: Path) -> None:
    (folders / "output" / "mine.csv").touch()
    assert "expected an empty folder" in _run(folders, "-c", "").stderr
    (folders / "input" / "output").mkdir()
    assert "expected a folder apart" in _run(folders, "-c", "", output="input/output").stderr
    assert "expected a folder, got none" in _run(folders, "-c", "", output="gone").stderr
