from __future__ import annotations

import pytest

from dxa_monai.phantom.body.model import BodyModel, Phenotype


@pytest.fixture(scope="session")
def lean_woman(body_model: BodyModel) -> Phenotype:
    return body_model.solve("F", 30, 168.0, 56.0, muscle=0.45)


@pytest.fixture(scope="session")
def heavy_man(body_model: BodyModel) -> Phenotype:
    return body_model.solve("M", 55, 174.0, 105.0, muscle=0.2)
