"""Landmarks by hand: a local page on which points are dragged, and the numbers that follow from them."""

from dxa_monai.exports import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "folder": ["LandmarkFolder"],
        "session": ["ScanSession"],
        "server": ["LandmarkServer"],
    },
)
