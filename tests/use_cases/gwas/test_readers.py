"""Own genotypes: the formats give the same variants and calls."""

import os
import subprocess

import numpy as np
import pytest
from gwas import readers
from gwas.errors import InputError
from gwas.genotypes import HEADER
from gwas.readers import packed, read_source

from tests.use_cases.gwas.conftest import need_program

PEOPLE = [f"person{row}" for row in range(11)]
ROWS = [
    ("1", "100", "rs1", "A", "G"),
    ("1", "200", "rs2", "C", "CT"),
    ("2", "50", ".", "T", "A"),
    ("22", "70", "rs4", "G", "T"),
]


@pytest.fixture
def calls() -> np.ndarray:
    return np.random.default_rng(2).integers(-1, 3, (len(PEOPLE), len(ROWS))).astype(np.int8)


def write_bed(folder, calls) -> None:
    (folder / "x.bed").write_bytes(HEADER + packed(calls).tobytes())
    (folder / "x.bim").write_text("".join(f"{c}\t{i}\t0\t{p}\t{alt}\t{ref}\n" for c, p, i, ref, alt in ROWS))
    (folder / "x.fam").write_text("".join(f"f {name} 0 0 {1 + row % 2} -9\n" for row, name in enumerate(PEOPLE)))


def write_vcf(folder, calls, extra: str = "") -> None:
    words = {-1: "./.", 0: "0/0", 1: "0/1", 2: "1/1"}
    lines = ["##fileformat=VCFv4.2", '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">']
    lines += [f"##contig=<ID={name}>" for name in ("1", "2", "22")]
    lines.append("#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t" + "\t".join(PEOPLE))
    for row, (chromosome, position, name, ref, alt) in enumerate(ROWS):
        called = "\t".join(words[int(call)] for call in calls[:, row])
        lines.append(f"{chromosome}\t{position}\t{name}\t{ref}\t{alt}\t.\tPASS\t.\tGT\t{called}")
    (folder / "x.vcf").write_text("\n".join(lines) + "\n" + extra)


def write_pgen(folder, calls) -> None:
    import pgenlib

    with pgenlib.PgenWriter(
        os.fsencode(folder / "x.pgen"), len(PEOPLE), variant_ct=len(ROWS), nonref_flags=False
    ) as out:
        for row in range(len(ROWS)):
            out.append_biallelic(np.ascontiguousarray(np.where(calls[:, row] < 0, -9, calls[:, row]), dtype=np.int8))
    head = "##source=test\n#CHROM\tPOS\tID\tREF\tALT\n"
    (folder / "x.pvar").write_text(head + "".join("\t".join(row) + "\n" for row in ROWS))
    (folder / "x.psam").write_text(
        "#IID\tSEX\n" + "".join(f"{name}\t{1 + row % 2}\n" for row, name in enumerate(PEOPLE))
    )


WRITERS = {"x.bed": write_bed, "x.vcf": write_vcf, "x.pgen": write_pgen}


@pytest.mark.parametrize("name", sorted(WRITERS))
@pytest.mark.parametrize("at_once", [11, 25, 1000])
def test_all_formats_give_the_same(tmp_path, calls, monkeypatch, name, at_once):
    monkeypatch.setattr(readers, "AT_ONCE", at_once)
    WRITERS[name](tmp_path, calls)
    found = read_source(tmp_path / name)

    np.testing.assert_array_equal(np.concatenate(list(found.blocks()), axis=1), calls)
    np.testing.assert_array_equal(np.concatenate(list(found.blocks()), axis=1), calls)  # it can be read again
    assert found.people == PEOPLE
    assert found.variants.position.tolist() == [100, 200, 50, 70]
    assert found.variants.chromosome.tolist() == [1, 1, 2, 22]
    assert found.variants.a1.tolist() == ["G", "CT", "A", "T"]
    assert found.variants.a2.tolist() == ["A", "C", "T", "G"]
    assert found.words == ["1", "1", "2", "22"]
    if name != "x.vcf":
        assert found.sheet["SEX"] == [str(1 + row % 2) for row in range(len(PEOPLE))]


def test_several_alternatives_are_left_out_and_counted(tmp_path, calls):
    called = "\t".join(["1/2"] * len(PEOPLE))
    write_vcf(tmp_path, calls, f"22\t90\t.\tA\tC,G\t.\tPASS\t.\tGT\t{called}\n")
    found = read_source(tmp_path / "x.vcf")
    assert found.left_out == 1
    np.testing.assert_array_equal(np.concatenate(list(found.blocks()), axis=1), calls)


@pytest.mark.peer
@pytest.mark.parametrize("ending", ["bed", "pgen", "vcf"])
def test_plink2_writes_what_is_read(tmp_path, calls, ending):
    write_bed(tmp_path, calls)
    program = need_program("plink2", "plink2")
    making = {"bed": ["--make-bed"], "pgen": ["--make-pgen"], "vcf": ["--export", "vcf"]}[ending]
    command = [program, "--bfile", "x", *making, "--out", "y", "--threads", "1", "--real-ref-alleles"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    found = read_source(tmp_path / f"y.{ending}")
    np.testing.assert_array_equal(np.concatenate(list(found.blocks()), axis=1), calls)
    assert found.variants.a1.tolist() == ["G", "CT", "A", "T"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "x.bim").unlink(), "needs x.bim beside it"),
        (lambda folder: (folder / "x.bed").write_bytes(HEADER[:2] + b"\x00" + b"\x00" * 12), "sample-major"),
        (lambda folder: (folder / "x.bed").write_bytes(HEADER + b"\x00" * 5), "make"),
        (lambda folder: (folder / "x.fam").write_text("f a 0 0 1 1\nf a 0 0 1 1\n"), "whose id"),
    ],
)
def test_a_bed_that_cannot_be_right_is_refused(tmp_path, calls, damage, message):
    write_bed(tmp_path, calls)
    damage(tmp_path)
    with pytest.raises(InputError, match=message):
        read_source(tmp_path / "x.bed")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.txt", b"", "no file of genotypes"),
        ("x.vcf", b"nonsense\n", "cannot be read as VCF"),
        ("x.zip", b"", "no file of"),
    ],
)
def test_what_is_no_file_of_genotypes_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_source(tmp_path / name)
    with pytest.raises(InputError, match="There is no file"):
        read_source(tmp_path / "other.bed")


def test_a_list_of_variants_has_no_samples(tmp_path):
    (tmp_path / "x.vcf").write_text("##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n")
    with pytest.raises(InputError, match="no samples"):
        read_source(tmp_path / "x.vcf")


def test_a_reader_that_is_not_installed_is_named(tmp_path, calls, monkeypatch):
    write_vcf(tmp_path, calls)
    monkeypatch.setitem(__import__("sys").modules, "cyvcf2", None)
    with pytest.raises(InputError, match="pip install cyvcf2"):
        read_source(tmp_path / "x.vcf")
