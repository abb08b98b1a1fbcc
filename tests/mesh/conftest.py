from __future__ import annotations

import pytest

from dxa_monai.mesh.io import BodyMesh
from dxa_monai.phantom.body.model import BodyModel, Positioning


@pytest.fixture(scope="session")
def people() -> dict[str, BodyMesh]:
    """A lean woman and a heavy man in a T-pose, a child, and the woman on the table with her arms down."""
    model = BodyModel()
    woman = model.solve("F", 30, 168.0, 56.0, muscle=0.45)
    man = model.solve("M", 55, 174.0, 105.0, muscle=0.2)
    child = model.solve("F", 4, 100.0, 16.0)
    vertices = {
        "woman": model.t_pose(woman).vertices_m,
        "man": model.t_pose(man).vertices_m,
        "child": model.t_pose(child).vertices_m,
        "supine": model.supine(woman, Positioning()).vertices_m,
    }
    return {name: BodyMesh(values, model.faces, name) for name, values in vertices.items()}


@pytest.fixture
def woman(people: dict[str, BodyMesh]) -> BodyMesh:
    return people["woman"]
