"""Virtual people: body, skeleton, tissue, and the cohort on disk."""

from dxa_monai.exports import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "simulate": ["PersonRecord", "Simulator", "Visit"],
        "cohort": ["generate_cohort"],
        "anthropometry": ["measure"],
    },
)
