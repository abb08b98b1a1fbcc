"""What a training is made of: data, start, run."""

from dxa_monai.exports import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "data": ["BodyData", "MeasuredData", "TrainingData"],
        "start": ["GeneratorStart", "GivenStart", "TrunkStart", "VAEStart"],
        "muon": ["MatrixMuon"],
        "run": ["TrainingRun"],
    },
)
