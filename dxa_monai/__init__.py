"""Deep learning on raw whole-body DXA scans: simulation, pretraining and body composition, in the open."""

__version__ = "0.9.0"
