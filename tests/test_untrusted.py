"""Configs from elsewhere: what could run code of its own is refused, and nothing runs while they are read."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dxa_monai.bundling.release import REPOSITORY
from dxa_monai.errors import InputError
from dxa_monai.untrusted import check_bundle, check_config

CONFIGS = sorted(REPOSITORY.glob("bundles/*/configs/*.json"))

HOSTILE: dict[str, Any] = {
    "target": {"x": {"_target_": "os.system", "command": "touch SENTINEL"}},
    "target of subprocess": {"x": {"_target_": "subprocess.run", "args": ["touch", "SENTINEL"]}},
    "target in a list": {"x": [1, {"y": {"_target_": "builtins.eval", "_args_": ["1"]}}]},
    "target by a private name": {"x": {"_target_": "monai.data._os.system", "command": "touch SENTINEL"}},
    "target through a reference": {"x": {"_target_": "$'os.system'"}},
    "target that imports": {"x": {"_target_": "optional_import", "module": "os"}},
    "target that is a lambda": {"x": {"_target_": "Lambda", "func": "$abs"}},
    "target of a script": {"x": {"_target_": "monai.bundle.scripts.run"}},
    "import": {"imports": ["$import os"], "x": "$os.system('touch SENTINEL')"},
    "import of another": {"imports": ["$import shutil"]},
    "import from": {"imports": ["$from subprocess import run"], "x": "$run(['touch', 'SENTINEL'])"},
    "import of all": {"imports": ["$from dxa_monai.files import *"]},
    "import under a known name": {"imports": ["$import subprocess as torch"], "x": "$torch.run('touch SENTINEL')"},
    "relative import": {"imports": ["$from . import x"]},
    "dunder import": {"x": "$__import__('os').system('touch SENTINEL')"},
    "open": {"x": "$open('SENTINEL', 'w')"},
    "eval": {"x": "$eval('1')"},
    "class of an object": {"x": "$().__class__.__bases__[0].__subclasses__()"},
    "getattr": {"x": "$getattr(@y, '__class__')", "y": 1},
    "attribute by format": {"x": "$'{0.__class__}'.format(@y)", "y": 1},
    "path": {"imports": ["$import pathlib"], "x": "$pathlib.Path('SENTINEL').touch()"},
    "os of pathlib": {"imports": ["$import pathlib"], "x": "$pathlib.os.system('touch SENTINEL')"},
    "torch.load": {"imports": ["$import torch"], "x": "$torch.load('SENTINEL', weights_only=False)"},
    "hub": {"imports": ["$import torch"], "x": "$torch.hub.load('a/b', 'c')"},
    "lambda": {"x": "$(lambda: 1)()"},
    "call of what a list holds": {"x": "$[abs][0](1)"},
    "f-string": {"x": "$f'{@y}'", "y": 1},
    "assignment": {"x": "$(y := 1)"},
    "statement": {"x": "$del y"},
    "macro": {"x": "%/etc/hostname"},
    "target that a trusted module imported": {"x": {"_target_": "dxa_monai.runs.provenance.subprocess.run"}},
    "target of pickle": {"x": {"_target_": "monai.data.utils.pickle.loads", "data": "abc"}},
    "target through an object's module": {"x": {"_target_": "torch.optim.lr_scheduler.types.FunctionType"}},
    "import of what a module imported": {"imports": ["$from dxa_monai.runs.state_files import shutil"]},
    "import of a function that a module imported": {"imports": ["$from dxa_monai.runs.folder import os"]},
    "attribute of an imported module": {
        "imports": ["$import dxa_monai.runs.provenance as p"],
        "x": "$p.subprocess.run(['touch', 'SENTINEL'])",
    },
    "attribute below torch": {"imports": ["$import torch"], "x": "$torch.optim.lr_scheduler.warnings.warn('a')"},
    "reader that is looked up": {"x": {"_target_": "LoadImaged", "keys": "a", "reader": "os.system", "command": "ls"}},
    "reader in a list": {"x": {"_target_": "LoadImage", "reader": ["NumpyReader", "os.abort"]}},
    "reader by another name": {"x": {"_target_": "LoadImage", "reader": "@other"}, "other": "os.abort"},
    "reader by its own name": {"x": {"_target_": "LoadImage", "reader": "@reader"}, "reader": "os.abort"},
    "reader in an expression": {"imports": ["$from monai.transforms import LoadImage"], "x": "$LoadImage('os.abort')"},
    "writer that is looked up": {"x": {"_target_": "SaveImage", "writer": "os.abort"}},
    "target that is not called": {"x": {"_target_": "LoadImage", "_mode_": "callable"}, "y": "$@x('os.abort')"},
    "pickles in arrays": {"x": {"_target_": "LoadImage", "reader": "NumpyReader", "allow_pickle": True}},
    "pickles in a cache": {"x": {"_target_": "PersistentDataset", "data": [], "cache_dir": "."}},
    "repository of another": {"x": {"_target_": "PerceptualLoss", "spatial_dims": 2}},
    "cluster of another": {"imports": ["$from dxa_monai.parallel.cluster import run_on_cluster"]},
    "frame of a generator": {"x": "$sorted(['1'], key=(i for i in [1]).gi_frame.f_builtins.get('eval'))"},
    "debugger": {"x": {"_target_": "torch.nn.ReLU", "_mode_": "debug"}},
}


def _write(config: Any, folder: Path) -> Path:
    path = folder / "configs" / "train.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(config).replace("SENTINEL", str(folder / "sentinel")))
    return path


@pytest.mark.parametrize("name", HOSTILE)
def test_what_could_run_code_is_refused_with_its_place(name: str, tmp_path: Path) -> None:
    path = _write(HOSTILE[name], tmp_path)
    with pytest.raises(InputError, match=r"train\.json: expected nothing at '.+' that could run code of its own, got "):
        check_bundle(tmp_path)
    assert not (tmp_path / "sentinel").exists()
    assert path.exists()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parents[1].name}-{path.name}")
def test_the_project_s_own_configs_pass(path: Path) -> None:
    check_config(path)


def test_harmless_configs_pass(tmp_path: Path) -> None:
    _write(
        {
            "imports": ["$import torch", "$from monai.utils import set_determinism"],
            "size": "$max(2 * @number, 3) if @number > 1 else len([i for i in range(4)])",
            "number": 3,
            "net": {"_target_": "UNet", "spatial_dims": 2, "device": "$torch.device('cpu')"},
            "layer": {"_target_": "torch.nn.Linear", "in_features": "@size", "out_features": 1},
        },
        tmp_path,
    )
    assert len(check_bundle(tmp_path)) == 1


@pytest.mark.parametrize("name", ["more.py", "x.pth", "data.so"])
def test_code_and_links_beside_the_configs_are_refused(name: str, tmp_path: Path) -> None:
    _write({}, tmp_path)
    (tmp_path / name).write_text("")
    with pytest.raises(InputError, match="expected configs and data alone, got code"):
        check_bundle(tmp_path)
    (tmp_path / name).unlink()
    (tmp_path / "data").symlink_to("/etc")
    with pytest.raises(InputError, match="got a link"):
        check_bundle(tmp_path)


def test_broken_configs_and_no_configs_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a bundle with configs, got none"):
        check_bundle(tmp_path)
    _write({}, tmp_path).write_text("[" * 100_000)
    with pytest.raises(InputError, match="expected JSON or YAML"):
        check_bundle(tmp_path)


def test_the_command_exits_with_one_and_a_sentence(tmp_path: Path) -> None:
    _write(HOSTILE["target"], tmp_path)
    command = [sys.executable, "-m", "dxa_monai.untrusted", str(tmp_path)]
    refused = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"error: {tmp_path}/configs/train.json: expected nothing at 'x#_target_'")
    assert len(refused.stderr.splitlines()) == 1
