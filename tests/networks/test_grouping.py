from __future__ import annotations

import sys

import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.networks.grouping import ball_neighbours, canonical_order, farthest_points, gather_points

pytest.importorskip("pytorch3d")


def cloud(clouds: int = 3, count: int = 40, columns: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.rand(clouds, count, columns, generator=torch.Generator().manual_seed(seed))


def naive_farthest_points(points: list[list[float]], count: int) -> list[int]:
    """The definition: the point whose nearest chosen point is farthest, until there are ``count`` or no more."""
    chosen = [0]
    while len(chosen) < min(count, len(points)):
        nearest = [min(sum((a - b) ** 2 for a, b in zip(p, points[c], strict=True)) for c in chosen) for p in points]
        chosen.append(nearest.index(max(nearest)))
    return chosen + [0] * (count - len(chosen))


def naive_ball(points: list[list[float]], centre: int, radius: float, count: int) -> list[int]:
    """The definition: go through the points and take those inside, until there are ``count``; repeat the first."""
    inside = [
        i for i, p in enumerate(points) if sum((a - b) ** 2 for a, b in zip(p, points[centre], strict=True)) < radius**2
    ][:count]
    return inside + [inside[0]] * (count - len(inside))


def test_farthest_points_of_a_line_written_by_hand() -> None:
    x = torch.tensor([0.0, 1.0, 2.0, 7.0, 10.0])
    line = torch.stack([x, torch.zeros(5), torch.zeros(5)], dim=-1)[None]
    # from 0: the far end 10, then the widest gap's 7 (3 away from 10) against 2 (2 away from 0): 7, then 2
    assert farthest_points(line, 4).tolist() == [[0, 4, 3, 2]]


def test_ball_of_a_line_written_by_hand() -> None:
    x = torch.tensor([0.0, 1.0, 2.0, 7.0, 10.0])
    line = torch.stack([x, torch.zeros(5), torch.zeros(5)], dim=-1)[None]
    centres = torch.tensor([[1, 4]])
    assert ball_neighbours(line, centres, radius_m=1.5, count=3).tolist() == [[[0, 1, 2], [4, 4, 4]]]
    assert ball_neighbours(line, centres, radius_m=1.5, count=2).tolist() == [[[0, 1], [4, 4]]]
    assert ball_neighbours(line, centres, radius_m=3.5, count=4).tolist() == [[[0, 1, 2, 0], [3, 4, 3, 3]]]


@pytest.mark.parametrize("count", [1, 7, 40, 55])
@pytest.mark.parametrize("lengths", [None, [40, 17, 1]])
def test_farthest_points_are_those_of_the_definition(count: int, lengths: list[int] | None) -> None:
    points = cloud()
    indices = farthest_points(points, count, None if lengths is None else torch.tensor(lengths))
    for n, length in enumerate(lengths or [40, 40, 40]):
        assert indices[n].tolist() == naive_farthest_points(points[n, :length].tolist(), count)


@pytest.mark.parametrize("radius", [0.05, 0.4, 9.0])
@pytest.mark.parametrize("count", [1, 6, 60])
@pytest.mark.parametrize("lengths", [None, [40, 17, 1]])
def test_balls_are_those_of_the_definition(radius: float, count: int, lengths: list[int] | None) -> None:
    points = cloud()
    lengths_ = None if lengths is None else torch.tensor(lengths)
    centres = farthest_points(points, 5, lengths_)
    indices = ball_neighbours(points, centres, radius, count, lengths_)
    for n, length in enumerate(lengths or [40, 40, 40]):
        expected = [naive_ball(points[n, :length].tolist(), int(c), radius, count) for c in centres[n]]
        assert indices[n].tolist() == expected


def test_gather_is_that_of_pytorch3d() -> None:
    from pytorch3d.ops.utils import masked_gather

    points = cloud(columns=5)
    for shape in ((3, 7), (3, 4, 6)):
        indices = torch.randint(40, shape, generator=torch.Generator().manual_seed(1))
        torch.testing.assert_close(gather_points(points, indices), masked_gather(points, indices), rtol=0, atol=0)


def test_gradient_of_gather_adds_up_repeated_points() -> None:
    points = cloud(2, 5).double().requires_grad_()
    indices = torch.tensor([[[0, 0, 3]], [[4, 1, 4]]])
    assert torch.autograd.gradcheck(lambda p: gather_points(p, indices), (points,))


@pytest.mark.parametrize("lengths", [None, [40, 17, 1]])
def test_canonical_order_forgets_how_points_were_listed(lengths: list[int] | None) -> None:
    points = cloud(columns=6)
    points[:, 5:9, :3] = points[:, :1, :3]  # ties of coordinates: the other columns decide
    generator = torch.Generator().manual_seed(2)
    shuffled = points.clone()
    for n, length in enumerate(lengths or [40, 40, 40]):
        shuffled[n, :length] = points[n, torch.randperm(length, generator=generator)]
    lengths_ = None if lengths is None else torch.tensor(lengths)
    ordered = gather_points(points, canonical_order(points, lengths_))
    reordered = gather_points(shuffled, canonical_order(shuffled, lengths_))
    for n, length in enumerate(lengths or [40, 40, 40]):
        assert torch.equal(ordered[n, :length], reordered[n, :length])
        assert ordered[n, 0, 0] == points[n, :length, 0].min()
        assert sorted(ordered[n, :length].tolist()) == sorted(points[n, :length].tolist())


def test_canonical_order_deals_the_points_out() -> None:
    """Any start of the order is spread along x, so the first points in a ball are not those at its left."""
    points = cloud(1, 1000)
    x = gather_points(points, canonical_order(points))[0, :, 0]
    for count in (10, 30, 100):
        histogram = torch.histc(x[:count], bins=5, min=0, max=1)
        assert histogram.min() >= 0.5 * count / 5


def test_without_pytorch3d_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytorch3d", None)
    monkeypatch.setitem(sys.modules, "pytorch3d.ops", None)
    with pytest.raises(InputError, match=r"pip install easypytorch3d==0\.7\.9\.post1"):
        farthest_points(cloud(), 3)
