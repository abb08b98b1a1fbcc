import numpy as np
import pytest
import torch
from monai.data import CacheDataset, MetaTensor
from monai.transforms import Compose
from numpy.testing import assert_allclose

from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.physics.calibration import air_level
from dxa_monai.scan.format import PIXEL_SPACING_MM, SCAN_SHAPE
from dxa_monai.transforms.geometric import FieldGeometry, RandFieldGeometry, RandFieldGeometryd, move_in_field
from tests.lying_bodies import SCANNERS, scanned

ROWS_MM, COLUMNS_MM = np.meshgrid(
    (np.arange(SCAN_SHAPE[0]) + 0.5 - SCAN_SHAPE[0] / 2) * PIXEL_SPACING_MM[0],
    (np.arange(SCAN_SHAPE[1]) + 0.5 - SCAN_SHAPE[1] / 2) * PIXEL_SPACING_MM[1],
    indexing="ij",
)


def bump(row_mm: float, column_mm: float, sigma_mm: float = 60.0) -> torch.Tensor:
    """A smooth round spot, ``(1, 150, 109)``, at a place given in mm from the centre of the field."""
    squared = (ROWS_MM - row_mm) ** 2 + (COLUMNS_MM - column_mm) ** 2
    return torch.from_numpy(np.exp(-squared / (2 * sigma_mm**2)))[None].float()


