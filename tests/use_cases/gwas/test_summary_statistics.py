"""Summary statistics against the rules of GWAS-SSF v1.0, and read by PLINK."""

import csv
import gzip
import hashlib
import re
import subprocess
from datetime import UTC, date, datetime

import numpy as np
import pytest
import yaml
from gwas import summary_statistics
from gwas.clumping import clump
from gwas.output import about
from gwas.summary_statistics import MISSING, write, write_meta

from tests.use_cases.gwas.conftest import need_program
from tests.use_cases.gwas.plink_files import write_bed
from tests.use_cases.gwas.scans import genome, panel_of, scan, whole

MANDATORY = [
    *("chromosome", "base_pair_location", "effect_allele", "other_allele", "beta", "standard_error"),
    "effect_allele_frequency",
]


def rows_of(folder):
    with gzip.open(folder / summary_statistics.NAME, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def check(rows, p="p_value"):
    """The standard's rules: columns and their order, what a value may be, sorted."""
    assert list(rows[0])[:8] == [*MANDATORY, p]
    for row in rows:
        assert 1 <= int(row["chromosome"]) <= 25
        assert int(row["base_pair_location"]) >= 0
        assert re.fullmatch("[ACTG]+", row["effect_allele"])
        assert re.fullmatch("[ACTG]+", row["other_allele"])
        assert np.isfinite([float(row["beta"]), float(row["standard_error"])]).all()
        assert 0 <= float(row["effect_allele_frequency"]) <= 1
        assert 0 < float(row[p]) <= 1 if p == "p_value" else float(row[p]) >= 0
        assert re.fullmatch("[A-Za-z0-9_]+", row["variant_id"])
        assert row["rsid"] == MISSING or re.fullmatch("rs[0-9]+", row["rsid"])
        assert int(row["n"]) >= 0
    places = [(int(row["chromosome"]), int(row["base_pair_location"])) for row in rows]
    assert places == sorted(places)


def test_the_file_holds_every_tested_variant_by_the_standard(tmp_path):
    panel = genome(3000)
    z = np.random.default_rng(0).normal(size=3000)
    associations = scan(tmp_path, panel, z, rare=0.2)

    written = write(tmp_path, associations, panel, 20.0)

    rows, table = rows_of(tmp_path), whole(associations)
    ok = np.flatnonzero(table["status"] == 0)
    check(rows)
    assert written.rows == len(rows) == len(ok)
    for name, column in (("beta", "beta"), ("standard_error", "se"), ("p_value", "p"), ("n", "n")):
        assert [float(row[name]) for row in rows] == table[column][ok].tolist()  # at full length
    assert [row["effect_allele"] for row in rows] == panel.alt[ok].tolist()
    assert [row["panel_id"] for row in rows] == panel.id[ok].tolist()
    frequency = table["alt_count"][ok] / (2 * table["n"][ok])
    np.testing.assert_allclose([float(row["effect_allele_frequency"]) for row in rows], frequency, rtol=1e-12)
    assert written.least_frequency == pytest.approx(np.minimum(frequency, 1 - frequency).min())


def test_sex_chromosomes_are_numbers_and_the_shared_regions_are_sorted_into_x(tmp_path):
    chromosome = [1, 23, 23, 23, 24, 25, 25, 25, 26]
    position = [5, 100, 200, 300, 50, 20, 200, 400, 7]
    panel = panel_of(chromosome, position)
    for width in (1, 2, 100):
        folder = tmp_path / str(width)
        folder.mkdir()
        write(folder, scan(folder, panel, np.ones(9), width=width), panel, 5.0)

        rows = rows_of(folder)

        check(rows)
        assert [int(row["chromosome"]) for row in rows] == [1, *[23] * 6, 24, 25]
        assert [int(row["base_pair_location"]) for row in rows] == [5, 20, 100, 200, 200, 300, 400, 50, 7]


def test_p_values_beyond_floating_point_are_written_as_logarithms(tmp_path):
    panel = panel_of([1, 1], [1, 2])
    associations = scan(tmp_path, panel, np.array([1.0, 45.0]))

    write(tmp_path, associations, panel, 441.0)

    rows = rows_of(tmp_path)
    check(rows, "neg_log_10_p_value")
    assert float(rows[1]["neg_log_10_p_value"]) > 400


def test_alleles_that_the_standard_does_not_know_are_counted(tmp_path):
    panel = panel_of(
        [1] * 4, [1, 2, 3, 4], ids=["rs1", "x", "", "rsx"], ref=["A", "<DEL>", "AT", "1"], alt=["G", "A", "A", "2"]
    )

    written = write(tmp_path, scan(tmp_path, panel, np.ones(4)), panel, 1.0)

    rows = rows_of(tmp_path)
    check(rows)
    assert written.other_alleles == 2
    assert [(row["rsid"], row["panel_id"], row["variant_id"]) for row in rows] == [
        ("rs1", "rs1", "1_1_A_G"),
        (MISSING, "1:3:AT:A", "1_3_AT_A"),
    ]


def test_nothing_tested_is_a_file_with_a_header(tmp_path):
    panel = panel_of([1], [1])

    written = write(tmp_path, scan(tmp_path, panel, np.ones(1), rare=1.0), panel, float("nan"))

    assert written.rows == 0
    assert rows_of(tmp_path) == []
    write_meta(tmp_path, written, {"genome_assembly": "GRCh38"})
    assert "minor_allele_freq_lower_limit" not in yaml.safe_load(
        (tmp_path / f"{summary_statistics.NAME}-meta.yaml").read_text()
    )


def test_the_same_tests_make_the_same_bytes(tmp_path):
    panel = genome(500)
    associations = scan(tmp_path, panel, np.ones(500))

    first = write(tmp_path, associations, panel, 1.0)

    assert write(tmp_path, associations, panel, 1.0) == first
    assert hashlib.md5((tmp_path / summary_statistics.NAME).read_bytes()).hexdigest() == first.md5
    assert [path.name for path in tmp_path.glob(".*")] == []


@pytest.mark.parametrize("analysis", ["linear", "logistic"])
def test_the_metadata_say_what_the_standard_wants(tmp_path, settings, analysis):
    panel = genome(200)
    associations = scan(tmp_path, panel, np.ones(200))
    object.__setattr__(associations, "samples", 900)
    object.__setattr__(associations, "cases", 300 if analysis == "logistic" else 0)
    written = write(tmp_path, associations, panel, 1.0)

    write_meta(
        tmp_path,
        written,
        about(settings(analysis=analysis, pcs=2), panel, associations),
        datetime(2031, 5, 6, tzinfo=UTC),
    )

    meta = yaml.safe_load((tmp_path / f"{summary_statistics.NAME}-meta.yaml").read_text())
    assert meta["date_metadata_last_modified"] == date(2031, 5, 6)
    assert meta["file_type"] == "GWAS-SSF v1.0"
    assert meta["data_file_md5sum"] == written.md5
    assert meta["coordinate_system"] == "1-based"
    assert meta["is_sorted"] is True
    assert meta["is_harmonised"] is False
    assert meta["genome_assembly"] == "NR"  # a made-up genome has none
    assert meta["author_notes"].startswith("Synthetic")
    assert meta["adjusted_covariates"][-2:] == ["PC1", "PC2"]
    sample = meta["samples"][0]
    assert sample["sample_size"] == 900
    assert sample["case_control_study"] is (analysis == "logistic")
    assert (sample.get("case_count"), sample.get("control_count")) == (
        (300, 600) if analysis == "logistic" else (None, None)
    )


@pytest.mark.peer
def test_plink_reads_it_and_makes_the_same_clumps(tmp_path):
    """PLINK's --clump on our table and its genotypes; ours with the correlations of the same genotypes."""
    program = need_program("plink1.9", "plink1.9")
    rng = np.random.default_rng(3)
    size, people = 300, 400
    # PLINK's correlations here are those of estimated haplotypes: families of near copies leave no doubt
    family = np.repeat(rng.integers(0, size // 4, size // 3), 3)
    founders = rng.binomial(2, 0.4, (people, size))
    calls = np.where(rng.random((people, size)) < 0.03, founders, founders[:, family]).astype(np.int8)
    panel = panel_of(
        np.repeat([1, 2], size // 2), np.tile(np.arange(1, size // 2 + 1) * 5000, 2), ids=[f"v{i}" for i in range(size)]
    )
    z = rng.normal(size=size) * 2.5
    associations = scan(tmp_path, panel, z)
    write(tmp_path, associations, panel, 20.0)
    write_bed(tmp_path / "made.bed", calls)
    variants = zip(panel.chromosome, panel.id, panel.position, panel.alt, panel.ref, strict=True)
    (tmp_path / "made.bim").write_text("".join(f"{c}\t{name}\t0\t{at}\t{a}\t{r}\n" for c, name, at, a, r in variants))
    (tmp_path / "made.fam").write_text("".join(f"s{row}\ts{row}\t0\t0\t0\t-9\n" for row in range(people)))

    out = tmp_path / "out"
    command = [program, "--bfile", str(tmp_path / "made"), "--clump", str(tmp_path / summary_statistics.NAME)]
    command += ["--clump-snp-field", "panel_id", "--clump-field", "p_value", "--clump-kb", "100", "--clump-r2", "0.5"]
    command += ["--clump-p1", "0.01", "--clump-p2", "1", "--out", str(out), "--threads", "1"]
    subprocess.run(command, check=True, capture_output=True)

    lines = [line.split() for line in out.with_suffix(".clumped").read_text().splitlines() if line.strip()][1:]
    theirs = {line[2]: {name.split("(")[0] for name in line[11].split(",")} - {"NONE"} for line in lines}
    square = np.corrcoef(calls.T) ** 2
    log10p = whole(associations)["log10p"]
    found = clump(
        panel.chromosome, panel.position, log10p, kb=100, r2=0.5, correlation=lambda i, at: square[i, at], at_least=2.0
    )
    ours = {panel.id[of.lead]: {panel.id[row] for row in of.members} for of in found}
    assert len(ours) > 20
    assert max(map(len, ours.values())) > 2
    assert ours == theirs
