"""Figures. They are drawn in a style of their own, also in an environment where matplotlib has no backend."""

from dxa_monai.own_matplotlib import in_own_style  # before any other import of matplotlib

__all__ = ["in_own_style"]
