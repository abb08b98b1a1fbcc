from __future__ import annotations

import pytest
from anny.paths import get_anny_cache_path, set_anny_cache_path

from dxa_monai.phantom.body.anny_shapes import AnnyShapes


@pytest.mark.slow
def test_without_a_home_the_model_is_built_all_the_same() -> None:
    home = get_anny_cache_path()
    try:
        set_anny_cache_path("/proc/nohome")
        assert AnnyShapes().vertex_count > 0
        assert str(get_anny_cache_path()) == "/proc/nohome"
    finally:
        set_anny_cache_path(home)
