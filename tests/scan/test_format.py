import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dxa_monai.errors import InputError
from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.scan.format import (
    CHANNELS,
    FULL_SCALE_COUNTS,
    as_counts,
    channel_index,
    check_counts,
    check_energy_order,
    check_upright,
    counts_to_unit,
    unit_to_counts,
)
from tests.lying_bodies import SCANNERS, lying_bodies
from tests.scan.examples import air_counts, body_counts


def test_every_count_survives_the_unit_interval():
    counts = np.arange(FULL_SCALE_COUNTS + 1, dtype=np.uint16)
    unit = counts_to_unit(counts)
    assert unit.dtype == np.float32
    assert unit[0] == 0.0
    assert unit[-1] == 1.0
    np.testing.assert_array_equal(unit_to_counts(unit), counts)


def test_unit_to_counts_rounds_to_nearest_and_clips():
    unit = np.array([-0.5, 0.4 / 16383, 0.6 / 16383, 1.0, 1.5])
    np.testing.assert_array_equal(unit_to_counts(unit), [0, 0, 1, 16383, 16383])
    assert unit_to_counts(unit).dtype == np.uint16


@pytest.mark.parametrize("dtype", [np.uint16, ">u2", np.int16, np.int64, np.float32, np.float64])
def test_whole_numbers_of_any_type_are_taken(dtype):
    counts = body_counts()
    checked = check_counts(counts.astype(dtype), "scan.npy")
    assert checked.dtype == np.uint16
    assert checked.flags.c_contiguous
    np.testing.assert_array_equal(checked, counts)


def test_memory_order_does_not_matter_and_input_is_left_alone():
    counts = np.asfortranarray(body_counts())
    before = counts.copy()
    checked = check_counts(counts, "scan.npy", channels=CHANNELS)
    assert checked.flags.c_contiguous
    checked[:] = 0
    np.testing.assert_array_equal(counts, before)


def with_value(value, dtype=None):
    counts = body_counts().astype(dtype or np.int32)
    counts[3, 4, 5] = value
    return counts


@pytest.mark.parametrize(
    ("array", "expected", "got"),
    [
        (body_counts().transpose(2, 0, 1), "(150, 109, 6)", "(6, 150, 109)"),
        (body_counts().transpose(1, 0, 2), "(150, 109, 6)", "(109, 150, 6)"),
        (body_counts()[:100], "(150, 109, 6)", "(100, 109, 6)"),
        (body_counts()[..., :5], "(150, 109, 6)", "(150, 109, 5)"),
        (body_counts()[..., 0], "(150, 109, 6)", "(150, 109)"),
        (np.array(3), "(150, 109, 6)", "()"),
        (body_counts() > 0, "integer counts", "bool"),
        (body_counts().astype(complex), "integer counts", "complex128"),
        (body_counts().astype(str), "integer counts", "<U5"),
        (body_counts().astype(object), "integer counts", "object"),
        (counts_to_unit(body_counts()), "integer counts", "98100 fractions between"),
        (with_value(np.nan, np.float32), "integer counts", "1 values that are NaN or infinite"),
        (with_value(np.inf, np.float64), "integer counts", "1 values that are NaN or infinite"),
        (with_value(16384), "0..16383", "0..16384"),
        (with_value(-1), "0..16383", "-1..8"),
    ],
)
def test_what_cannot_be_counts_is_refused_in_one_sentence(array, expected, got):
    with pytest.raises(InputError) as refused:
        check_counts(array, "folder/scan.npy")
    sentence = str(refused.value)
    assert sentence.startswith("folder/scan.npy: expected ")
    assert expected in sentence.split(" got ")[0]
    assert got in sentence.split(" got ")[1]
    assert "\n" not in sentence


def test_any_grid_is_taken_when_no_shape_is_asked_for():
    assert check_counts(body_counts((40, 30)), "scan", spatial_shape=None).shape == (40, 30, 6)
    with pytest.raises(InputError, match=r"\(40, 31, 6\), got \(40, 30, 6\)"):
        check_counts(body_counts((40, 30)), "scan", spatial_shape=(40, 31))
    with pytest.raises(InputError, match=r"\(H, W, 6\), got \(0, 30, 6\)"):
        check_counts(np.zeros((0, 30, 6), np.uint16), "scan", spatial_shape=None)


@given(st.permutations(CHANNELS))
def test_declared_channels_are_put_in_order(declared):
    counts = body_counts((12, 10))
    stored = counts[..., [CHANNELS.index(name) for name in declared]]
    np.testing.assert_array_equal(check_counts(stored, "scan", spatial_shape=None, channels=declared), counts)


