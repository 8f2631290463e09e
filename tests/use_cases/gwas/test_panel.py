"""Panels: which variants, in which order, with which alleles."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gwas import panel_command
from gwas.errors import InputError
from gwas.panel import Panel, X, chromosome_code, chromosome_name, load_panel
from gwas.panel_file import check, decode, encode
from gwas.synthetic import make, make_panel
from hypothesis import given
from hypothesis import strategies as st

from tests.use_cases.gwas.made import panel

SHIPPED = {"synthetic": (4000, "made-up", 11), "snpstats": (28501, "NCBI36", 1)}
COLUMNS = ("chromosome", "position", "ref", "alt", "stored_ids")


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_a_shipped_panel_is_as_long_as_its_set(name):
    found = load_panel(name)

    assert (found.size, found.build, len(found.stretches())) == SHIPPED[name]
    assert found.title
    assert found.origin


def test_the_synthetic_panel_is_the_generator_s():
    found, made = load_panel("synthetic"), make_panel()

    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(found, name), getattr(made, name))
    np.testing.assert_allclose(found.alt_frequency, made.alt_frequency, atol=5e-4)


def test_a_panel_that_is_not_there_is_named():
    for name in ("nothing", "../errors", "Synthetic"):
        with pytest.raises(InputError, match="There is no panel"):
            load_panel(name)


alleles = st.sampled_from(["A", "C", "G", "T", "AC", "<DEL>", "GTTA"])
rows = st.tuples(
    st.integers(1, 26),
    st.integers(1, 2**31),
    alleles,
    alleles,
    st.sampled_from(["", "rs1", "rs4294967295", "rs4294967296", "rs007", "syn1", "chr1:5", "rs"]),
    st.one_of(st.just(np.nan), st.integers(0, 1000).map(lambda part: part / 1000)),
)


@given(st.lists(rows.filter(lambda row: row[2] != row[3]), min_size=1, max_size=30, unique_by=lambda row: row[:2]))
def test_a_panel_survives_its_file(found):
    found.sort(key=lambda row: row[:2])
    chromosome, position, ref, alt, ids, frequency = zip(*found, strict=True)
    made = Panel(
        "made",
        "title",
        "origin",
        "GRCh38",
        np.array(chromosome, dtype=np.uint8),
        np.array(position, dtype=np.int64),
        np.array(ref, dtype=object),
        np.array(alt, dtype=object),
        np.array(frequency, dtype=np.float32),
        np.array(ids, dtype=object),
    )
    read = decode("made", encode(made))

    for name in COLUMNS:
        assert getattr(read, name).tolist() == getattr(made, name).tolist()
    np.testing.assert_array_equal(read.alt_frequency, made.alt_frequency)


def test_a_million_variants_fit_into_a_bundle():
    """Scaled down tenfold: distances, rs numbers and frequencies as irregular as those of a genotyping array."""
    generator = np.random.default_rng(1)
    size = 100_000
    chromosome = np.sort(generator.integers(1, 23, size)).astype(np.uint8)
    position = np.concatenate(
        [np.sort(generator.choice(15_000_000, n, replace=False)) + 1 for n in np.bincount(chromosome)[1:]]
    )
    bases = np.array([*"ACGT"], dtype=object)
    first = generator.integers(0, 4, size)
    made = Panel(
        "made",
        "t",
        "o",
        "GRCh38",
        chromosome,
        position.astype(np.int64),
        bases[first],
        bases[(first + generator.integers(1, 4, size)) % 4],
        generator.random(size).astype(np.float32),
        np.array([f"rs{number}" for number in generator.integers(1, 1_500_000_000, size)], dtype=object),
    )
    import zlib

    assert len(zlib.compress(encode(made).encode())) < 800_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chromosome": np.array([2, 1], dtype=np.uint8)}, "not in order"),
        ({"position": np.array([2000, 1000])}, "not in order"),
        ({"chromosome": np.array([0, 1], dtype=np.uint8)}, "not in order"),
        ({"alt": np.array(["A", "T"], dtype=object)}, "without two alleles"),
        ({"build": "hg19"}, "state one of"),
        (
            {
                "position": np.array([1000, 1000]),
                "ref": np.array(["A"] * 2, object),
                "alt": np.array(["G"] * 2, object),
            },
            "same",
        ),
        (
            {
                "position": np.array([1000, 1000]),
                "ref": np.array(["A", "G"], object),
                "alt": np.array(["G", "A"], object),
            },
            "same",
        ),
        (
            {
                "position": np.array([1000, 1000]),
                "ref": np.array(["A", "T"], object),
                "alt": np.array(["G", "C"], object),
            },
            "same",
        ),
    ],
)
def test_a_panel_that_cannot_be_right_is_refused(change, message):
    check(panel([1, 1]))
    with pytest.raises(InputError, match=message):
        check(replace(panel([1, 1]), **change))


def test_two_alternatives_at_one_position_are_two_variants():
    made = replace(
        panel([1, 1]),
        position=np.array([1000, 1000]),
        ref=np.array(["A", "A"], object),
        alt=np.array(["G", "C"], object),
    )
    check(made)


def test_a_damaged_file_is_refused():
    content = json.loads(encode(panel([1, 1, 2])))
    content["positions"] = content["positions"][:-8]
    with pytest.raises(InputError, match="damaged"):
        decode("made", json.dumps(content))
    with pytest.raises(InputError, match="damaged"):
        decode("made", "{}")


@given(st.lists(st.integers(1, 4), min_size=1, max_size=60), st.integers(1, 9))
def test_chunks_cover_all_variants_once_and_none_is_on_two_chromosomes(chromosomes, width):
    made = panel(sorted(chromosomes))
    chunks = list(made.chunks(width))

    assert [row for start, stop in chunks for row in range(start, stop)] == list(range(made.size))
    assert all(stop - start <= width for start, stop in chunks)
    assert all(len(set(made.chromosome[start:stop])) == 1 for start, stop in chunks)


@pytest.mark.parametrize("word", ["chrX", "X", "23", "chrx"])
def test_chromosomes_have_several_names(word):
    assert chromosome_code(word) == X
    assert chromosome_name(X) == "X"


@pytest.mark.parametrize("word", ["", "0", "27", "HLA-A", "GL000192.1"])
def test_what_is_no_chromosome_has_no_code(word):
    assert chromosome_code(word) == 0


BIM = "1\trs1\t0\t100\tA\tG\n1\t.\t0\t200\tC\t0\n1\trs3\t0\t100\tC\tT\nUn\trs4\t0\t5\tA\tG\n1\trs5\t0\t50\tA\tC\n"


@pytest.fixture
def panels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Panels are written into a folder of the test's."""
    (tmp_path / "package" / "panels").mkdir(parents=True)
    monkeypatch.setattr(panel_command, "files", lambda _name: tmp_path / "package")
    return tmp_path / "package" / "panels"


