"""Settings are read strictly: what is wrong is named, and values are not repeated."""

from datetime import date
from typing import Annotated, Literal, Self

import pytest
from pydantic import Field, ValidationError, model_validator

from flame_fl.contract.data_terms import FileName
from flame_fl.contract.errors import InputError
from flame_fl.contract.settings import faults, parse_settings
from flame_fl.contract.words import Frozen, Scalar


class Section(Frozen):
    limit: int = 3
    from_: Annotated[date | None, Field(alias="from")] = None


class One(Frozen):
    type: Literal["one"]
    first: str = ""


class Two(Frozen):
    type: Literal["two"]
    second: str = ""


class Settings(Frozen):
    section: Section = Section()
    word: str
    file: FileName = "a.csv"
    rules: tuple[Section, ...] = ()
    named: dict[str, Section] = Field(default_factory=dict)
    values: tuple[Scalar, ...] = ()
    source: Annotated[One | Two, Field(discriminator="type")] | None = None

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if self.word == "s3cret":
            raise ValueError("word is not for that")
        return self


def test_settings_and_their_defaults() -> None:
    settings = parse_settings('word = "a"', Settings, "file.toml")
    assert settings == Settings(word="a", section=Section(limit=3))


CORRECT = "Correct it, or remove the line."


@pytest.mark.parametrize(
    ("text", "said", "mend"),
    [
        ('word = "a"\n[section]\nlimt = 1', "section.limt is no setting; did you mean limit?", CORRECT),
        ('word = "a"\n[section]\nform = 1', "section.form is no setting; did you mean from?", CORRECT),
        ('word = "a"\n[section]\nquite_other = 1', "section.quite_other is no setting.", CORRECT),
        ('[section]\nword = "a"', "section.word is no setting here: it stands before the first [section].", CORRECT),
        ('wrd = "s3cret"', "wrd is no setting; did you mean word?", CORRECT),
        ('word = "a"\nrules = [{ limits = 1 }]', "rules.0.limits is no setting; did you mean limit?", CORRECT),
        ('word = "a"\nnamed.x.limits = 1', "named.x.limits is no setting; did you mean limit?", CORRECT),
        ("", "word is missing.", "Add it."),
        ('word = "a"\nsection = 3', "section must be a table.", CORRECT),
        ('word = "a"\nnamed = 3', "named must be a table.", CORRECT),
        ('word = "a"\nrules = 3', "rules must be a list.", CORRECT),
        ('word = "a"\nvalues = [[1]]', "values.0 must be true, false, a number or text.", CORRECT),
        (
            'word = "a"\nfile = "Größe-s3cret.csv"',
            "file must be a file's name inside the store: letters without umlauts, digits, . - _ and /.",
            CORRECT,
        ),
        ('word = "s3cret"', "word is not for that.", CORRECT),
        ('word = "a"\n[source]', "source.type is missing.", "Add it."),
        ('word = "a"\n[source]\ntype = "s3cret"', "source.type must be one of 'one', 'two'.", CORRECT),
        # of the model that the tag names, not of another one
        ('word = "a"\n[source]\ntype = "two"\nfirst = ""', "source.first is no setting.", CORRECT),
        ('word = "a"\n[source]\ntype = "two"\nsecnd = ""', "source.secnd is no setting; did you mean second?", CORRECT),
    ],
)
def test_what_is_wrong_is_said_in_words_for_people(text: str, said: str, mend: str) -> None:
    """The setting as it is written, and nothing of its value."""
    with pytest.raises(InputError) as err:
        parse_settings(text, Settings, "file.toml")
    assert (err.value.message, err.value.mend) == (f"file.toml: {said}", mend)
    assert err.value.exit_code == 2


@pytest.mark.parametrize("text", ["word = ", 'word = "a"\nword = "b"'])
def test_what_is_no_toml(text: str) -> None:
    with pytest.raises(InputError, match=r"^file\.toml is no TOML: "):
        parse_settings(text, Settings, "file.toml")


def test_a_list_of_faults_is_a_list_of_sentences() -> None:
    """An unknown setting comes first: it may be why another one is missing."""
    with pytest.raises(ValidationError) as err:
        Settings.model_validate({"wrd": 1, "section": {"limit": 1.5}})
    sentences = [fault.sentence for fault in faults(err.value, Settings)]
    assert sentences[0] == "wrd is no setting; did you mean word?"
    assert "word is missing." in sentences
    assert sentences[1].startswith("section.limit must be a valid integer")


def test_a_value_is_not_repeated() -> None:
    """It may be a token in the wrong place; neither the sentence nor what it was raised from holds it."""
    with pytest.raises(InputError) as err:
        parse_settings('word = "a"\n[section]\nlimit = "s3cret"', Settings, "file.toml")
    assert err.value.message.startswith("file.toml: section.limit must be a valid integer")
    assert "s3cret" not in str(err.value)
    assert err.value.__suppress_context__
