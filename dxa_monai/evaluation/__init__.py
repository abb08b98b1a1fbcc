"""Trained arms and baselines compared on people held out."""

from dxa_monai.exports import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "arms": ["ArmEvaluation"],
        "reconstruction": ["ReconstructionTask"],
        "generation": ["GenerationTask"],
        "measures": ["MeasuresTask", "predict_measures"],
        "held_out": ["TrainedArm", "held_out_people"],
        "precision": ["measure_precision"],
        "changes": ["measure_changes"],
        "scans": ["evaluate_scans"],
        "scanner_effects": ["EFFECTS"],
        "scanner_effects_table": ["evaluate_scanner_effects"],
    },
)
