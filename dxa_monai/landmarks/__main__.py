"""Move landmarks by hand, on a page of this machine.

    python -m dxa_monai.landmarks runs/body_composition

FOLDER is what bundles/dxa_body_composition/configs/inference.json wrote. The page shows a scan with its regions; points
are dragged, or moved with the arrow keys, and the numbers follow. Saved landmarks lie in FOLDER/landmarks, where
inference takes them from with --landmarks FOLDER/landmarks. Ctrl-C ends it.
"""

from __future__ import annotations

import argparse
import difflib
import sys
import webbrowser
from collections.abc import Sequence
from typing import NoReturn

from dxa_monai.errors import InputError
from dxa_monai.terminal import lasting_output, printable

_OPTIONS = ("--port", "--open", "--explain")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message.removeprefix('argument ')}; --explain tells what there is.")


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 65535, got '{text}'")
    return int(text)


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line.

    Raises:
        InputError: an option that there is not, or no folder.
    """
    parser = _Parser(
        prog="python -m dxa_monai.landmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("folder", metavar="FOLDER", nargs="?", help="output folder of the body-composition inference")
    parser.add_argument("--port", type=_port, default=0, help="of 127.0.0.1; default: 0, one that is free")
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    parser.add_argument("--explain", action="help", help="the same as --help")
    chosen, others = parser.parse_known_args(arguments)
    if others:
        nearest = difflib.get_close_matches(others[0], _OPTIONS, 1)
        hint = f"did you mean {nearest[0]}?" if nearest else "--explain lists all."
        raise InputError(f"{others[0]}: expected FOLDER, {', '.join(_OPTIONS)}, got another word; {hint}")
    if chosen.folder is None:
        raise InputError("FOLDER: expected the output folder of the body-composition inference, got none.")
    return chosen


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve the page of the folder that the command line names, until Ctrl-C.

    Args:
        arguments: instead of those of the command line.
    """
    lasting_output()
    try:
        chosen = _parsed(arguments)
        # torch takes seconds to come: what is wrong with the words themselves is told before
        from dxa_monai.landmarks.folder import LandmarkFolder
        from dxa_monai.landmarks.server import LandmarkServer

        with LandmarkServer(LandmarkFolder(chosen.folder), chosen.port) as server:
            print(server.address, flush=True)
            print(printable(f"Landmarks of {chosen.folder}; Ctrl-C ends this."), flush=True)
            if chosen.open:
                webbrowser.open(server.address)
            server.serve_forever()
    except InputError as error:
        raise SystemExit(printable(f"error: {error}")) from None
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()
