import shlex

import pytest

from dxa_monai.shell_words import as_typed


def test_mappings_stand_in_double_quotes() -> None:
    assert as_typed(["--arms", "{'a': 'runs/a b/best.pt'}"]) == """--arms "{'a': 'runs/a b/best.pt'}\""""


@pytest.mark.parametrize(
    "word", ["plain", "two words", "{'a': 1}", "it's $HOME", "it's `x`", 'it\'s "x"', "it's \\", "#", ""]
)
def test_the_shell_reads_what_was_meant(word: str) -> None:
    assert shlex.split(as_typed(["python", word])) == ["python", word]
