"""Ids that a config has, and those that it has not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dxa_monai.bundling.known_ids import refuse_unknown_ids
from dxa_monai.errors import InputError

CONFIG = {"output_dir": "", "number": 1, "mesh": {"unit": "m", "repair": False}, "train": {"dataset": {}}}


def test_an_argument_that_what_is_called_does_not_have_is_refused(tmp_path: Path) -> None:
    components = {
        "term": {"_target_": "dxa_monai.losses.weighted.Term", "loss": {"_target_": "torch.nn.L1Loss"}},
        "any": {"_target_": "builtins.dict"},
        "short": {"_target_": "SSIMMetric", "spatial_dims": 2},
        "missing": {"_target_": "no_such_package.thing"},
    }
    (tmp_path / "train.json").write_text(json.dumps(CONFIG | components))
    files = [str(tmp_path / "train.json")]
    known = ["term#weight", "term#loss#reduction", "term#_disabled_", "any#thing", "short#data_range", "missing#thing"]
    refuse_unknown_ids(files, known)
    with pytest.raises(InputError, match=r"term#wieght: expected an argument of .*Term \(loss, weight, .*\), got"):
        refuse_unknown_ids(files, ["term#wieght"])
    for name in ("term#loss#reducton", "short#dta_range"):
        with pytest.raises(InputError, match=f"{name}: expected an argument of"):
            refuse_unknown_ids(files, [name])


def test_a_setting_that_the_config_does_not_have_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text(json.dumps(CONFIG | {"loss": {"weight": 1}}))
    files = [str(tmp_path / "train.json")]
    refuse_unknown_ids(files, ["number", "loss#weight", "loss#new"])
    with pytest.raises(InputError, match=r"numbr: expected a setting of .*train\.json, got a name that is not there"):
        refuse_unknown_ids(files, ["numbr"])
    with pytest.raises(InputError, match="los#weight"):
        refuse_unknown_ids(files, ["los#weight"])


@pytest.mark.parametrize("name", ["perceptual_loss#calibrated_weight", "perceptual_arm"])
def test_a_setting_of_an_earlier_version_is_told_with_what_replaced_it(name: str, tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text(json.dumps(CONFIG))
    with pytest.raises(InputError, match=r"(a term|an overlay).* in its place since 0\.5\.0"):
        refuse_unknown_ids([str(tmp_path / "train.json")], [name])


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("output_dri", "did you mean output_dir?"),
        ("mesh#repiar", "did you mean mesh#repair?"),
        ("mseh#repair", "did you mean mesh?"),
        ("train#datset", "did you mean train#dataset?"),
        ("nothing_like_it", "--explain True lists all."),
    ],
)
def test_the_nearest_known_name_is_told(name: str, meant: str, tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text(json.dumps(CONFIG))
    with pytest.raises(InputError) as told:
        refuse_unknown_ids([str(tmp_path / "train.json")], [name])
    assert str(told.value).startswith(f"{name}: expected a setting of {tmp_path / 'train.json'}, got a name that is")
    assert str(told.value).endswith(meant)
