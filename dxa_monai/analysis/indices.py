"""Indices that are read off a body composition and what is known of the person: definitions, sources, cut-offs.

None of them is worked out where something that it needs is not known, or cannot be used; the reason is told instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dxa_monai.scan.people import EXPECTED_SEX, is_woman

Regions = Mapping[str, Mapping[str, float]]
"""Quantities by region, as in a report: ``regions["arms"]["lean_g"]``."""

ADULT_YEARS = 18.0
"""From this age on cut-offs for adults are applied."""


@dataclass(frozen=True)
class Index:
    """An index.

    Attributes:
        unit: of its value; empty: none, "yes or no": a cut-off.
        meaning: its definition, in one phrase.
        needs: what has to be known of the person, of ``height_cm``, ``mass_kg``, ``sex``, ``age_years``.
        value: of regions and of what is needed, in that order.
        source: of a definition that is not ours.
    """

    unit: str
    meaning: str
    value: Callable[..., float | bool]
    needs: tuple[str, ...] = ()
    source: str = ""


class _NotDefined(ValueError):
    """An index has no value for this person; the message says why."""


def body_indices(regions: Regions, person: Mapping[str, Any]) -> tuple[dict[str, float | bool | None], dict[str, str]]:
    """All of ``INDICES``.

    Args:
        regions: quantities by region; empty: the scan has no numbers.
        person: what a manifest says, of it ``height_cm``, ``mass_kg``, ``sex`` and ``age_years``.

    Returns:
        Values by name, None where there is none; and for these the reason.
    """
    values: dict[str, float | bool | None] = {}
    reasons: dict[str, str] = {}
    for name, index in INDICES.items():
        try:
            if not regions:
                raise _NotDefined("the scan has no numbers")
            values[name] = index.value(regions, *(_known(person, need) for need in index.needs))
        except _NotDefined as error:
            values[name], reasons[name] = None, str(error)
        except ZeroDivisionError:
            values[name], reasons[name] = None, "it would be divided by 0"
    return values, reasons


def _known(person: Mapping[str, Any], name: str) -> Any:
    given = person.get(name)
    if given is None or given == "":
        raise _NotDefined(f"{name} is not known")
    if name != "sex":
        return float(given)
    woman = is_woman(given)
    if woman is None:
        raise _NotDefined(f"sex: expected {EXPECTED_SEX}, got '{given}'")
    return woman


def _per_height(region: str, quantity: str) -> Callable[[Regions, float], float]:
    return lambda regions, height_cm: regions[region][quantity] / 1e3 / (height_cm / 100.0) ** 2


def _fat_free_mass_index(regions: Regions, height_cm: float) -> float:
    return (regions["total"]["lean_g"] + regions["total"]["bmc_g"]) / 1e3 / (height_cm / 100.0) ** 2


def _appendicular_lean_kg(regions: Regions) -> float:
    return (regions["arms"]["lean_g"] + regions["legs"]["lean_g"]) / 1e3


def _appendicular_lean_index(regions: Regions, height_cm: float) -> float:
    return _appendicular_lean_kg(regions) / (height_cm / 100.0) ** 2


def _appendicular_lean_per_bmi(regions: Regions, height_cm: float, mass_kg: float) -> float:
    return _appendicular_lean_kg(regions) * (height_cm / 100.0) ** 2 / mass_kg


def _difference_percent(region: str, quantity: str) -> Callable[[Regions], float]:
    def of(regions: Regions) -> float:
        left, right = (regions[f"{side}_{region}"][quantity] for side in ("left", "right"))
        return 200.0 * (left - right) / (left + right)

    return of


def _below(value: float, of_women: float, of_men: float, is_woman: bool, age_years: float) -> bool:
    if age_years < ADULT_YEARS:
        raise _NotDefined(f"the cut-off is for adults, got an age of {age_years:g} years")
    return value < (of_women if is_woman else of_men)


def _low_by_ewgsop2(regions: Regions, height_cm: float, is_woman: bool, age_years: float) -> bool:
    return _below(_appendicular_lean_index(regions, height_cm), 5.5, 7.0, is_woman, age_years)


def _low_by_fnih(regions: Regions, height_cm: float, mass_kg: float, is_woman: bool, age_years: float) -> bool:
    return _below(_appendicular_lean_per_bmi(regions, height_cm, mass_kg), 0.512, 0.789, is_woman, age_years)


_EWGSOP2 = "Cruz-Jentoft et al. 2019, doi:10.1093/ageing/afy169"
_FNIH = "Studenski et al. 2014, doi:10.1093/gerona/glu010"

INDICES: dict[str, Index] = {
    "fat_mass_index_kg_m2": Index(
        "kg/m2", "total fat over height squared", _per_height("total", "fat_g"), ("height_cm",)
    ),
    "lean_mass_index_kg_m2": Index(
        "kg/m2", "total lean, without bone mineral, over height squared", _per_height("total", "lean_g"), ("height_cm",)
    ),
    "fat_free_mass_index_kg_m2": Index(
        "kg/m2", "total lean and bone mineral over height squared", _fat_free_mass_index, ("height_cm",)
    ),
    "appendicular_lean_kg": Index("kg", "lean of arms and legs, without bone mineral", _appendicular_lean_kg),
    "appendicular_lean_index_kg_m2": Index(
        "kg/m2", "lean of arms and legs over height squared", _appendicular_lean_index, ("height_cm",)
    ),
    "appendicular_lean_per_bmi_m2": Index(
        "m2",
        "lean of arms and legs over body mass index (mass as in the manifest)",
        _appendicular_lean_per_bmi,
        ("height_cm", "mass_kg"),
    ),
    "low_lean_ewgsop2": Index(
        "yes or no",
        "lean of arms and legs over height squared below 7.0 (men) or 5.5 kg/m2 (women)",
        _low_by_ewgsop2,
        ("height_cm", "sex", "age_years"),
        _EWGSOP2,
    ),
    "low_lean_fnih": Index(
        "yes or no",
        "lean of arms and legs over body mass index below 0.789 (men) or 0.512 m2 (women)",
        _low_by_fnih,
        ("height_cm", "mass_kg", "sex", "age_years"),
        _FNIH,
    ),
    "android_gynoid_fat_ratio": Index(
        "",
        "fat % of the android over fat % of the gynoid region",
        lambda regions: regions["android"]["fat_percent"] / regions["gynoid"]["fat_percent"],
    ),
    "trunk_limb_fat_ratio": Index(
        "",
        "fat of the trunk over fat of arms and legs",
        lambda regions: regions["trunk"]["fat_g"] / (regions["arms"]["fat_g"] + regions["legs"]["fat_g"]),
    ),
    "arms_lean_difference_percent": Index(
        "%", "lean of the left arm minus that of the right, over their mean", _difference_percent("arm", "lean_g")
    ),
    "legs_lean_difference_percent": Index(
        "%", "lean of the left leg minus that of the right, over their mean", _difference_percent("leg", "lean_g")
    ),
}
"""By the name of their column."""