def moments(image: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Centre of mass (row, column) in mm, and covariance in mm2, of what is no background."""
    weight = np.where(image[0] > 1e-3, image[0].double().numpy(), 0.0)
    points = np.stack([ROWS_MM.ravel(), COLUMNS_MM.ravel()])
    centre = points @ weight.ravel() / weight.sum()
    offset = points - centre[:, None]
    return centre, (offset * weight.ravel()) @ offset.T / weight.sum()


def test_no_motion_returns_the_image() -> None:
    image = torch.rand(6, *SCAN_SHAPE)
    assert move_in_field(image, FieldGeometry()) is image


def test_rotation_turns_counter_clockwise_about_the_centre_in_mm() -> None:
    centre, _ = moments(move_in_field(bump(0, 150), FieldGeometry(rotation_degrees=30)))
    # counter-clockwise as displayed: what lies on the right goes up, to smaller rows
    assert_allclose(centre, [-150 * np.sin(np.pi / 6), 150 * np.cos(np.pi / 6)], atol=0.5)


@pytest.mark.parametrize("degrees", [5, 40, 90])
def test_a_disc_in_mm_stays_a_disc(degrees: float) -> None:
    disc = bump(0, 0)
    _, before = moments(disc)
    centre, after = moments(move_in_field(disc, FieldGeometry(rotation_degrees=degrees)))
    assert_allclose(centre, 0, atol=0.2)
    # bilinear interpolation widens the spot by less than the square of a row
    assert_allclose(after, before, atol=0.3 * PIXEL_SPACING_MM[0] ** 2)


def test_zoom_scales_both_axes_in_mm() -> None:
    _, before = moments(bump(0, 0))
    _, after = moments(move_in_field(bump(0, 0), FieldGeometry(zoom=1.3)))
    assert_allclose(after, 1.3**2 * before, atol=0.3 * PIXEL_SPACING_MM[0] ** 2)


def test_shift_goes_towards_the_feet_and_to_the_right() -> None:
    image = torch.rand(6, *SCAN_SHAPE)
    moved = move_in_field(image, FieldGeometry(row_shift=3 / SCAN_SHAPE[0], column_shift=2 / SCAN_SHAPE[1]))
    assert_allclose(moved[:, 3:, 2:], image[:, :-3, :-2], atol=1e-4)


def test_turning_back_gives_the_image_again() -> None:
    image = bump(100, 40, sigma_mm=80)
    there = move_in_field(image, FieldGeometry(rotation_degrees=5))
    back = move_in_field(there, FieldGeometry(rotation_degrees=-5))
    assert (there - image).abs().max() > 0.05
    assert (back - image).abs().max() < 0.02


def test_an_even_background_stays_as_it_is() -> None:
    wheel = torch.linspace(0.1, 0.6, 6)[:, None, None].expand(6, *SCAN_SHAPE)
    assert_allclose(move_in_field(wheel, FieldGeometry(5, -0.1, 0.2, 0.8)), wheel, atol=1e-5)


OUTWARDS = FieldGeometry(5.0, -0.02, 0.1, 0.9)
"""All four borders come into view."""


@pytest.mark.parametrize(
    "acquisition",
    [*SCANNERS.values(), Acquisition(drift_low=0.01, drift_high=0.01)],
    ids=[*SCANNERS, "drift"],
)
def test_corners_read_open_air(acquisition: Acquisition) -> None:
    """Within what air itself differs by: noise, rounding, the table's profile and drift."""
    for scan in scanned(acquisition):
        moved, level = move_in_field(scan, OUTWARDS), air_level(scan[None])[0, :, 0]
        corners = torch.stack([moved[:, row, column] for row in (0, -1) for column in (0, -1)], dim=1)
        air = scan[:, :, :8].flatten(1)
        spread = (air - level).abs().amax(dim=1, keepdim=True)
        assert ((corners - level).abs() <= spread + 1e-6).all()


@pytest.mark.parametrize("acquisition", SCANNERS.values(), ids=SCANNERS)
def test_a_body_cut_by_the_border_is_not_drawn_out(acquisition: Acquisition) -> None:
    cut = scanned(acquisition)[0][:, :, :80]  # through an arm
    assert (cut[0, :, -1] - air_level(cut[None])[0, 0]).max() * 12.0 > 0.5
    moved = move_in_field(cut, FieldGeometry(column_shift=-10 / 80))
    assert_allclose(moved[:, :, -9:], air_level(cut[None])[0].expand(6, 150, 9), atol=1e-6)


def test_seed_replays_and_parameters_stay_in_range() -> None:
    def draws(seed: int) -> list[FieldGeometry]:
        transform = RandFieldGeometry().set_random_state(seed)
        drawn = []
        for _ in range(300):
            transform.randomize()
            drawn.append(transform.geometry)
        return drawn

    first = draws(1)
    assert first == draws(1)
    assert first != draws(2)
    for name, low, high in [
        ("rotation_degrees", -5, 5),
        ("row_shift", -0.013, 0.005),
        ("column_shift", -0.08, 0.08),
        ("zoom", 0.95, 1.05),
    ]:
        values = np.array([getattr(geometry, name) for geometry in first])
        assert low <= values.min() < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < values.max() <= high


def test_probability_zero_never_moves() -> None:
    image = torch.rand(6, *SCAN_SHAPE)
    transform = RandFieldGeometry(prob=0.0).set_random_state(0)
    assert all(torch.equal(transform(image), image) for _ in range(5))


def test_does_not_mutate_and_keeps_type_and_meta() -> None:
    image = MetaTensor(
        torch.rand(6, *SCAN_SHAPE), affine=torch.diag(torch.tensor([13.0, 6.06, 1, 1])), meta={"name": "a"}
    )
    before = image.clone()
    moved = RandFieldGeometry().set_random_state(0)(image)
    assert torch.equal(image, before)
    assert isinstance(moved, MetaTensor)
    assert moved.dtype == torch.float32
    assert moved.shape == image.shape
    assert moved.meta["name"] == "a"
    assert torch.equal(moved.affine, image.affine)
    assert not torch.equal(moved.as_tensor(), before.as_tensor())


def test_numpy_goes_in() -> None:
    image = np.random.default_rng(0).random((6, *SCAN_SHAPE), dtype=np.float32)
    moved = RandFieldGeometry().set_random_state(0)(image)
    assert_allclose(moved, RandFieldGeometry().set_random_state(0)(torch.from_numpy(image)))


def test_keys_move_together_and_others_stay() -> None:
    image = torch.rand(6, *SCAN_SHAPE)
    sample = {"image": image, "label": image, "other": image}
    moved = RandFieldGeometryd(keys=["image", "label"]).set_random_state(0)(sample)
    assert torch.equal(moved["image"], moved["label"])
    assert not torch.equal(moved["image"], image)
    assert moved["other"] is image
    assert sample["image"] is image


def test_a_cache_does_not_freeze_the_motion() -> None:
    pipeline = Compose([RandFieldGeometryd(keys="image")]).set_random_state(0)
    dataset = CacheDataset([{"image": torch.rand(6, *SCAN_SHAPE)}], pipeline, progress=False)
    assert not torch.equal(dataset[0]["image"], dataset[0]["image"])


@pytest.mark.parametrize(
    "arguments",
    [
        {"rotation_degrees": (5, -5)},
        {"zoom": float("nan")},
        {"zoom": (-1.0, 0.1)},
        {"pixel_spacing_mm": (13.0,)},
        {"pixel_spacing_mm": (13.0, 0.0)},
    ],
)
def test_impossible_arguments_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        RandFieldGeometry(**arguments)  # type: ignore[arg-type]
