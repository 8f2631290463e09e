"""Settings are read strictly: what is wrong is named, and values are not repeated."""

import pytest

from flame_fl.contract.errors import InputError
from flame_fl.contract.settings import parse_settings
from flame_fl.contract.words import Frozen


class Section(Frozen):
    limit: int = 3


class Settings(Frozen):
    section: Section = Section()
    word: str


def test_settings_and_their_defaults() -> None:
    settings = parse_settings('word = "a"', Settings, "file.toml")
    assert settings == Settings(word="a", section=Section(limit=3))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('word = "a"\n[section]\nlimt = 1', "file.toml: section.limt: "),
        ('wrd = "a"', "file.toml: w"),
        ('word = "a"\n[section]\nlimit = "s3cret"', "file.toml: section.limit: "),
        ('word = "a"\nsection = 3', "file.toml: section: "),
        ("", "file.toml: word: "),
        ("word = ", "file.toml is no TOML: "),
        ('word = "a"\nword = "b"', "file.toml is no TOML: "),
    ],
)
def test_what_is_wrong_is_named(text: str, said: str) -> None:
    with pytest.raises(InputError) as err:
        parse_settings(text, Settings, "file.toml")
    assert err.value.message.startswith(said)
    assert err.value.mend
    assert err.value.exit_code == 2


def test_a_value_is_not_repeated() -> None:
    """It may be a token in the wrong place; neither the sentence nor what it was raised from holds it."""
    with pytest.raises(InputError) as err:
        parse_settings('word = "a"\n[section]\nlimit = "s3cret"', Settings, "file.toml")
    assert "s3cret" not in str(err.value)
    assert err.value.__suppress_context__