def test_a_panel_is_made_of_a_bim(panels, tmp_path):
    """Rows without alleles or a known chromosome are left out, and one that equals another up to strand."""
    (tmp_path / "x.bim").write_text(BIM)
    with pytest.raises(InputError, match="No variant has a frequency"):
        panel_command.write_panel("ours", [tmp_path / "x.bim"], "GRCh38", None, "t", "o")
    (tmp_path / "x.afreq").write_text("#CHROM\tPOS\tID\tREF\tALT\tALT_FREQS\n1\t100\trs1\tG\tA\t0.25\n")
    text = panel_command.write_panel("ours", [tmp_path / "x.bim"], "GRCh38", tmp_path / "x.afreq", "t", "o")
    made = decode("ours", (panels / "ours.json").read_text())

    assert [made.key(row) for row in range(made.size)] == ["1:50:C:A", "1:100:G:A"]
    assert made.id.tolist() == ["rs5", "rs1"]
    for part in ("1 without two alleles", "1 without a known place", "1 that an earlier one equals"):
        assert part in text


def test_a_panel_is_made_of_a_table_with_frequencies(panels, tmp_path):
    (tmp_path / "x.pvar").write_text(
        "##more\n#CHROM\tPOS\tID\tREF\tALT\n2\t10\trs9\tA\tG\n1\t7\t.\tC\tT,G\n1\t8\t.\tC\tT\n"
    )
    (tmp_path / "x.afreq").write_text(
        "#CHROM\tPOS\tID\tREF\tALT\tALT_FREQS\n2\t10\trs9\tG\tA\t0.25\n1\t8\tx\tC\tT\t0.125\n"
    )
    text = panel_command.write_panel("ours", [tmp_path / "x.pvar"], "GRCh37", tmp_path / "x.afreq", "t", "o")
    made = decode("ours", (panels / "ours.json").read_text())

    assert [made.key(row) for row in range(made.size)] == ["1:8:C:T", "2:10:A:G"]
    assert made.id.tolist() == ["1:8:C:T", "rs9"]
    assert made.alt_frequency.tolist() == [0.125, 0.75]
    assert "1 with several alternative alleles" in text


def test_a_panel_is_made_of_prepared_folders(panels, prepared):
    panel_command.write_panel("ours", [prepared(uneven=True)], "made-up", None, "t", "o", counted=True)
    made, shipped = decode("ours", (panels / "ours.json").read_text()), load_panel("synthetic")

    assert made.id.tolist() == shipped.id.tolist()
    np.testing.assert_array_equal(made.alt, shipped.alt)  # the first DIZ has them as the panel
    assert np.abs(made.alt_frequency - shipped.alt_frequency)[shipped.chromosome <= 22].mean() < 0.05


def test_alleles_are_counted_where_a_frequency_is_not_known(panels, prepared):
    """Of all samples of all files, whichever allele a file counts, to two decimals."""
    shipped = replace(load_panel("synthetic"), alt_frequency=np.full(4000, np.nan, dtype=np.float32))
    folder = prepared()
    files = sorted(folder.glob("*/genotypes/genotypes.bim"))
    found = panel_command.with_counts(shipped, files).alt_frequency
    calls = make(nodes=5, seed=1).calls
    true = np.where(calls >= 0, calls, 0).sum(axis=0) / (2 * (calls >= 0).sum(axis=0))
    np.testing.assert_allclose(found, true, atol=0.0051)
    with pytest.raises(InputError, match=r"is no \.bim"):
        panel_command.with_counts(shipped, [folder / "prepared.json"])


@pytest.mark.parametrize(
    ("name", "build", "message"),
    [("Ours", "GRCh38", "no name of a panel"), ("ours", "", "genome build"), ("ours", "GRCh38", "no column CHROM")],
)
def test_a_panel_that_cannot_be_made_is_refused(panels, tmp_path, name, build, message):
    (tmp_path / "x.txt").write_text("SNP A1 A2\nrs1 A G\n")
    with pytest.raises(InputError, match=message):
        panel_command.write_panel(name, [tmp_path / "x.txt"], build, None, "t", "o")
    assert not list(panels.iterdir())
