"""VCF and BCF: what a view holds line by line, and what is not a sound file."""

import gzip
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cyvcf2 import VCF

from flame_fl.contract.errors import InputError
from flame_fl.data.disguise import Disguise
from flame_fl.data.kind import open_kind
from flame_fl.data.kinds import vcf as module
from flame_fl.data.layout import ALL, Layout, Wanted
from tests.support.genotypes import file_size_limit, made_up, write, write_vcf_text

SUFFIXES = pytest.mark.parametrize("suffix", ["vcf", "vcf.gz", "bcf"])
HIDDEN = Disguise(bytes(range(32)))
TEXT = """##fileformat=VCFv4.3
##fileDate=20240101
##commandline="secret --of CANARY"
##contig=<ID=1,length=1000,assembly=CANARY>
##contig=<URL=CANARY,ID=HLA-A*01:01>
##INFO=<ID=AC,Number=A,Type=Integer,Description="CANARY">
##INFO=<ID=DS,Number=0,Type=Flag,Description="CANARY">
##FILTER=<ID=q10,Description="CANARY">
##FORMAT=<ID=GT,Number=1,Type=String,Description="CANARY">
##FORMAT=<ID=GQ,Number=1,Type=Integer,Description="CANARY">
##FORMAT=<ID=DS,Number=A,Type=Float,Description="CANARY">
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\ts1\ts2\ts3
1\t100\trs1\tA\tG\t50\tPASS\tAC=4711\tGT:GQ:DS\t0/1:5:0.93\t./.\t1|1:9:1.999
1\t200\trs2\tA\tG,C\t.\tq10\tAC=4711\tGT\t0/2\t.\t1
HLA-A*01:01\t5\trs3\tT\t<DEL>\t.\t.\t.\tGQ\t4711\t4711\t4711
1\t300\t.\tA\t.\t.\t.\t.\tGT\t0/0\t0/0\t0/0
"""
LINES = [
    ("1", "100", "rs1", "A", "G", "GT:DS", ["0/1:0.93", "./.:.", "1|1:1.999"]),
    ("1", "200", "rs2", "A", "G,C", "GT:DS", ["0/2:.", ".:.", "1:."]),
    ("HLA-A*01:01", "5", "rs3", "T", "<DEL>", "GT:DS", [".:.", ".:.", ".:."]),
    ("1", "300", ".", "A", ".", "GT:DS", ["0/0:.", "0/0:.", "0/0:."]),
]


def layout(suffix: str) -> Layout:
    return Layout("vcf", "people.csv", "patient", "sample", (f"c.{suffix}",))


def store(folder: Path, suffix: str, text: str = TEXT) -> Path:
    folder.mkdir(parents=True)
    write_vcf_text(text, folder / f"c.{suffix}")
    (folder / "people.csv").write_text("patient,sample,note\nA,s3,x\nB,s1,y\n")
    return folder


def subset(folder: Path, suffix: str, rows: list[int], wanted: Wanted) -> Path:
    view = folder.with_name("view")
    view.mkdir()
    open_kind(folder, layout(suffix)).subset(np.array(rows, np.int64), wanted, HIDDEN, view)
    return view


def lines(path: Path) -> list[str]:
    """Of a .bcf as htslib shows it, less the line that htslib itself adds to every header."""
    if path.suffix == ".bcf":
        read = VCF(str(path))
        header = [line for line in read.raw_header.splitlines() if line and not line.startswith("##FILTER=<ID=PASS")]
        return [*header, *(str(row).rstrip("\n") for row in read)]
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode().splitlines()


