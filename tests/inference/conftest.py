"""People that the tests of inference share with those of evaluation."""

from tests.evaluation.conftest import first_maps_of_everybody, first_scan_of_everybody, people

__all__ = ["first_maps_of_everybody", "first_scan_of_everybody", "people"]
