"""Hold DICOM objects against the standard with tools of others: ``python -m scripts.validate_dicom FILES``.

``dciodvfy`` (Debian: ``apt-get install dicom3tools``) checks every attribute of an object's IOD. With ``--templates``
PixelMed's ``DicomSRValidator`` (``apt-get install libpixelmed-java default-jre-headless``) also holds structured
reports against TID 1500; it takes minutes. Both know the standard of 2022. Exit code 1 if there is an error.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

VALIDATOR = "dciodvfy"
NEWER_THAN_THE_VALIDATOR = ("</(0008,001c)>",)
"""SyntheticData came into the standard after the validator's edition."""
_JARS = ("pixelmed", "commons-codec", "hsqldb", "jaxb-api")
_LIMITS = ("xpathExprOpLimit", "xpathTotalOpLimit", "xpathExprGrpLimit")


def faults(path: Path) -> list[str]:
    """The lines in which dciodvfy tells an error of a file, or that it cannot read it."""
    done = subprocess.run([VALIDATOR, "-new", str(path)], capture_output=True, text=True, check=False, errors="replace")
    lines = (done.stdout + done.stderr).splitlines()
    told = [line for line in lines if line.startswith(("Error", "Abort"))]
    return [line for line in told if not any(known in line for known in NEWER_THAN_THE_VALIDATOR)]


def template_faults(path: Path) -> list[str]:
    """The lines in which PixelMed tells an error of a structured report."""
    jars = ":".join(f"/usr/share/java/{name}.jar" for name in _JARS)
    limits = [f"-Djdk.xml.{name}=0" for name in _LIMITS]
    command = ["java", "-Xmx3g", *limits, "-cp", jars, "com.pixelmed.validate.DicomSRValidator", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, errors="replace")
    lines = (done.stdout + done.stderr).splitlines()
    if not any("Root Template Validation Complete" in line for line in lines):
        return [f"Error: no validation, {lines[:1]}"]
    return [line for line in lines if line.startswith("Error")]


def main() -> int:
    """The command; its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--templates", action="store_true", help="also hold structured reports against TID 1500")
    given = parser.parse_args()
    if shutil.which(VALIDATOR) is None:
        print(f"{VALIDATOR}: expected it to be installed (apt-get install dicom3tools), got none.", file=sys.stderr)
        return 1
    bad = False
    for path in given.files:
        found = faults(path)
        if given.templates and path.name.endswith("_report.dcm"):
            found += template_faults(path)
        bad = bad or bool(found)
        print(f"{path}: {'no error' if not found else ''}", *found, sep="\n  " if found else "")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