@SUFFIXES
def test_a_view_line_by_line(tmp_path: Path, suffix: str) -> None:
    """GT and DS only; no quality, filter or count of the cohort; several alleles, odd contigs, no GT, half a call."""
    view = subset(store(tmp_path / "store", suffix), suffix, [0, 1], Wanted(features=ALL))
    words = [HIDDEN.record(name) for name in ("s1", "s3")]
    header = [
        "##fileformat=VCFv4.2",
        "##contig=<ID=1,length=1000>",
        "##contig=<ID=HLA-A*01:01>",
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">',
        '##FORMAT=<ID=DS,Number=A,Type=Float,Description="Dosage">',
        "\t".join(["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *words]),
    ]
    expected = ["\t".join([*site, ".", ".", ".", form, calls[0], calls[2]]) for *site, form, calls in LINES]
    assert lines(view / f"c.{suffix}") == [*header, *expected]


@SUFFIXES
def test_names_and_choice_of_variants(tmp_path: Path, suffix: str) -> None:
    """A variant without an id, and one with two further alleles, by name."""
    folder = store(tmp_path / "store", suffix)
    names = open_kind(folder, layout(suffix)).schema().features[0].names
    assert names == ("rs1", "rs2", "rs3", "1:300:A:.")
    view = subset(folder, suffix, [1], Wanted(features=("1:300:A:.", "rs2")))
    assert [line.split("\t")[1] for line in lines(view / f"c.{suffix}") if line[0] != "#"] == ["200", "300"]


@SUFFIXES
def test_without_dosages_in_the_header_there_are_none(tmp_path: Path, suffix: str) -> None:
    """An INFO field of the same name does not count."""
    text = "".join(line for line in TEXT.splitlines(keepends=True) if not line.startswith("##FORMAT=<ID=DS"))
    text = text.replace("GT:GQ:DS", "GT:GQ").replace(":0.93", "").replace(":1.999", "")
    view = subset(store(tmp_path / "store", suffix, text), suffix, [0, 1], Wanted(features=("rs1",)))
    assert lines(view / f"c.{suffix}")[-1].split("\t")[8:] == ["GT", "0/1", "1|1"]


def test_a_packed_view_is_bgzf(tmp_path: Path) -> None:
    """Blocks of at most 64 KiB, each with its size, and the empty one at the end; gzip and htslib read it alike."""
    write("vcf", made_up(200, 400), tmp_path / "store")
    kind = open_kind(tmp_path / "store", Layout("vcf", "people.tsv", "IID", None, ("cohort.vcf.gz",)))
    (tmp_path / "view").mkdir()
    kind.subset(np.arange(200), Wanted(features=ALL), HIDDEN, tmp_path / "view")
    data, at, blocks = (tmp_path / "view" / "cohort.vcf.gz").read_bytes(), 0, []
    while at < len(data):
        assert data[at : at + 4] == b"\x1f\x8b\x08\x04"
        assert data[at + 12 : at + 16] == b"BC\x02\x00"
        size = int.from_bytes(data[at + 16 : at + 18], "little") + 1
        blocks.append(len(gzip.decompress(data[at : at + size])))
        at += size
    assert at == len(data)
    assert blocks[-1] == 0
    assert len(blocks) > 4
    assert max(blocks) <= 65536
    assert [str(row) for row in VCF(str(tmp_path / "view" / "cohort.vcf.gz"))] == [
        line + "\n" for line in gzip.decompress(data).decode().splitlines() if line[0] != "#"
    ]


def test_what_cannot_be_packed_fits_into_blocks(tmp_path: Path) -> None:
    """It grows a little, and the size of a block has 16 bits."""
    data = np.random.default_rng(0).bytes(200_000)
    with module._Text(tmp_path / "a.gz", "") as out:
        out._waiting += data
        out.write("")
    assert gzip.decompress((tmp_path / "a.gz").read_bytes()) == data


PROGRAM = """
import sys, numpy
from pathlib import Path
from flame_fl.contract.errors import InputError
from flame_fl.data.disguise import Disguise
from flame_fl.data.kind import open_kind
from flame_fl.data.layout import ALL, Layout, Wanted
folder, suffix = Path(sys.argv[1]), sys.argv[2]
kind = open_kind(folder, Layout("vcf", "people.csv", "patient", "sample", (f"c.{suffix}",)))
view = folder.with_name("view"); view.mkdir()
try:
    kind.subset(numpy.array([0]), Wanted(features=ALL), Disguise(bytes(32)), view)
except InputError as err:
    print(err)
"""
BAD = {
    "a call": TEXT.replace("0/2", "SECRET"),
    "a position": TEXT.replace("\t200\t", "\tSECRET\t"),
    "columns": TEXT.replace("\t0/2\t.\t1", "\t0/2"),
    "two of one name": TEXT.replace("\ts2\t", "\ts1\t"),
    "no header": "\n".join(TEXT.splitlines()[12:]) + "\n",
    "nothing": "",
    "no UTF-8 name": TEXT.replace("\ts2\t", "\tSECRET\udcff\t"),
    "no UTF-8 id": TEXT.replace("rs2", "SECRET\udcff"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_read_is_refused_in_silence(tmp_path: Path, case: str) -> None:
    """One sentence of ours, and not a word of htslib's, which quotes the file."""
    folder = store(tmp_path / "store", "vcf")
    (folder / "c.vcf").write_bytes(BAD[case].encode(errors="surrogateescape"))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), "vcf"], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert "is not a VCF or BCF file that can be read to its end" in done.stdout
    assert "SECRET" not in done.stdout


@pytest.mark.parametrize("suffix", ["vcf.gz", "bcf"])
@pytest.mark.parametrize("form", ["bgzf", "gzip"])
def test_a_file_that_is_cut_short_is_refused(tmp_path: Path, suffix: str, form: str) -> None:
    """Even where the rest is whole blocks."""
    write("bcf" if suffix == "bcf" else "vcf", made_up(50, 2000), tmp_path / "made")
    folder = store(tmp_path / "store", suffix)
    shutil.copyfile(tmp_path / "made" / f"cohort.{suffix}", folder / f"c.{suffix}")
    (folder / "people.csv").write_text("patient,sample\nA,IIDCANARY1\n")
    if form == "bgzf" and suffix == "vcf.gz":
        view = subset(folder, suffix, [0], Wanted(features=ALL))
        shutil.copyfile(view / f"c.{suffix}", folder / f"c.{suffix}")
        (folder / "people.csv").write_text(f"patient,sample\nA,{HIDDEN.record('IIDCANARY1')}\n")
        shutil.rmtree(view)
    data = (folder / f"c.{suffix}").read_bytes()
    for length in (len(data) - 28, len(data) - 1, len(data) // 2):
        (folder / f"c.{suffix}").write_bytes(data[:length])
        with pytest.raises(InputError, match=r"cut short|read to its end"):
            subset(folder, suffix, [0], Wanted(features=ALL))
        shutil.rmtree(folder.with_name("view"))


@pytest.mark.parametrize("form", ["vcf-text", "vcf", "bcf"])
def test_a_full_disk_is_an_error(tmp_path: Path, form: str) -> None:
    """cyvcf2's writer keeps silent about it."""
    layout = write(form, made_up(300, 500), tmp_path / "store")
    (tmp_path / "view").mkdir()
    kind = open_kind(tmp_path / "store", layout)
    with file_size_limit(20_000), pytest.raises(OSError, match=r"cannot be written|too large"):
        kind.subset(np.arange(300), Wanted(features=ALL), HIDDEN, tmp_path / "view")
