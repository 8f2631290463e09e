"""Which of a file's variants is which of the panel's."""

from dataclasses import replace

import numpy as np
import pytest
from gwas.errors import InputError
from gwas.harmonise import (
    ABSENT,
    AMBIGUOUS,
    AS_IS,
    BOTH,
    FLIPPED,
    OTHER_ALLELES,
    SWAPPED,
    TWICE,
    Variants,
    complement,
    harmonise,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.use_cases.gwas.made import panel


def one(ref: str, alt: str, frequency: float = np.nan):
    """A panel of one variant, at 1:1000."""
    made = panel([1], [frequency])
    return replace(made, ref=np.array([ref], object), alt=np.array([alt], object))


def file_of(*rows: tuple[int, int, str, str]) -> Variants:
    """Rows (chromosome, position, A1, A2)."""
    chromosome, position, a1, a2 = zip(*rows, strict=True)
    return Variants(
        np.array(chromosome, dtype=np.uint8),
        np.array(position, dtype=np.int64),
        np.array(a1, object),
        np.array(a2, object),
        np.array(["."] * len(rows), object),
    )


@pytest.mark.parametrize(
    ("ref", "alt", "a1", "a2", "code", "turned"),
    [
        ("A", "G", "G", "A", AS_IS, False),
        ("A", "G", "A", "G", SWAPPED, True),
        ("A", "G", "C", "T", FLIPPED, False),
        ("A", "G", "T", "C", BOTH, True),
        ("A", "G", "C", "A", OTHER_ALLELES, False),
        ("A", "AC", "AC", "A", AS_IS, False),
        ("A", "AC", "A", "AC", SWAPPED, True),
        ("CA", "C", "G", "TG", FLIPPED, False),
        ("A", "<DEL>", "A", "<DEL>", SWAPPED, True),
        ("A", "G", "0", "A", AS_IS, False),
        ("A", "G", "0", "G", SWAPPED, True),
        ("A", "G", "0", "T", FLIPPED, False),
        ("A", "G", "0", "C", BOTH, True),
        ("A", "G", "0", "0", OTHER_ALLELES, False),
    ],
)
def test_alleles_are_told_in_either_order_and_on_either_strand(ref, alt, a1, a2, code, turned):
    found = harmonise(one(ref, alt), file_of((1, 1000, a1, a2)), "drop")

    assert found.harmony.tolist() == [code]
    assert found.turned.tolist() == [turned]
    assert found.place.tolist() == [-1 if code == OTHER_ALLELES else 0]


@pytest.mark.parametrize("place", [(1, 999), (2, 1000), (0, 1000)])
def test_nothing_is_at_another_place(place):
    found = harmonise(one("A", "G"), file_of((*place, "G", "A")), "drop")
    assert (found.harmony.tolist(), found.place.tolist()) == ([ABSENT], [-1])


def test_a_variant_that_is_there_twice_is_left_out():
    found = harmonise(one("A", "G"), file_of((1, 1000, "G", "A"), (1, 1000, "T", "C")), "drop")
    assert (found.harmony.tolist(), found.place.tolist()) == ([TWICE], [-1])


def test_two_alternatives_at_one_position_are_told_apart():
    made = replace(
        panel([1, 1]),
        position=np.array([1000, 1000]),
        ref=np.array(["A", "A"], object),
        alt=np.array(["G", "C"], object),
    )
    found = harmonise(made, file_of((1, 1000, "A", "C"), (1, 1000, "G", "A"), (1, 1000, "T", "A")), "drop")
    assert found.place.tolist() == [1, 0]
    assert found.harmony.tolist() == [AS_IS, SWAPPED]


@pytest.mark.parametrize(
    ("rule", "panel_frequency", "file_frequency", "a1", "code", "turned"),
    [
        ("drop", 0.2, 0.2, "T", AMBIGUOUS, False),
        ("keep", 0.2, 0.9, "T", AS_IS, False),
        ("keep", 0.2, 0.9, "A", SWAPPED, True),
        ("frequency", 0.2, 0.25, "T", AS_IS, False),
        ("frequency", 0.2, 0.75, "T", BOTH, True),  # A1 is T on the other strand, the panel's A
        ("frequency", 0.2, 0.75, "A", SWAPPED, True),
        ("frequency", 0.2, 0.25, "A", FLIPPED, False),
        ("frequency", 0.45, 0.2, "T", AMBIGUOUS, False),
        ("frequency", 0.2, 0.55, "T", AMBIGUOUS, False),
        ("frequency", np.nan, 0.2, "T", AMBIGUOUS, False),
        ("frequency", 0.2, np.nan, "T", AMBIGUOUS, False),
        ("frequency", 0.0, 0.0, "T", AS_IS, False),
    ],
)
def test_letters_that_do_not_say_the_strand(rule, panel_frequency, file_frequency, a1, code, turned):
    """ref A, alt T; `file_frequency` is that of A1."""
    a2 = "A" if a1 == "T" else "T"
    found = harmonise(
        one("A", "T", panel_frequency),
        file_of((1, 1000, a1, a2)),
        rule,
        lambda rows: np.full(len(rows), file_frequency),
    )
    assert found.harmony.tolist() == [code]
    assert (found.turned & (found.place >= 0)).tolist() == [turned]


deliveries = st.lists(
    st.tuples(st.sampled_from(["AG", "CT", "AC", "GT", "CA"]), st.booleans(), st.booleans(), st.booleans()),
    min_size=1,
    max_size=25,
)


@given(deliveries, st.randoms())
def test_whatever_a_file_does_is_undone(found, random):
    """Alleles swapped and on the other strand, variants left out, all in another order: each finds its place."""
    made = panel([1] * len(found))
    made = replace(
        made,
        ref=np.array([pair[0] for pair, *_ in found], object),
        alt=np.array([pair[1] for pair, *_ in found], object),
    )
    rows, expected = [], {}
    for row, (pair, swap, flip, keep) in enumerate(found):
        a1, a2 = (complement(pair[1]), complement(pair[0])) if flip else (pair[1], pair[0])
        if keep:
            rows.append((row, (1, int(made.position[row]), *((a2, a1) if swap else (a1, a2)))))
            expected[row] = AS_IS + swap + 2 * flip
    random.shuffle(rows)
    if not rows:
        return
    match = harmonise(made, file_of(*(variant for _, variant in rows)), "drop")

    for row in range(len(found)):
        assert match.harmony[row] == expected.get(row, ABSENT)
        at = int(match.place[row])
        assert (rows[at][0] if at >= 0 else None) == (row if row in expected else None)


def test_another_genome_build_is_refused_and_named():
    made = panel([1] * 40)
    shifted = Variants(made.chromosome, made.position + 10_000, made.alt, made.ref, made.id)
    with pytest.raises(InputError, match=r"40 of 40 .* of another genome build than the panel 'made' \(made-up\)"):
        harmonise(made, shifted, "drop")


def test_a_few_variants_that_moved_are_no_other_build():
    made = panel([1] * 40)
    moved = made.position.copy()
    moved[:5] += 7
    found = harmonise(made, Variants(made.chromosome, moved, made.alt, made.ref, made.id), "drop")
    assert (found.harmony == AS_IS).sum() == 35


def test_alleles_that_are_no_letters_are_refused():
    made = panel([1] * 40)
    numbers = Variants(
        made.chromosome, made.position, np.array(["1"] * 40, object), np.array(["2"] * 40, object), made.id
    )
    with pytest.raises(InputError, match="not written as A, C, G and T"):
        harmonise(made, numbers, "drop")
