"""Exact anteroposterior projection of triangle meshes onto the scan's pixel grid.

The X-ray beam runs along y. Every triangle spans a prism between itself and the plane y = 0; with the sign of the
triangle's orientation these prisms add up to the enclosed volume, whatever the order of surfaces along a ray. Each
triangle is clipped against the pixel cells, so a pixel's value is the mean thickness over its whole area and the sum
over pixels times the pixel area is the mesh's volume to rounding.

Where a mesh overlaps itself (an arm pressed into the trunk) the shared volume counts twice: mass is kept, the thickness
there is that of both parts one behind the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dxa_monai.compiled import compiled
from dxa_monai.phantom.body.mesh import FloatArray, IntArray
from dxa_monai.scan.format import PIXEL_SPACING_MM, SCAN_SHAPE

_MAX_CORNERS = 12  # a triangle cut by the four sides of a cell has at most seven corners; the rest is for rounding


class BodyDoesNotFit(ValueError):
    """The body reaches outside the scan field. The message says which extent is too large."""


@dataclass(frozen=True)
class Frame:
    """Where the scan's pixel grid lies in the body's coronal (x, z) plane.

    Attributes:
        origin_x_m: x of the left edge of column 0; columns grow with x (the patient's right first).
        origin_z_m: z of the upper edge of row 0; rows grow with falling z (head first).
        pixel_spacing_mm: distance between rows and between columns.
        shape: rows and columns.
    """

    origin_x_m: float
    origin_z_m: float
    pixel_spacing_mm: tuple[float, float] = PIXEL_SPACING_MM
    shape: tuple[int, int] = SCAN_SHAPE

    @property
    def pixel_area_cm2(self) -> float:
        """Area of one pixel."""
        return self.pixel_spacing_mm[0] * self.pixel_spacing_mm[1] / 100.0

    def pixel_centres_m(self) -> tuple[FloatArray, FloatArray]:
        """z of the rows ``(H,)`` and x of the columns ``(W,)``, both at the pixels' centres."""
        rows, columns = self.shape
        z = -(np.arange(rows, dtype=np.float64) + 0.5) * self.pixel_spacing_mm[0] / 1000.0
        x = (np.arange(columns, dtype=np.float64) + 0.5) * self.pixel_spacing_mm[1] / 1000.0
        return z + self.origin_z_m, x + self.origin_x_m

    def to_pixels(self, vertices_m: FloatArray) -> FloatArray:
        """``(V, 3)``: column, row (both continuous, integers at the pixels' edges) and y in cm."""
        pixels = np.empty((len(vertices_m), 3))
        pixels[:, 0] = (vertices_m[:, 0] - self.origin_x_m) * 1000.0 / self.pixel_spacing_mm[1]
        pixels[:, 1] = (self.origin_z_m - vertices_m[:, 2]) * 1000.0 / self.pixel_spacing_mm[0]
        pixels[:, 2] = vertices_m[:, 1] * 100.0
        return pixels

    def displacement_px(self, other: Frame) -> FloatArray:
        """``(2,)`` rows and columns by which a point lies further on in the pixels of another frame than in these."""
        rows = (other.origin_z_m - self.origin_z_m) * 1000.0 / self.pixel_spacing_mm[0]
        columns = (self.origin_x_m - other.origin_x_m) * 1000.0 / self.pixel_spacing_mm[1]
        return np.array([rows, columns])


def centre_frame(
    vertices_m: FloatArray,
    shift_mm: tuple[float, float] = (0.0, 0.0),
    pixel_spacing_mm: tuple[float, float] = PIXEL_SPACING_MM,
    shape: tuple[int, int] = SCAN_SHAPE,
) -> Frame:
    """The frame centred on the body's bounding box, displaced by how the person lies on the table.

    Args:
        vertices_m: ``(V, 3)`` body surface.
        shift_mm: displacement of the *body* in the field, towards the patient's left and towards the head
            (``Positioning.shift_mm``).
        pixel_spacing_mm: distance between rows and between columns.
        shape: rows and columns.

    Raises:
        BodyDoesNotFit: a vertex is less than one pixel from the edge of the field.
    """
    low, high = vertices_m.min(axis=0), vertices_m.max(axis=0)
    height_m = shape[0] * pixel_spacing_mm[0] / 1000.0
    width_m = shape[1] * pixel_spacing_mm[1] / 1000.0
    frame = Frame(
        origin_x_m=float((low[0] + high[0] - width_m) / 2.0 - shift_mm[0] / 1000.0),
        origin_z_m=float((low[2] + high[2] + height_m) / 2.0 - shift_mm[1] / 1000.0),
        pixel_spacing_mm=pixel_spacing_mm,
        shape=shape,
    )
    pixels = frame.to_pixels(np.stack([low, high]))
    inside = pixels[:, :2].min() >= 1.0 and (pixels[:, :2].max(axis=0) <= np.array([shape[1], shape[0]]) - 1.0).all()
    if not inside:
        raise BodyDoesNotFit(
            f"body of {100 * (high[0] - low[0]):.1f} x {100 * (high[2] - low[2]):.1f} cm shifted by {shift_mm} mm: "
            f"expected to fit the {100 * width_m:.1f} x {100 * height_m:.1f} cm field with one pixel to spare."
        )
    return frame


def thickness_map_cm(vertices_m: FloatArray, faces: IntArray, frame: Frame) -> FloatArray:
    """Mean thickness along the beam in each pixel, ``(H, W)`` cm; what lies outside the field is left out.

    Args:
        vertices_m: ``(V, 3)``.
        faces: ``(F, 3)`` of a closed, outward surface.
        frame: the pixel grid.
    """
    return grouped_thickness_maps_cm(vertices_m, faces, np.zeros(len(faces), dtype=np.int64), 1, frame)[0]


def grouped_thickness_maps_cm(
    vertices_m: FloatArray, faces: IntArray, group: IntArray, group_count: int, frame: Frame
) -> FloatArray:
    """:func:`thickness_map_cm` of several closed meshes at once.

    Args:
        vertices_m: ``(V, 3)``.
        faces: ``(F, 3)``; the faces of each group form a closed, outward surface.
        group: ``(F,)`` group of each face, 0 .. ``group_count`` - 1.
        group_count: number of maps.
        frame: the pixel grid.

    Returns:
        ``(group_count, H, W)`` cm.
    """
    maps = np.zeros((group_count, *frame.shape))
    _splat(frame.to_pixels(vertices_m), faces, group, False, 1.0, 1.0, maps)
    return maps


def surface_area_map(vertices_m: FloatArray, faces: IntArray, frame: Frame) -> FloatArray:
    """Surface area that lies in each pixel's column, divided by the pixel's area, ``(H, W)``, no unit.

    Times a shell's thickness this is the shell's mean thickness along the beam, exact also for faces that the beam
    grazes, where the thickness over the cosine would diverge. Orientation plays no role; surfaces may be open.
    """
    maps = np.zeros((1, *frame.shape))
    row_cm, column_cm = frame.pixel_spacing_mm[0] / 10.0, frame.pixel_spacing_mm[1] / 10.0
    _splat(frame.to_pixels(vertices_m), faces, np.zeros(len(faces), dtype=np.int64), True, column_cm, row_cm, maps)
    return maps[0] / frame.pixel_area_cm2


@compiled
def _clip(polygon, count, axis, value, sign, out):  # type: ignore[no-untyped-def]
    """Keep the side ``sign * (coordinate - value) >= 0`` of a convex polygon (Sutherland-Hodgman); new corner count."""
    kept = 0
    for corner in range(count):
        following = corner + 1 if corner + 1 < count else 0
        here = sign * (polygon[corner, axis] - value)
        there = sign * (polygon[following, axis] - value)
        if here >= 0.0:
            for k in range(3):
                out[kept, k] = polygon[corner, k]
            kept += 1
        if (here > 0.0 and there < 0.0) or (here < 0.0 and there > 0.0):
            fraction = here / (here - there)
            for k in range(3):
                out[kept, k] = polygon[corner, k] + fraction * (polygon[following, k] - polygon[corner, k])
            out[kept, axis] = value
            kept += 1
    return kept


@compiled
def _polygon_value(polygon, count, area, column_cm, row_cm):  # type: ignore[no-untyped-def]
    """Signed prism volume under a polygon in pixel areas x cm, or its area in cm2 (``area``)."""
    total = 0.0
    for k in range(1, count - 1):
        du1, dw1, dy1 = polygon[k, 0] - polygon[0, 0], polygon[k, 1] - polygon[0, 1], polygon[k, 2] - polygon[0, 2]
        du2 = polygon[k + 1, 0] - polygon[0, 0]
        dw2 = polygon[k + 1, 1] - polygon[0, 1]
        dy2 = polygon[k + 1, 2] - polygon[0, 2]
        projected = 0.5 * (du1 * dw2 - du2 * dw1)
        if area:
            across = 0.5 * row_cm * (dw1 * dy2 - dw2 * dy1)
            along = 0.5 * column_cm * (dy1 * du2 - dy2 * du1)
            total += np.sqrt((projected * column_cm * row_cm) ** 2 + across * across + along * along)
        else:
            # Seen from the front (-y) a face that points to the front runs counter-clockwise in (x, z), which is
            # clockwise in (column, row): its projected area is negative and its prism, -y deep, must count positively.
            total += projected * (polygon[0, 2] + polygon[k, 2] + polygon[k + 1, 2]) / 3.0
    return total


@compiled
def _splat(pixels, faces, group, area, column_cm, row_cm, maps):  # type: ignore[no-untyped-def]
    """Clip every triangle to the pixel cells and add each piece's value to its pixel.

    Plain floating point (no fast-math) in a fixed order, so that the same input gives the same bytes.
    """
    rows, columns = maps.shape[1], maps.shape[2]
    triangle = np.empty((_MAX_CORNERS, 3))
    half = np.empty((_MAX_CORNERS, 3))
    column_part = np.empty((_MAX_CORNERS, 3))
    cell = np.empty((_MAX_CORNERS, 3))
    for face in range(faces.shape[0]):
        for corner in range(3):
            for k in range(3):
                triangle[corner, k] = pixels[faces[face, corner], k]
        first_column = int(np.floor(min(triangle[0, 0], triangle[1, 0], triangle[2, 0])))
        last_column = int(np.floor(max(triangle[0, 0], triangle[1, 0], triangle[2, 0])))
        first_row = int(np.floor(min(triangle[0, 1], triangle[1, 1], triangle[2, 1])))
        last_row = int(np.floor(max(triangle[0, 1], triangle[1, 1], triangle[2, 1])))
        if last_column < 0 or last_row < 0 or first_column >= columns or first_row >= rows:
            continue
        if first_column == last_column and first_row == last_row:
            maps[group[face], first_row, first_column] += _polygon_value(triangle, 3, area, column_cm, row_cm)
            continue
        for column in range(max(first_column, 0), min(last_column, columns - 1) + 1):
            count = _clip(triangle, 3, 0, float(column), 1.0, half)
            count = _clip(half, count, 0, float(column + 1), -1.0, column_part)
            if count < 3:
                continue
            low = column_part[0, 1]
            high = low
            for k in range(1, count):
                low = min(low, column_part[k, 1])
                high = max(high, column_part[k, 1])
            for row in range(max(int(np.floor(low)), 0), min(int(np.floor(high)), rows - 1) + 1):
                kept = _clip(column_part, count, 1, float(row), 1.0, half)
                kept = _clip(half, kept, 1, float(row + 1), -1.0, cell)
                if kept >= 3:
                    maps[group[face], row, column] += _polygon_value(cell, kept, area, column_cm, row_cm)
