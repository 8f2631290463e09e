"""A small cohort with genotypes, written by other programs' libraries, read by them, and searched for what it hides."""

import gzip
import resource
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from flame_fl.data.layout import Layout

FILES = {"plink": "cohort.bed", "pgen": "cohort.pgen", "vcf": "cohort.vcf.gz", "vcf-text": "cohort.vcf",
         "bcf": "cohort.bcf"}  # fmt: skip
TABLE = "people.tsv"


@dataclass(frozen=True)
class Cohort:
    """People and the counts of their second alleles (variants, people); -1 is missing. `dosages` may go beside them."""

    calls: np.ndarray
    ids: Sequence[str] = ()
    variants: Sequence[str] = ()
    dosages: np.ndarray | None = field(default=None)

    def __post_init__(self) -> None:
        people, variants = self.calls.shape[1], self.calls.shape[0]
        object.__setattr__(self, "ids", list(self.ids) or [f"IIDCANARY{i}" for i in range(people)])
        object.__setattr__(self, "variants", list(self.variants) or [f"rsCANARY{i}x" for i in range(variants)])

    def without(self, person: int) -> "Cohort":
        dosages = None if self.dosages is None else np.delete(self.dosages, person, axis=1)
        ids = [id_ for i, id_ in enumerate(self.ids) if i != person]
        return replace(self, calls=np.delete(self.calls, person, axis=1), ids=ids, dosages=dosages)

    def pheno(self, person: str) -> str:
        return f"77{int(person.removeprefix('IIDCANARY')):04d}55"


def made_up(people: int, variants: int, seed: int = 0) -> Cohort:
    rng = np.random.default_rng(seed)
    return Cohort(rng.integers(-1, 3, (variants, people)).astype(np.int8))


def layout_of(form: str) -> Layout:
    """With PLINK's own tables where there are such."""
    table = {"plink": "cohort.fam", "pgen": "cohort.psam"}.get(form, TABLE)
    kind: Any = form if form in {"plink", "pgen"} else "vcf"
    return Layout(kind, table, "IID", None, (FILES[form],))


def write(form: str, cohort: Cohort, folder: Path) -> Layout:
    """A store of this form. Sex is 2 for all."""
    folder.mkdir(parents=True, exist_ok=True)
    {"plink": _plink, "pgen": _pgen}.get(form, _vcf)(cohort, folder / FILES[form])
    return layout_of(form)


def write_table(cohort: Cohort, path: Path) -> None:
    rows = [f"{id_}\t{cohort.pheno(id_)}\t2\n" for id_ in cohort.ids]
    path.write_text("".join(["IID\tPHENO\tSEX\n", *rows]))


def _plink(cohort: Cohort, path: Path) -> None:
    from bed_reader import to_bed

    count = len(cohort.ids)
    properties = {
        "fid": [id_.replace("IID", "FID") for id_ in cohort.ids],
        "iid": cohort.ids,
        "father": [id_.replace("IID", "PAT") for id_ in cohort.ids],
        "mother": ["0"] * count,
        "sex": [2] * count,
        "pheno": [cohort.pheno(id_) for id_ in cohort.ids],
        "chromosome": ["1"] * len(cohort.variants),
        "sid": cohort.variants,
        "bp_position": list(range(1, len(cohort.variants) + 1)),
        "allele_1": ["G"] * len(cohort.variants),
        "allele_2": ["A"] * len(cohort.variants),
    }
    calls = np.where(cohort.calls < 0, -127, cohort.calls).astype(np.int8).T
    to_bed(path, np.asfortranarray(calls), properties=properties, num_threads=1)


def _pgen(cohort: Cohort, path: Path) -> None:
    from pgenlib import PgenWriter

    variants, people = cohort.calls.shape
    dosages = cohort.dosages is not None
    writer = PgenWriter(bytes(path), people, variant_ct=variants, nonref_flags=False, dosage_present=dosages)
    if cohort.dosages is not None:
        writer.append_dosages_batch(np.ascontiguousarray(cohort.dosages, np.float32))
    else:
        writer.append_biallelic_batch(np.where(cohort.calls < 0, -9, cohort.calls).astype(np.int8))
    writer.close()
    rows = [f"1\t{i + 1}\t{name}\tA\tG\tPASS\tAC={i}\n" for i, name in enumerate(cohort.variants)]
    header = "##INFO=<ID=AC,Number=A,Type=Integer,Description=HEADERCANARY>\n#CHROM\tPOS\tID\tREF\tALT\tFILTER\tINFO\n"
    path.with_suffix(".pvar").write_text("".join([header, *rows]))
    people_rows = [f"FIDCANARY\t{id_}\t{id_.replace('IID', 'PAT')}\t0\t2\t{cohort.pheno(id_)}\n" for id_ in cohort.ids]
    path.with_suffix(".psam").write_text("".join(["#FID\tIID\tPAT\tMAT\tSEX\tPHENO\n", *people_rows]))


