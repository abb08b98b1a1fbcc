"""Whole files, damaged as disks, editors and attackers do it; what is drawn comes from hypothesis."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck
from hypothesis import strategies as st

FUZZING: dict[str, Any] = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}
"""Settings of the tests: the same examples in each run."""

_HEADER_BYTES = 600
_HOSTILE_JSON = (
    *("null", "true", "[]", "{}", '""', "-1", "0", "1e999", "-1e999", "NaN", "Infinity", "1.5", "1" * 5000),
    *('"\\u0000"', '"../../etc/passwd"', '"\\ud800"', "[" * 3000 + "]" * 3000, '{"a": 1, "a": 2}', "[[[1, 2]]]"),
)
_HOSTILE_CELLS = (
    *("", " ", "nan", "inf", "1e999", "1" * 400, "../../etc/passwd", "/etc/passwd", "a\x00b", '"', '""', ",", "\n"),
    *("\r", "=1+1", "\ufeff", "é", "x" * 5000, "..", ".", "~", "%s", "{0}", "\u2028"),
)


def damaged_bytes(whole: bytes, data: st.DataObject) -> bytes:
    """Flipped bytes, most of them in the header, a piece moved to another place, a missing end."""
    content = bytearray(whole)
    places = st.one_of(st.integers(0, min(_HEADER_BYTES, len(content) - 1)), st.integers(0, len(content) - 1))
    for _ in range(data.draw(st.integers(0, 5))):
        content[data.draw(places)] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        begin, to = data.draw(places), data.draw(places)
        piece = content[begin : begin + data.draw(st.integers(1, 50))]
        content[to : to + len(piece)] = piece
    length = data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))
    return bytes(content[:length])


def damaged_json(whole: str, data: st.DataObject) -> bytes:
    """JSON text in which one to three values, anywhere, have become something else, are gone, or have moved."""
    content = {"": json.loads(whole)}
    marks: dict[str, str] = {}
    for number in range(data.draw(st.integers(1, 3))):
        parent, name = data.draw(st.sampled_from(_places(content)))
        change = data.draw(st.sampled_from(("hostile", "hostile", "drop", "rename", "copy")))
        if change == "drop":
            parent.pop(name)
        elif change == "rename" and isinstance(parent, dict):
            parent[data.draw(st.text(max_size=5))] = parent.pop(name)
        elif change == "copy":
            other, key = data.draw(st.sampled_from(_places(content)))
            parent[name] = json.loads(json.dumps(other[key]))
        else:
            marks[f"#{number}#"] = data.draw(st.sampled_from(_HOSTILE_JSON))
            parent[name] = f"#{number}#"
        if not _places(content):
            break
    text = json.dumps(next(iter(content.values()), None))
    for mark, hostile in marks.items():
        text = text.replace(f'"{mark}"', hostile)
    return text.encode()


def damaged_table(whole: str, data: st.DataObject) -> bytes:
    """A CSV text with hostile cells, lines and columns that are there twice or not at all."""
    lines = [line.split(",") for line in whole.splitlines()]
    for _ in range(data.draw(st.integers(1, 4))):
        line = data.draw(st.integers(0, len(lines) - 1))
        change = data.draw(st.sampled_from(("cell", "cell", "cell", "drop line", "copy line", "drop cell", "add cell")))
        if change == "drop line" and len(lines) > 1:
            lines.pop(line)
        elif change == "copy line":
            lines.append(list(lines[line]))
        elif change == "drop cell" and len(lines[line]) > 1:
            lines[line].pop()
        elif change == "add cell":
            lines[line].append(data.draw(st.text(max_size=5)))
        else:
            cell = data.draw(st.integers(0, len(lines[line]) - 1))
            lines[line][cell] = data.draw(st.one_of(st.sampled_from(_HOSTILE_CELLS), st.text(max_size=8)))
    return "\n".join(",".join(line) for line in lines).encode("utf-8", "surrogatepass")


def _places(content: Any) -> list[tuple[Any, Any]]:
    """Every container and key (or index) in it, from the outside in."""
    if not isinstance(content, dict | list):
        return []
    items = content.items() if isinstance(content, dict) else enumerate(content)
    own = [(content, name) for name, _ in items]
    return own + [place for _, name in own for place in _places(content[name])]
