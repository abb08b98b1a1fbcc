"""Many trainings by one command: comparisons and searches."""

from dxa_monai.exports import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "comparison": ["Comparison"],
        "search": ["SettingsSearch"],
        "trainings": ["Training", "run_trainings"],
    },
)