def vcf_text(cohort: Cohort) -> str:
    words = np.array(["0/0", "0/1", "1/1", "./."])
    header = [
        "##fileformat=VCFv4.2",
        "##source=HEADERCANARY",
        "##contig=<ID=1,length=9999,assembly=HEADERCANARY>",
        '##FILTER=<ID=HEADERCANARY,Description="x">',
        '##INFO=<ID=AC,Number=A,Type=Integer,Description="x">',
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="HEADERCANARY">',
        '##FORMAT=<ID=GQ,Number=1,Type=Integer,Description="x">',
        "\t".join(["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *cohort.ids]),
    ]
    rows = [
        "\t".join(["1", str(i + 1), name, "A", "G", "4711", "PASS", "AC=4711", "GQ:GT",
                   *(f"47:{words[c]}" for c in calls)])
        for i, (name, calls) in enumerate(zip(cohort.variants, cohort.calls, strict=True))
    ]  # fmt: skip
    return "\n".join([*header, *rows]) + "\n"


def _vcf(cohort: Cohort, path: Path) -> None:
    write_table(cohort, path.with_name(TABLE))
    write_vcf_text(vcf_text(cohort), path)


def write_vcf_text(text: str, path: Path) -> None:
    if path.suffix == ".bcf":
        from cyvcf2 import Writer

        lines = text.splitlines()
        header = [line for line in lines if line.startswith("#")]
        writer = Writer.from_string(str(path), "\n".join(header) + "\n", mode="wb")
        writer.write_header()
        for line in lines[len(header) :]:
            writer.write_record(writer.variant_from_string(line))
        writer.close()
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode(), mtime=0))
    else:
        path.write_text(text)


def read(folder: Path, name: str) -> tuple[list[str], list[str], np.ndarray]:
    """Samples, variants and calls (variants, people), by the format's own library."""
    readers: dict[str, Callable[[Path], tuple[list[str], list[str], np.ndarray]]] = {
        ".bed": _read_bed,
        ".pgen": _read_pgen,
    }
    return readers.get(Path(name).suffix, _read_vcf)(folder / name)


def _read_bed(path: Path) -> tuple[list[str], list[str], np.ndarray]:
    from bed_reader import open_bed

    with open_bed(path, num_threads=1) as bed:
        calls = bed.read(dtype="int8").T
        return list(bed.iid), list(bed.sid), np.where(calls < 0, -1, calls)


def _read_pgen(path: Path) -> tuple[list[str], list[str], np.ndarray]:
    from pgenlib import PgenReader

    samples = [line.split("\t") for line in path.with_suffix(".psam").read_text().splitlines()]
    variants = [line.split("\t")[2] for line in path.with_suffix(".pvar").read_text().splitlines() if line[0] != "#"]
    at = [name.removeprefix("#") for name in samples[0]].index("IID")
    calls = np.empty((len(variants), len(samples) - 1), np.int8)
    if path.exists():
        reader = PgenReader(bytes(path))
        reader.read_range(0, len(variants), calls)
    return [row[at] for row in samples[1:]], variants, np.where(calls < 0, -1, calls)


def _read_vcf(path: Path) -> tuple[list[str], list[str], np.ndarray]:
    from cyvcf2 import VCF

    vcf = VCF(str(path))
    names, calls = [], []
    for row in vcf:
        names.append(row.ID)
        calls.append([-1 if a < 0 else a + b for a, b, _ in row.genotypes] if vcf.samples else [])
    return list(vcf.samples), names, np.array(calls, np.int8).reshape(len(names), len(vcf.samples))


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, by name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def everything(folder: Path) -> bytes:
    """All bytes and all names in a folder, those of packed files also unpacked."""
    pieces = []
    for name, data in content(folder).items():
        pieces += [name.encode(), data, gzip.decompress(data) if data[:2] == b"\x1f\x8b" else b""]
    return b"\0".join(pieces)


@contextmanager
def file_size_limit(most: int) -> Iterator[None]:
    """No file may grow beyond so many bytes: what a full disk is to a program."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
