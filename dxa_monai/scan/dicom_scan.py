"""Raw scans in DICOM: six frames of one file, or six files and a ``.dicom.json`` that says which channel each is.

::

    {
     "version": 1,
     "channels": {
      "air_high": {"file": "IM0001.dcm"},
      "air_low": {"file": "IM0002.dcm"},
      "bone_high": {"file": "others.dcm", "frame": 1},
      ...
     }
    }

Files lie below the folder of the JSON file; frames count from 1. Any image object will do, no private elements are
needed or read. What a viewer would do to the stored values (rescale, lookup tables, another orientation, lossy
compression) is refused rather than undone: the values have to be the counts as they left the scanner.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dxa_monai.errors import InputError, shown
from dxa_monai.files import path_inside
from dxa_monai.input_files import read_input, read_keys
from dxa_monai.scan.dicom_checks import check_pixels, pixel_kind, pixel_spacing_mm
from dxa_monai.scan.format import CHANNELS, Array, channel_index
from dxa_monai.scan.limits import MAX_SCAN_BYTES, check_announced

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MAPPING_ENDING = ".dicom.json"
MAPPING_VERSION = 1
SYNTAXES = {
    "1.2.840.10008.1.2": ("Implicit VR Little Endian", True),
    "1.2.840.10008.1.2.1": ("Explicit VR Little Endian", False),
}
"""Transfer syntaxes that are read (PS3.5 annex A), by UID: name, whether value representations are implicit."""
_PREAMBLE_BYTES = 128
_MOST_HEADER_BYTES, _MOST_ITEMS = 1_000_000, 2_000
"""Up to the pixels. An element takes eight bytes of a file, and so does an item of a sequence, which takes kilobytes of
memory."""
_ITEM = bytes.fromhex("feff00e0")
"""No count has these bytes: 0xFFFE, 0xE000."""
_PIXEL_DATA, _FLOAT_PIXEL_DATA = 0x7FE00010, 0x7FE00008
_SAME = ("Rows", "Columns", "PatientID", "StudyInstanceUID")
"""What files of one scan have in common."""


@dataclass(frozen=True, eq=False)
class DicomImage:
    """One file.

    Attributes:
        header: its data set, without the pixels.
        frames: ``(N, H, W)`` as stored.
    """

    header: Dataset
    frames: Array


def read_dicom(path: Path, spacing_declared: bool = False) -> tuple[Array, tuple[float, float] | None]:
    """Counts ``(H, W, 6)`` and pixel spacing in mm (row, column), or None, of a file with a frame for each channel.

    Args:
        path: DICOM file (PS3.10); frames in the order of the channels.
        spacing_declared: the user says the spacing; it is not read.

    Raises:
        InputError: no whole, uncompressed DICOM file, another number of frames, or values that are not the counts
            (:func:`dxa_monai.scan.dicom_checks.check_pixels`).
        Exception: whatever pydicom raises on a damaged file.
    """
    image = read_image(path)
    if len(image.frames) != len(CHANNELS):
        raise InputError(
            f"{path}: expected {len(CHANNELS)} frames, one a channel, got {len(image.frames)}; where the channels are "
            f"files, name them in a {MAPPING_ENDING} and read that."
        )
    spacing = None if spacing_declared else pixel_spacing_mm(image.header, path)
    return np.moveaxis(image.frames, 0, -1), spacing


def read_dicom_mapping(path: Path, spacing_declared: bool = False) -> tuple[Array, tuple[float, float] | None]:
    """Counts ``(H, W, 6)``, in the order of ``CHANNELS``, and pixel spacing of the files that a ``.dicom.json`` names.

    Arguments and errors are those of :func:`read_dicom`; files that are not of one person, study and size are refused,
    and so is a frame that is named twice.
    """
    places = _mapping(path)
    files = dict.fromkeys(file for file, _ in places.values())
    images = {file: read_image(file) for file in files}
    first_file, first = next(iter(images.items()))
    spacings = {file: None if spacing_declared else pixel_spacing_mm(images[file].header, file) for file in files}
    for file, image in images.items():
        for keyword in _SAME:
            expected, got = first.header.get(keyword), image.header.get(keyword)
            if got != expected:
                raise InputError(
                    f"{file}: expected {keyword} {shown(expected)} as in {first_file.name}, got {shown(got)}."
                )
        if spacings[file] != spacings[first_file]:
            raise InputError(
                f"{file}: expected a pixel spacing of {spacings[first_file]} as in {first_file.name}, "
                f"got {spacings[file]}."
            )
    planes, named = [], dict[tuple[str, int], str]()
    for channel, (file, frame) in places.items():
        image = images[file]
        number = 1 if frame is None and len(image.frames) == 1 else frame
        if number is None or number > len(image.frames):
            raise InputError(
                f"{path}: expected a frame of {file.name}, which has {len(image.frames)}, for {channel}, "
                f"got {'none' if number is None else number}."
            )
        place = (str(image.header.get("SOPInstanceUID", file)), number)
        if place in named:
            raise InputError(
                f"{path}: expected a frame of its own for every channel, got frame {number} of {file.name} for "
                f"{named[place]} and {channel}."
            )
        named[place] = channel
        planes.append(image.frames[number - 1])
    return np.stack(planes, axis=-1), spacings[first_file]


def mapped_files(path: Path) -> list[Path]:
    """The files that a ``.dicom.json`` names, each once.

    Raises:
        InputError: it is none, or names files outside of its folder.
    """
    return list(dict.fromkeys(file for file, _ in _mapping(path).values()))


def read_image(path: Path) -> DicomImage:
    """A DICOM file whose stored values can be counts, its pixels checked and decoded.

    Raises:
        InputError: see :func:`read_dicom`.
        Exception: whatever pydicom raises on a damaged file.
    """
    content = read_input(path, MAX_SCAN_BYTES, "a scan file")
    header, begin, implicit = _header(content, path)
    held = _pixel_bytes(content, begin, implicit, path)
    frames = int(header.get("NumberOfFrames") or 1)
    check_pixels(header, path)
    shape = (frames, int(header.Rows), int(header.Columns))
    kind = pixel_kind(header)
    # an odd number of bytes would have been padded; sixteen bits are even
    check_announced(path, shape, kind.itemsize, len(held))
    values = np.frombuffer(held, dtype=kind).reshape(shape)
    padding = header.get("PixelPaddingValue")
    if padding is not None and (values == padding).any():
        raise InputError(f"{path}: expected counts everywhere, got pixels of the PixelPaddingValue {padding}.")
    return DicomImage(header, values)


def read_headers(path: Path) -> Iterator[Dataset]:
    """The data sets of a scan's DICOM files without their pixels; nothing of a scan in another format.

    Args:
        path: of a scan that has been read.
    """
    name = path.name.lower()
    files = mapped_files(path) if name.endswith(MAPPING_ENDING) else [path] if name.endswith(".dcm") else []
    for file in files:
        yield _header(read_input(file, MAX_SCAN_BYTES, "a scan file"), file)[0]


def _header(content: bytes, path: Path) -> tuple[Dataset, int, bool]:
    """The data set up to the pixels, where these begin, and whether value representations are implicit."""
    from pydicom.filereader import read_dataset
    from pydicom.uid import UID

    if content[_PREAMBLE_BYTES : _PREAMBLE_BYTES + 4] != b"DICM":
        raise InputError(f"{path}: expected a DICOM file (PS3.10, 'DICM' at byte {_PREAMBLE_BYTES}), got another kind.")
    items = content.count(_ITEM, 0, _MOST_HEADER_BYTES)
    if items > _MOST_ITEMS:
        raise InputError(f"{path}: expected a header of at most {_MOST_ITEMS} items of sequences, got {items}.")
    stream = io.BytesIO(content[:_MOST_HEADER_BYTES])
    stream.seek(_PREAMBLE_BYTES + 4)
    meta = read_dataset(stream, False, True, stop_when=lambda tag, *_: tag >> 16 != 2)
    syntax = str(meta.get("TransferSyntaxUID") or "none")
    if syntax not in SYNTAXES:
        raise InputError(
            f"{path}: expected one of the transfer syntaxes {', '.join(name for name, _ in SYNTAXES.values())}, got "
            f"{shown(UID(syntax).name)}; decompress it first, for example with dcmdjpeg or gdcmconv --raw."
        )
    implicit = SYNTAXES[syntax][1]
    header = read_dataset(stream, implicit, True, stop_when=lambda tag, *_: tag >= _FLOAT_PIXEL_DATA)
    return header, stream.tell(), implicit


def _pixel_bytes(content: bytes, begin: int, implicit: bool, path: Path) -> bytes:
    """The value of the element (7FE0,0010), which begins there."""
    start = content[begin : begin + 12]
    if len(start) == 12 and struct.unpack("<HH", start[:4]) == (_PIXEL_DATA >> 16, _PIXEL_DATA & 0xFFFF):
        head = 8 if implicit else 12
        length = struct.unpack("<I", start[4:8] if implicit else start[8:])[0]
        if (implicit or start[4:6] in (b"OW", b"OB")) and length <= len(content) - begin - head:
            return content[begin + head : begin + head + length]
    raise InputError(
        f"{path}: expected a whole .dcm file with its pixels (7FE0,0010) within the first {_MOST_HEADER_BYTES} bytes, "
        f"got {len(content)} bytes without the end of them."
    )


def _mapping(path: Path) -> dict[str, tuple[Path, int | None]]:
    """File and frame (from 1; None: the only one) of each channel, in the order of ``CHANNELS``."""
    channels = read_keys(path, ("version", "channels"), MAPPING_VERSION)["channels"]
    if not isinstance(channels, Mapping):
        raise InputError(f"{path}: expected channels as an object of names and files, got {shown(channels)}.")
    channel_index(list(channels), path)
    return {name: _place(path, name, channels[name]) for name in CHANNELS}


def _place(path: Path, channel: str, given: Any) -> tuple[Path, int | None]:
    file = given.get("file") if isinstance(given, Mapping) else None
    frame = given.get("frame") if isinstance(given, Mapping) else None
    known = isinstance(given, Mapping) and set(given) <= {"file", "frame"}
    if not known or not isinstance(file, str) or not file or not (frame is None or (type(frame) is int and frame >= 1)):
        raise InputError(
            f'{path}: expected {channel} as {{"file": "IM0001.dcm"}}, with "frame": 1 where the file has several, '
            f"got {shown(given)}."
        )
    try:
        return path_inside(path.parent, file), frame
    except (InputError, ValueError) as error:
        raise InputError(f"{path}: expected {channel} in a file below {path.parent}, got {shown(file)}.") from error
