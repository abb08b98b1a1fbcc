import pytest
import torch

from dxa_monai.networks.grouping import ball_neighbours, canonical_order, farthest_points, gather_points
from dxa_monai.networks.plain_grouping import exporting, plain_ball_neighbours, plain_farthest_points
from tests.networks.bodies import ellipsoids


def _clouds() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    uniform = torch.rand(3, 500, 3, generator=generator)
    grid = torch.cartesian_prod(*[torch.arange(5.0) / 8] * 3)[None]  # many equal distances
    surface = ellipsoids()[:, :3].transpose(1, 2)
    return {"uniform": uniform, "grid": grid, "doubled": torch.cat([uniform, uniform], 1), "surface": surface}


@pytest.mark.parametrize("cloud", _clouds())
@pytest.mark.parametrize("count", [1, 7, 64, 2000])
def test_the_same_points_are_chosen_as_by_pytorch3d(cloud: str, count: int) -> None:
    points = _clouds()[cloud]
    assert torch.equal(plain_farthest_points(points, count), farthest_points(points, count))


@pytest.mark.parametrize("cloud", _clouds())
@pytest.mark.parametrize("radius_m", [0.01, 0.125, 0.3, 5.0])
@pytest.mark.parametrize("count", [1, 16, 2000])
def test_the_same_neighbours_are_found_as_by_pytorch3d(cloud: str, radius_m: float, count: int) -> None:
    points = _clouds()[cloud]
    centres = farthest_points(points, 20)
    expected = ball_neighbours(points, centres, radius_m, count)
    assert torch.equal(plain_ball_neighbours(points, centres, radius_m, count), expected)


def test_only_a_traced_call_takes_them() -> None:
    seen = []

    def sample(points: torch.Tensor) -> torch.Tensor:
        seen.append(exporting())
        points = gather_points(points, canonical_order(points))
        return ball_neighbours(points, farthest_points(points, 5), 0.2, 4)

    points = _clouds()["uniform"]
    expected = sample(points)
    traced = torch.jit.trace(sample, (points[:1],), check_trace=False)
    assert seen == [False, True]
    assert torch.equal(traced(points), expected)
