"""A data store as a site sees it: samples found by id, variants laid out in the panel's order, alt counted."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gwas import store
from gwas.errors import InputError
from gwas.genotypes import HEADER, Genotypes
from gwas.harmonise import ABSENT, AMBIGUOUS, AS_IS
from gwas.panel import load_panel
from gwas.readers import packed
from gwas.site import Request
from gwas.site_variants import variants
from gwas.store import load_site
from gwas.synthetic import make
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def truth():
    """What the prepared set was written from."""
    return make(nodes=5, seed=1)


@pytest.fixture
def copied(prepared, tmp_path) -> Path:
    """A store to be damaged."""
    return Path(shutil.copytree(prepared() / "DIZ-1" / "genotypes", tmp_path / "store"))


def rewrite(folder: Path, change) -> None:
    file = folder / store.SAMPLES_FILE
    pq.write_table(change(pq.ParquetFile(file).read()), file)


@pytest.mark.parametrize("node", [1, 2, 4])
@pytest.mark.parametrize("rule", ["drop", "keep"])
def test_a_store_s_calls_are_those_it_was_written_from(prepared, settings, truth, node, rule):
    """Also where the files have swapped and flipped alleles, or lack a chromosome."""
    plain = load_site(prepared() / f"DIZ-{node}" / "genotypes", settings(ambiguous=rule))
    uneven = load_site(prepared(uneven=True) / f"DIZ-{node}" / "genotypes", settings(ambiguous=rule))
    wanted = truth.calls[truth.site == node - 1]

    present = uneven.genotypes.present
    np.testing.assert_array_equal(plain.genotypes.read(0, 4000)[:, present], wanted[:, present])
    np.testing.assert_array_equal(uneven.genotypes.read(0, 4000)[:, present], wanted[:, present])
    assert (uneven.genotypes.read(0, 4000)[:, ~present] == -1).all()
    unclear = np.isin(plain.genotypes.harmony, (AMBIGUOUS,))
    assert unclear.sum() == (462 if rule == "drop" else 0)
    lost = plain.genotypes.present & ~present
    assert set(plain.panel.chromosome[lost].tolist()) == ({10} if node == 4 else set())


def test_frequencies_tell_the_strand(prepared, settings, truth):
    """With rule "frequency" most A/T and C/G variants come back, with the same calls."""
    site = load_site(prepared(uneven=True) / "DIZ-2" / "genotypes", settings(ambiguous="frequency"))
    dropped = load_site(prepared(uneven=True) / "DIZ-2" / "genotypes", settings(ambiguous="drop"))
    back = site.genotypes.present & ~dropped.genotypes.present
    wanted = truth.calls[truth.site == 1]

    assert back.sum() > 250
    same = (site.genotypes.read(0, 4000)[:, back] == wanted[:, back]).all(axis=0)
    assert same.mean() > 0.97  # a few drifted across one half in this DIZ's mixture


def test_samples_are_found_by_id_whatever_the_order(copied, settings):
    before = load_site(copied, settings(), 7)
    order = np.random.default_rng(0).permutation(before.samples)[:100]
    rewrite(copied, lambda sheet: sheet.take(pa.array(order)))
    after = load_site(copied, settings(), 7)

    assert (after.node, after.samples) == (7, 100)
    np.testing.assert_array_equal(after.genotypes.read(100, 300), before.genotypes.read(100, 300)[order])
    np.testing.assert_array_equal(after.numbers["age"], before.numbers["age"][order])
    assert after.patients == tuple(before.patients[row] for row in order)


def test_columns_are_numbers_and_codes(copied, settings):
    site = load_site(copied, settings())

    assert site.levels["sex"] == ("1", "2")
    np.testing.assert_array_equal(site.codes["sex"], site.sex - 1)
    assert set(site.numbers) == {"age", "sex", "trait", "disease"}
    assert 0.1 < 1 - site.train.mean() < 0.3
    assert site.number("age").shape == (site.samples,)
    for ask in (site.number, site.code):
        with pytest.raises(InputError, match="nothing"):
            ask("nothing")


@given(st.lists(st.integers(0, 3999), min_size=1, max_size=40, unique=True))
def test_scattered_variants_are_the_same_as_a_range(prepared_store, found):
    found = np.sort(np.array(found))
    np.testing.assert_array_equal(
        prepared_store.genotypes.pick(found), prepared_store.genotypes.read(0, 4000)[:, found]
    )


@pytest.fixture(scope="session")
def prepared_store(prepared):
    from gwas.presets import PRESETS
    from gwas.settings import parse_levels

    folder = prepared(uneven=True) / "DIZ-2" / "genotypes"
    panel, bim = load_panel("synthetic"), store.read_bim(folder / store.BIM_FILE)
    people = store.read_fam(folder / store.FAM_FILE)
    rows = np.arange(len(people))[::-3].copy()
    bed = folder / store.BED_FILE
    match = store.matched(panel, bim, "drop", (bed, len(people), rows))
    assert parse_levels(PRESETS["synthetic"].levels)

    class Only:
        genotypes = Genotypes(bed, len(people), rows, match.place, match.turned, match.harmony)

    return Only


@given(st.integers(1, 13), st.integers(1, 9), st.randoms(use_true_random=False))
def test_a_bed_that_is_written_is_read(tmp_path_factory, people, count, random):
    calls = np.array([[random.choice([-1, 0, 1, 2]) for _ in range(count)] for _ in range(people)], dtype=np.int8)
    bed = tmp_path_factory.mktemp("bed") / "x.bed"
    bed.write_bytes(HEADER + packed(calls).tobytes())
    turned = np.arange(count) % 2 == 1
    found = Genotypes(bed, people, np.arange(people), np.arange(count), turned, np.full(count, AS_IS, np.int8))

    wanted = np.where(turned & (calls >= 0), 2 - calls, calls)
    read = found.read(0, count)
    np.testing.assert_array_equal(read, wanted)
    assert read.dtype == np.int8
    assert read.T.strides[1] == 1  # a variant's calls lie together


def test_another_program_reads_the_bed_the_same(prepared, truth):
    from bed_reader import open_bed

    with open_bed(prepared() / "DIZ-3" / "genotypes" / "genotypes.bed", num_threads=1) as bed:
        read = bed.read(dtype="int8")
    np.testing.assert_array_equal(np.where(read < 0, -1, read), truth.calls[truth.site == 2])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / store.BED_FILE).unlink(), "has no genotypes.bed"),
        (lambda folder: _start(folder, HEADER[:2] + b"\x00"), "sample-major"),
        (lambda folder: _start(folder, b"BED"), "not a PLINK 1 .bed"),
        (lambda folder: (folder / store.BED_FILE).write_bytes(HEADER), "Take the three files from one export"),
        (lambda folder: _lines(folder / store.FAM_FILE, lambda rows: rows[:-1] + rows[:1]), "whose id"),
        (lambda folder: _lines(folder / store.FAM_FILE, lambda rows: rows[:-1]), "are not in genotypes.fam"),
        (lambda folder: _lines(folder / store.BIM_FILE, lambda rows: [rows[0][:-2], *rows[1:]]), "six|6 columns"),
        (lambda folder: _lines(folder / store.BIM_FILE, _half), "no whole numbers"),
        (lambda folder: _lines(folder / store.BIM_FILE, _elsewhere), "no variant of the panel"),
        (lambda folder: rewrite(folder, lambda sheet: sheet.drop_columns("patient_id")), "lacks the column"),
        (lambda folder: rewrite(folder, lambda sheet: pa.concat_tables([sheet, sheet[:3]])), "3 repeated sample ids"),
        (lambda folder: rewrite(folder, _bad_split), "split other than train and test"),
    ],
)
def test_a_store_that_cannot_be_right_is_refused(copied, settings, damage, message):
    damage(copied)
    with pytest.raises(InputError, match=message):
        load_site(copied, settings())


def _start(folder: Path, head: bytes) -> None:
    bed = folder / store.BED_FILE
    bed.write_bytes(head + bed.read_bytes()[len(head) :])


def _lines(file: Path, change) -> None:
    file.write_text("\n".join(change(file.read_text().splitlines())) + "\n")


def _half(rows: list[str]) -> list[str]:
    first = rows[0].split("\t")
    return ["\t".join([*first[:3], "1000.5", *first[4:]]), *rows[1:]]


def _elsewhere(rows: list[str]) -> list[str]:
    cells = [row.split("\t") for row in rows]
    return [
        "\t".join([chromosome, ".", "0", str(int(position) + 3), a1, a2])
        for chromosome, _, _, position, a1, a2 in cells
    ]


def _bad_split(sheet: pa.Table) -> pa.Table:
    column = sheet.schema.get_field_index("split")
    return sheet.set_column(column, "split", pa.array(["learn"] * sheet.num_rows))


def test_a_bim_with_blanks_is_read_as_one_with_tabs(copied, settings):
    before = load_site(copied, settings())
    for name in (store.BIM_FILE, store.FAM_FILE):
        (copied / name).write_text((copied / name).read_text().replace("\t", "   "))
    after = load_site(copied, settings())
    np.testing.assert_array_equal(after.genotypes.place, before.genotypes.place)


def test_a_bed_that_became_shorter_is_noticed(copied, settings):
    site = load_site(copied, settings())
    bed = copied / store.BED_FILE
    bed.write_bytes(bed.read_bytes()[:-200_000])
    with pytest.raises(InputError, match="became shorter"):
        site.genotypes.read(3900, 4000)


def test_a_diz_says_how_it_has_each_variant(prepared, settings):
    site = load_site(prepared(uneven=True) / "DIZ-4" / "genotypes", settings())
    found = variants(site, Request({"start": 3400, "stop": 3800}), settings())["harmony"]

    assert found.shape == (400, 8)
    np.testing.assert_array_equal(found.sum(axis=1), 1)
    np.testing.assert_array_equal(found.argmax(axis=1), site.genotypes.harmony[3400:3800])
    assert found[:, ABSENT].sum() == (site.panel.chromosome[3400:3800] == 10).sum() > 0


def test_reading_takes_no_more_memory_than_the_chunk(prepared, settings):
    """What is allocated is of the chunk's size, not of the file's."""
    import tracemalloc

    site = load_site(prepared() / "DIZ-5" / "genotypes", settings())
    site.genotypes.read(0, 10)
    tracemalloc.start()
    site.genotypes.read(0, 100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 100 * site.samples


def test_variants_are_laid_out_in_the_panel_s_order(copied, settings):
    file = copied / store.BIM_FILE
    rows = file.read_text().splitlines()
    order = np.random.default_rng(3).permutation(len(rows))
    raw = (copied / store.BED_FILE).read_bytes()[3:]
    width = len(raw) // len(rows)
    before = load_site(copied, settings()).genotypes.read(50, 700)
    (copied / store.BED_FILE).write_bytes(HEADER + b"".join(raw[row * width : (row + 1) * width] for row in order))
    file.write_text("".join(rows[row] + "\n" for row in order))
    after = load_site(copied, settings())

    np.testing.assert_array_equal(after.genotypes.read(50, 700), before)
