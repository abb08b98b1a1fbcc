from __future__ import annotations

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dxa_monai.figures.mesh_view import draw_mesh
from dxa_monai.mesh.io import BodyMesh


def _box(low: tuple[float, float, float], high: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    corners = np.array([[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])])
    quads = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
    return corners, np.array([corner for a, b, c, d in quads for corner in ((a, b, c), (a, c, d))])


def _picture(*boxes: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Grey levels ``(400, 400)`` of the view, 255 where nothing is."""
    starts = np.cumsum([0, *(len(vertices) for vertices, _ in boxes)])
    mesh = BodyMesh(
        np.concatenate([vertices for vertices, _ in boxes]),
        np.concatenate([faces + start for (_, faces), start in zip(boxes, starts[:-1], strict=True)]),
    )
    figure = Figure(figsize=(4, 4), dpi=100)
    canvas = FigureCanvasAgg(figure)
    draw_mesh(figure.add_axes((0.0, 0.0, 1.0, 1.0)), mesh)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., 0].astype(int)


def test_the_person_s_right_side_is_on_the_left_and_the_head_up() -> None:
    """An arm held out to the person's left (x > 0), high up."""
    picture = _picture(_box((-0.2, -0.1, 0.0), (0.2, 0.1, 1.7)), _box((0.2, -0.05, 1.3), (0.8, 0.05, 1.45)))
    drawn = picture < 250
    rows, columns = np.nonzero(drawn)
    middle = columns.min() + 0.5 * np.ptp(columns)
    assert rows[columns > middle].max() < rows.min() + 0.3 * np.ptp(rows)  # right of the trunk is the arm alone
    assert rows[columns < middle].max() == rows.max()


def test_what_is_in_front_hides_what_is_behind() -> None:
    """The front (y < 0) of a thin box; a second box behind it must not change the picture inside of the first."""
    front = _box((-0.3, -0.2, 0.0), (0.3, -0.1, 1.7))
    alone = _picture(front)
    both = _picture(_box((-0.1, 0.3, 0.5), (0.1, 0.4, 1.0)), front)
    assert np.abs(both - alone).max() <= 3  # hairlines between faces


def test_faces_are_shaded_by_the_light() -> None:
    """A face that looks at the observer is bright but not white."""
    centre = _picture(_box((-0.3, -0.2, 0.0), (0.3, 0.2, 1.7)))[200, 200]
    assert 150 < centre < 250
