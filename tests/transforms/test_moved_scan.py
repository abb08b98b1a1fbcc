from __future__ import annotations

import torch

from dxa_monai.metrics.rigid_alignment import align_rigidly
from dxa_monai.transforms.moved_scan import MoveScand


def _scan() -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.arange(60.0), torch.arange(50.0), indexing="ij")
    bump = torch.exp(-((rows - 30.0) ** 2 / 150.0 + (columns - 25.0) ** 2 / 40.0))
    return bump.expand(6, -1, -1).clone()


def test_a_scan_is_moved_as_its_sample_says_and_the_move_is_gone() -> None:
    scan = _scan()
    sample = MoveScand("label")({"label": scan, "image": scan, "moved": torch.tensor([26.0, 0.0, 0.0])})
    assert set(sample) == {"label", "image"}
    assert torch.equal(sample["image"], scan)
    assert int(sample["label"][0].amax(dim=1).argmax()) == 32  # two rows of 13 mm towards the feet
    found = align_rigidly(scan[None], sample["label"][None]).moved[0]
    torch.testing.assert_close(found, torch.tensor([26.0, 0.0, 0.0]), rtol=0, atol=0.5)


def test_a_scan_that_is_not_to_be_moved_stays_bit_for_bit() -> None:
    scan = torch.rand(6, 20, 10)
    assert MoveScand("label")({"label": scan, "moved": torch.zeros(3)})["label"] is scan
