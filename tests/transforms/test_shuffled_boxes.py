import numpy as np
import pytest
import torch
from monai.data import CacheDataset, MetaTensor
from monai.transforms import Compose

from dxa_monai.scan.format import SCAN_SHAPE
from dxa_monai.transforms.shuffled_boxes import RandShuffledBoxes, RandShuffledBoxesd, ShuffledBox, shuffle_boxes


@pytest.fixture
def image() -> torch.Tensor:
    """Every pixel is unique, so a moved pixel shows."""
    return torch.arange(6.0 * 150 * 109).reshape(6, *SCAN_SHAPE)


def test_a_box_is_rearranged_as_told(image: torch.Tensor) -> None:
    box = ShuffledBox(2, slice(10, 12), slice(5, 7), np.array([3, 2, 1, 0]))
    shuffled = shuffle_boxes(image, [box])
    assert torch.equal(shuffled[2, 10:12, 5:7], image[2, 10:12, 5:7].flip(0, 1))
    shuffled[2, 10:12, 5:7] = image[2, 10:12, 5:7]
    assert torch.equal(shuffled, image)


def test_pixels_are_moved_inside_the_box_only(image: torch.Tensor) -> None:
    transform = RandShuffledBoxes().set_random_state(0)
    for _ in range(20):
        shuffled = transform(image)
        outside = torch.ones_like(image, dtype=torch.bool)
        for box in transform.boxes:
            outside[box.channel, box.rows, box.columns] = False
        assert torch.equal(shuffled[outside], image[outside])
        assert not torch.equal(shuffled, image)
        for before, after in zip(image, shuffled, strict=True):
            assert torch.equal(before.flatten().sort().values, after.flatten().sort().values)


def test_four_to_six_channels_are_hit_with_sides_of_5_to_75(image: torch.Tensor) -> None:
    transform = RandShuffledBoxes().set_random_state(0)
    counts, sides = set(), set()
    for _ in range(200):
        changed = (transform(image) != image).flatten(1).any(dim=1).sum().item()
        assert changed == len(transform.boxes) == len({box.channel for box in transform.boxes})
        counts.add(changed)
        for box in transform.boxes:
            assert 0 <= box.rows.start < box.rows.stop <= SCAN_SHAPE[0]
            assert 0 <= box.columns.start < box.columns.stop <= SCAN_SHAPE[1]
            sides |= {box.rows.stop - box.rows.start, box.columns.stop - box.columns.start}
    assert counts == {4, 5, 6}
    assert (min(sides), max(sides)) == (5, 75)


def test_boxes_reach_every_corner() -> None:
    transform = RandShuffledBoxes(side_pixels=(3, 3)).set_random_state(0)
    hit = torch.zeros(8, 7, dtype=torch.bool)
    for _ in range(100):
        transform.randomize((6, 8, 7))
        for box in transform.boxes:
            hit[box.rows, box.columns] = True
    assert hit.all()


def test_boxes_are_clipped_to_a_small_image() -> None:
    image = torch.rand(6, 10, 4)
    transform = RandShuffledBoxes(side_pixels=(20, 30)).set_random_state(0)
    assert transform(image).shape == image.shape
    assert all((box.rows, box.columns) == (slice(0, 10), slice(0, 4)) for box in transform.boxes)


def test_seed_replays(image: torch.Tensor) -> None:
    first, again, other = (RandShuffledBoxes().set_random_state(seed)(image) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_does_not_mutate_and_keeps_meta(image: torch.Tensor) -> None:
    scan = MetaTensor(image.clone(), meta={"name": "a"})
    shuffled = RandShuffledBoxes().set_random_state(0)(scan)
    assert torch.equal(scan.as_tensor(), image)
    assert isinstance(shuffled, MetaTensor)
    assert shuffled.meta["name"] == "a"


def test_dictionary_hits_the_named_key_only(image: torch.Tensor) -> None:
    sample = {"image": image, "label": image}
    shuffled = RandShuffledBoxesd(keys="image").set_random_state(0)(sample)
    assert not torch.equal(shuffled["image"], image)
    assert shuffled["label"] is image
    assert sample["image"] is image


def test_probability_zero_changes_nothing(image: torch.Tensor) -> None:
    assert torch.equal(RandShuffledBoxes(prob=0.0)(image), image)


def test_a_cache_does_not_freeze_the_boxes(image: torch.Tensor) -> None:
    dataset = CacheDataset([{"image": image}], Compose([RandShuffledBoxesd(keys="image")]), progress=False)
    assert not torch.equal(dataset[0]["image"], dataset[0]["image"])


@pytest.mark.parametrize(
    "arguments",
    [{"channel_count": (6, 4)}, {"side_pixels": (0, 5)}, {"side_pixels": (1.5, 5)}, {"channel_count": (-1, 2)}],
)
def test_impossible_ranges_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        RandShuffledBoxes(**arguments)  # type: ignore[arg-type]


def test_an_image_with_too_few_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="3 channels"):
        RandShuffledBoxes()(torch.rand(3, 20, 20))
