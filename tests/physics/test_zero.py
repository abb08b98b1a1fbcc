"""The zero of a scan against a noise-free scan of the same empty scanner."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest
import torch

from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.physics.beam_model import WheelSegments
from dxa_monai.physics.disturbance import Disturbance, draw_disturbance
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.physics.zero import FEWEST_AIR_PIXELS, Zero, find_zero
from dxa_monai.scan.format import FULL_SCALE_COUNTS, FULL_SCALE_NEPERS, SCAN_SHAPE
from tests.lying_bodies import lying_bodies

ROWS, COLUMNS = SCAN_SHAPE
COUNT = FULL_SCALE_NEPERS / FULL_SCALE_COUNTS
# The body's scatter lights the air beside it up, and nobody sees the mat under the body: neither is the zero's fault.
SCANNERS = {
    "cut off at 0 counts": Acquisition.ideal(),
    "table and pedestal": Acquisition(scatter_to_primary=0.0, mat_unevenness_g_cm2=0.0, subpixels=(1, 1)),
}
WHEELS = {"cut off at 0 counts": WheelSegments.thick(), "table and pedestal": WheelSegments()}
EMPTY = torch.zeros(1, 3, ROWS, COLUMNS)

FloatArray = npt.NDArray[np.float64]


def block(rows: slice, columns: slice, soft: float = 15.0) -> torch.Tensor:
    areal = EMPTY.clone()
    areal[0, :2, rows, columns] = torch.tensor([0.3 * soft, 0.7 * soft])[:, None, None]
    return areal


def scans(
    acquisition: Acquisition, areal: torch.Tensor, seed: int = 0, **gains: torch.Tensor
) -> tuple[npt.NDArray[np.float32], FloatArray]:
    """A noisy scan in whole counts, ``(6, H, W)``, and what the same scanner reads without body or noise, nepers."""
    generator = torch.Generator().manual_seed(seed)
    disturbance = draw_disturbance(acquisition, 1, SCAN_SHAPE, generator)
    disturbance = dataclasses.replace(disturbance, **gains)
    raw = acquisition.forward(areal, generator, disturbance=disturbance)[0].clamp(0.0, 1.0)
    empty = acquisition.forward(torch.zeros_like(areal), disturbance=disturbance)[0]
    counts = np.rint(raw.numpy() * FULL_SCALE_COUNTS)
    return (counts / FULL_SCALE_COUNTS).astype(np.float32), empty.double().numpy() * FULL_SCALE_NEPERS


def apart(zero: Zero, empty: FloatArray, where: npt.NDArray[np.bool_]) -> FloatArray:
    """``(6,)`` millinepers: how far the zero lies from the empty scan in the mean over these pixels."""
    return np.asarray(1e3 * (zero.image_nepers() - empty)[:, where].mean(axis=1))


def under(areal: torch.Tensor) -> npt.NDArray[np.bool_]:
    return (areal[0].sum(dim=0) > 0.05).numpy()


def sine_gain(amplitude: float) -> torch.Tensor:
    return torch.exp(amplitude * torch.sin(torch.arange(ROWS, dtype=torch.float64) / ROWS * 2.0 * torch.pi))


@pytest.mark.parametrize("name", SCANNERS)
def test_zero_is_what_the_empty_scanner_reads(name: str) -> None:
    areal = lying_bodies()[:1]
    raw, empty = scans(SCANNERS[name], areal)
    zero = find_zero(raw)
    assert zero.enough_air
    assert not zero.one_sided
    assert zero.cut_off == (name == "cut off at 0 counts")
    assert np.abs(apart(zero, empty, under(areal))).max() < 0.1
    assert np.abs(zero.level_nepers - empty[:, zero.air].mean(axis=1)).max() < 1e-4


@pytest.mark.parametrize("name", SCANNERS)
def test_air_is_never_body(name: str) -> None:
    areal = lying_bodies()
    for body in (areal[:1], areal[1:]):
        air = find_zero(scans(SCANNERS[name], body)[0]).air
        assert not (air & under(body)).any()
        assert air.sum() > 0.75 * (~under(body)).sum() - 1000


@pytest.mark.parametrize("energies", [(True, True), (False, True)], ids=["both energies", "low energy alone"])
@pytest.mark.parametrize("name", SCANNERS)
def test_drift_of_one_per_cent_along_rows_is_followed(name: str, energies: tuple[bool, bool]) -> None:
    """-3 to 3 ‰ would be left of it in the mean over a third of the rows, were it not."""
    gain = torch.stack([sine_gain(0.01 * drifts) for drifts in energies])[None]
    areal = lying_bodies()[:1]
    raw, empty = scans(SCANNERS[name], areal, row_gain=gain)
    zero = find_zero(raw)
    body = under(areal)
    assert np.abs(apart(zero, empty, body)).max() < 0.1
    for third in np.array_split(np.arange(ROWS), 3):
        assert np.abs(apart(zero, empty, body & np.isin(np.arange(ROWS), third)[:, None])).max() < 0.25
    high, low = zero.along_rows_nepers
    assert np.ptp(low) == pytest.approx(0.02, abs=1.5e-3)
    assert np.ptp(high) == pytest.approx(0.02 if energies[0] else 0.0, abs=1.5e-3)


@pytest.mark.parametrize("name", SCANNERS)
def test_gains_of_columns_are_followed_where_the_column_has_air(name: str) -> None:
    gain = torch.exp(5e-3 * torch.randn(1, COLUMNS, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    areal = lying_bodies()[:1]
    raw, empty = scans(SCANNERS[name], areal, column_gain=gain)
    zero = find_zero(raw)
    seen = zero.air.sum(axis=0) > 10
    assert seen.mean() > 0.95
    left = (zero.image_nepers() - empty).mean(axis=1)[:, seen]  # of gains whose spread is 5 millinepers
    assert left[2:].std(axis=1).max() < 3e-4
    assert np.corrcoef(zero.along_columns_nepers[0], -np.log(gain[0]))[0, 1] > 0.99


@pytest.mark.parametrize("name", SCANNERS)
@pytest.mark.parametrize("photons", [3e5, 3e6])
def test_photons_are_told_by_the_noise(name: str, photons: float) -> None:
    acquisition = dataclasses.replace(SCANNERS[name], photons_per_pixel=photons)
    model = ScannerModel(wheel=WHEELS[name])
    through_table = np.exp(-0.15) if acquisition.table else 1.0
    found = find_zero(scans(acquisition, lying_bodies()[:1])[0]).photons(model.variance_per_photon)
    assert found == pytest.approx(photons * through_table, rel=0.05)


def test_photons_do_not_depend_on_drift() -> None:
    """The variance of all air would tell of 6e4 photons."""
    acquisition = dataclasses.replace(SCANNERS["table and pedestal"], drift_low=0.02, drift_high=0.02)
    found = find_zero(scans(acquisition, lying_bodies()[:1])[0]).photons(ScannerModel().variance_per_photon)
    assert found == pytest.approx(3e6 * np.exp(-0.15), rel=0.07)


@pytest.mark.parametrize("name", SCANNERS)
def test_an_export_of_ten_bits_is_told_by_its_values(name: str) -> None:
    areal = lying_bodies()[:1]
    raw, empty = scans(SCANNERS[name], areal)
    coarse = (np.rint(raw * FULL_SCALE_COUNTS / 16.0) * 16.0 / FULL_SCALE_COUNTS).astype(np.float32)
    zero = find_zero(coarse)
    assert zero.rounding_nepers == pytest.approx(16.0 * COUNT)
    photons = zero.photons(ScannerModel(wheel=WHEELS[name]).variance_per_photon)
    assert photons is None or 3e5 < photons < 3e7
    assert np.abs(apart(zero, empty, under(areal))).max() < 16.0e3 * COUNT * 0.75


def test_counts_of_fourteen_bits_are_one_apart() -> None:
    raw, _ = scans(SCANNERS["table and pedestal"], lying_bodies()[:1])
    assert find_zero(raw).rounding_nepers == pytest.approx(COUNT)


@pytest.mark.parametrize("body", [0, 1], ids=["lean", "wide"])
@pytest.mark.parametrize("width_mm", [640.0, 620.0, 600.0, 540.0])
def test_a_table_that_ends_on_both_sides_is_found_to_a_column(body: int, width_mm: float) -> None:
    acquisition = dataclasses.replace(Acquisition(), table_width_mm=width_mm, subpixels=(1, 1))
    first, stop = find_zero(scans(acquisition, lying_bodies()[body : body + 1])[0]).table_columns
    edge = COLUMNS / 2.0 - width_mm / 6.06 / 2.0  # in columns from the left
    assert edge <= first <= edge + 2.0
    assert stop == COLUMNS - first


def test_a_table_that_ends_on_one_side_is_found_there() -> None:
    narrow, _ = scans(dataclasses.replace(Acquisition(), table_width_mm=600.0), lying_bodies()[:1])
    both = find_zero(narrow).table_columns
    left = find_zero(np.ascontiguousarray(narrow[:, :, : COLUMNS - 12])).table_columns
    assert both[0] > 0
    assert left == (both[0], COLUMNS - 12)
    right = find_zero(np.ascontiguousarray(narrow[:, :, 12:])).table_columns
    assert right == (0, both[1] - 12)


def test_zero_of_a_narrow_table_is_that_on_the_table() -> None:
    acquisition = dataclasses.replace(SCANNERS["table and pedestal"], table_width_mm=610.0)
    areal = lying_bodies()[:1]
    raw, empty = scans(acquisition, areal)
    assert np.abs(apart(find_zero(raw), empty, under(areal))).max() < 0.15


STRAIGHT = {
    "block": block(slice(20, 130), slice(25, 85)),
    "thin block": block(slice(20, 130), slice(25, 85), soft=1.0),
    "limb at the side": block(slice(10, 140), slice(4, 16), soft=3.0),
    "two limbs": block(slice(10, 140), slice(5, 20), 2.0) + block(slice(10, 140), slice(88, 104), 2.0),
    "nothing": EMPTY,
}


@pytest.mark.parametrize("name", SCANNERS)
@pytest.mark.parametrize("body", STRAIGHT)
def test_straight_bodies_are_no_table_edge(name: str, body: str) -> None:
    assert find_zero(scans(SCANNERS[name], STRAIGHT[body])[0]).table_columns == (0, COLUMNS)


@pytest.mark.parametrize("seed", range(3))
def test_column_gains_of_one_per_cent_are_no_table_edge(seed: int) -> None:
    acquisition = dataclasses.replace(SCANNERS["table and pedestal"], column_gain_sd=0.01)
    assert find_zero(scans(acquisition, lying_bodies()[:1], seed)[0]).table_columns == (0, COLUMNS)


@pytest.mark.parametrize(
    ("columns", "expected"), [(slice(0, 80), True), (slice(29, COLUMNS), True), (slice(25, 85), False)]
)
def test_air_on_one_side_of_the_body_only_is_told(columns: slice, expected: bool) -> None:
    areal = block(slice(0, ROWS), columns)
    zero = find_zero(scans(SCANNERS["table and pedestal"], areal)[0])
    assert zero.enough_air
    assert zero.one_sided == expected


@pytest.mark.parametrize("name", SCANNERS)
def test_without_air_there_is_not_enough_of_it(name: str) -> None:
    thick = 8.0 + 6.0 * torch.rand(1, 3, ROWS, COLUMNS, generator=torch.Generator().manual_seed(0))
    zero = find_zero(scans(SCANNERS[name], thick)[0])
    assert not zero.enough_air
    assert zero.air.sum() < FEWEST_AIR_PIXELS
    assert np.isfinite(zero.image_nepers()).all()
    assert np.isfinite(zero.noise_nepers).all()


@pytest.mark.parametrize("name", SCANNERS)
def test_all_of_an_empty_scan_is_air(name: str) -> None:
    raw, empty = scans(SCANNERS[name], EMPTY)
    zero = find_zero(raw)
    assert zero.air.all()
    assert not zero.one_sided
    assert np.abs(apart(zero, empty, zero.air)).max() < 0.1


@pytest.mark.parametrize("name", SCANNERS)
def test_a_scan_without_noise_is_its_own_zero(name: str) -> None:
    areal = lying_bodies()[:1]
    quiet = SCANNERS[name].forward(areal, disturbance=Disturbance())[0]
    empty = SCANNERS[name].forward(EMPTY, disturbance=Disturbance())[0].double().numpy() * FULL_SCALE_NEPERS
    zero = find_zero(quiet.numpy())
    assert np.abs(apart(zero, empty, zero.air)).max() < 1e-2
    assert np.abs(apart(zero, empty, under(areal))).max() < 0.1
    assert zero.photons(ScannerModel(wheel=WHEELS[name]).variance_per_photon) is None


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
def test_a_constant_image_gives_finite_numbers(value: float) -> None:
    zero = find_zero(np.full((6, 40, 30), value, dtype=np.float32))
    assert np.isfinite(zero.image_nepers()).all()
    assert zero.photons(ScannerModel().variance_per_photon) is None


def test_level_in_counts_is_the_pedestal_of_a_scanner_without_table() -> None:
    acquisition = Acquisition.ideal(pedestal_counts=500.0)
    counts = find_zero(scans(acquisition, lying_bodies()[:1])[0]).level_counts()
    assert counts[:2] == pytest.approx((500.0, 500.0), abs=0.1)
    assert len(counts) == 6


def test_wheel_is_what_the_segments_attenuate_beyond_the_air_segment() -> None:
    zero = find_zero(scans(Acquisition(scatter_to_primary=0.0), lying_bodies()[:1])[0])
    empty = Acquisition().forward(EMPTY)[0].mean(dim=(1, 2)).double().numpy() * FULL_SCALE_NEPERS
    np.testing.assert_array_equal(zero.wheel_nepers[:2], 0.0)
    np.testing.assert_allclose(zero.wheel_nepers, empty - np.tile(empty[:2], 3), atol=2e-4)


def test_both_profiles_have_the_mean_zero_over_the_air() -> None:
    zero = find_zero(scans(Acquisition(drift_low=0.01, column_gain_sd=0.005), lying_bodies()[:1])[0])
    for energy in range(2):
        rows, columns = zero.along_rows_nepers[energy], zero.along_columns_nepers[energy]
        assert (rows * zero.air.sum(axis=1)).sum() == pytest.approx(0.0, abs=1e-6)
        assert (columns * zero.air.sum(axis=0)).sum() == pytest.approx(0.0, abs=1e-6)


def test_the_same_scan_has_the_same_zero_and_is_not_changed() -> None:
    raw, _ = scans(Acquisition(), lying_bodies()[:1])
    before = raw.copy()
    first, second = find_zero(raw), find_zero(raw)
    np.testing.assert_array_equal(raw, before)
    for field in dataclasses.fields(Zero):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(second, field.name))


def test_full_scale_scales_the_zero() -> None:
    raw, _ = scans(Acquisition(pedestal_counts=1000.0), lying_bodies()[:1])
    first, second = (find_zero(raw, full_scale).level_counts(full_scale) for full_scale in (12.0, 11.0))
    np.testing.assert_allclose(first, second, atol=0.2)