@pytest.mark.parametrize(
    "declared",
    [
        (),
        CHANNELS[:5],
        (*CHANNELS, "air_low"),
        ("air_high", "air_high", *CHANNELS[2:]),
        ("air_hi", *CHANNELS[1:]),
    ],
)
def test_unknown_missing_or_repeated_channels_are_refused(declared):
    with pytest.raises(InputError, match=r"^scan.npy: expected the channels air_high, .* got "):
        channel_index(declared, "scan.npy")


@pytest.mark.parametrize("segments", [(0,), (1,), (2,), (0, 1, 2)])
@pytest.mark.parametrize("seed", [0, 1])
def test_swapped_energies_are_refused_and_named(segments, seed):
    counts = body_counts(seed=seed)
    for segment in segments:
        counts[..., [2 * segment, 2 * segment + 1]] = counts[..., [2 * segment + 1, 2 * segment]]
    with pytest.raises(InputError, match="expected low energy to attenuate more") as refused:
        check_counts(counts, "scan.npy")
    named = str(refused.value).split(" got ")[1]
    assert [name in named for name in ("air -", "bone -", "tissue -")] == [index in segments for index in range(3)]


@pytest.mark.parametrize("name", ["ideal", "realistic", "apart"])
def test_a_zero_of_the_scanner_does_not_hide_the_order(name):
    """With zeros as far apart as in the last, the high energy reads more in most of the body."""
    apart = Acquisition(pedestal_counts=(3500, 1500) * 3)
    acquisition = {**SCANNERS, "apart": apart}[name]
    counts = acquisition.scan(lying_bodies()[:1], torch.Generator().manual_seed(0))[0]
    check_energy_order(counts, "scan.npy")
    with pytest.raises(InputError, match="expected low energy to attenuate more"):
        check_energy_order(counts[..., [1, 0, 3, 2, 5, 4]], "scan.npy")


@pytest.mark.parametrize("acquisition", SCANNERS.values(), ids=SCANNERS)
def test_an_inverted_scan_is_refused(acquisition):
    counts = acquisition.scan(lying_bodies()[:1], torch.Generator().manual_seed(0))[0]
    with pytest.raises(InputError, match="expected low energy to attenuate more"):
        check_energy_order(16383 - counts, "scan.npy")


def test_equal_energies_cannot_be_a_body():
    counts = body_counts()
    counts[..., 1::2] = counts[..., ::2]
    with pytest.raises(InputError, match=r"air \+0, bone \+0, tissue \+0 counts"):
        check_energy_order(counts, "scan.npy")


def test_a_scan_without_a_body_is_not_judged():
    check_energy_order(air_counts(), "scan.npy")
    check_energy_order(air_counts()[..., ::-1], "scan.npy")
    check_energy_order(np.zeros((150, 109, 6)), "scan.npy")


def test_a_few_bad_pixels_do_not_make_a_body():
    counts = air_counts()
    counts[:4, :20, ::2] = 16383
    check_energy_order(counts, "scan.npy")


def test_a_body_that_fills_the_field_is_judged():
    counts = body_counts()[50:100, 40:70]
    check_energy_order(counts, "scan.npy")
    with pytest.raises(InputError, match="low energy"):
        check_energy_order(counts[..., [1, 0, 3, 2, 5, 4]], "scan.npy")


def test_saturated_pixels_do_not_hide_the_order():
    counts = np.minimum(body_counts().astype(int) * 3, 16383)
    check_energy_order(counts, "scan.npy")


def test_as_counts_does_not_judge_the_order():
    swapped = body_counts()[..., [1, 0, 3, 2, 5, 4]]
    np.testing.assert_array_equal(as_counts(swapped, "scan.npy"), swapped)


@pytest.mark.parametrize("scanner", SCANNERS)
def test_a_body_upside_down_is_refused_and_nothing_else(scanner):
    both = SCANNERS[scanner].scan(lying_bodies(), torch.Generator().manual_seed(0))
    for counts in both:
        for upright in (counts, counts[:, ::-1]):
            check_upright(upright, "scan.npy")
            with pytest.raises(InputError, match=r"scan\.npy: expected rows from head to feet, got .* legs come first"):
                check_upright(upright[::-1], "scan.npy")
        with pytest.raises(InputError, match="turn its rows over"):
            check_counts(counts[::-1], "scan.npy")


@pytest.mark.parametrize("rows", [slice(0, 75), slice(75, 150), slice(30, 150), slice(0, 120)])
def test_a_part_of_a_body_is_not_taken_for_one_upside_down(rows):
    for counts in SCANNERS["realistic"].scan(lying_bodies(), torch.Generator().manual_seed(0)):
        check_upright(counts[rows], "scan.npy")


def test_what_shows_no_legs_is_not_judged():
    for counts in (air_counts(), body_counts(), body_counts((12, 9)), np.zeros((150, 109, 6))):
        check_upright(counts, "scan.npy")
        check_upright(counts[::-1], "scan.npy")
