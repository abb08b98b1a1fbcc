from __future__ import annotations

from pathlib import Path

import pytest

from dxa_monai.bundling import release
from scripts.build_release import main


def test_one_command_builds_a_bundle_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # whoever works on the package may have files that git does not track yet
    monkeypatch.setattr(release, "refuse_untracked", lambda *_: None)
    main(["dxa_body_composition", "--output_dir", str(tmp_path / "dist")])
    (built,) = (tmp_path / "dist").glob("*.zip")
    told = capsys.readouterr().out
    assert f"{built}  " in told
    assert "files in models/: 3" in told
    assert (tmp_path / "dist" / "SHA256SUMS").read_text().endswith(f"  {built.name}\n")


def test_a_mistake_ends_the_command_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"error: .*expected folders of bundles, spleen among them"):
        main(["spleen", "--output_dir", str(tmp_path / "dist")])
    assert not (tmp_path / "dist").exists()
