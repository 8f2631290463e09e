"""`prepare`, `check` and the command line: own files and packaged sets to one folder per DIZ."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from gwas import __main__, desk_check, own, prepare
from gwas.errors import InputError
from gwas.genotypes import HEADER
from gwas.own import Own
from gwas.panel import load_panel
from gwas.prepare import hold_out, prepare_own, prepare_packaged, read_stamp
from gwas.readers import packed
from gwas.store import load_site, read_bim, read_fam

PEOPLE = [f"p{row}" for row in range(12)]
SITES = ["north", "south", "north"]


@pytest.fixture
def calls() -> np.ndarray:
    return np.random.default_rng(4).integers(-1, 3, (len(PEOPLE), 5)).astype(np.int8)


@pytest.fixture
def files(tmp_path, calls) -> Path:
    """x.bed: five of the synthetic panel's variants; y.txt: phenotypes in another order; z.txt: covariates."""
    panel = load_panel("synthetic")
    (tmp_path / "x.bed").write_bytes(HEADER + packed(calls).tobytes())
    (tmp_path / "x.bim").write_text(
        "".join(
            f"{panel.chromosome[row]}\t{panel.id[row]}\t0\t{panel.position[row]}\t{panel.alt[row]}\t{panel.ref[row]}\n"
            for row in range(5)
        )
    )
    (tmp_path / "x.fam").write_text("".join(f"f {name} 0 0 {1 + row % 2} -9\n" for row, name in enumerate(PEOPLE)))
    rows = [f"f {name} {row + 0.5} {1 + row // 6}" for row, name in enumerate(PEOPLE)]
    (tmp_path / "y.txt").write_text("FID IID bmi t2d\n" + "\n".join(reversed(rows[:-1])) + "\n")
    sheet = [f"f\t{name}\t{40 + row}\t{'AB'[row % 2]}\t{SITES[row % 3]}" for row, name in enumerate(PEOPLE)]
    (tmp_path / "z.txt").write_text("FID\tIID\tage\tbatch\thospital\n" + "\n".join(sheet) + "\n")
    return tmp_path


def sheet_of(folder: Path) -> dict[str, list]:
    return pq.ParquetFile(folder / "samples.parquet").read().to_pydict()


def test_own_files_become_stores_by_site(files, calls):
    stamp = prepare_own(files / "out", Own(files / "x.bed", files / "y.txt", files / "z.txt", site_column="hospital"))

    assert {node: (facts["site"], facts["samples"]) for node, facts in stamp["nodes"].items()} == {
        "DIZ-1": ("north", 8),
        "DIZ-2": ("south", 4),
    }
    south = files / "out" / "DIZ-2" / "genotypes"
    mine = [1, 4, 7, 10]
    sheet = sheet_of(south)
    assert sheet["sample_id"] == [PEOPLE[row] for row in mine]
    assert sheet["patient_id"] == sheet["sample_id"]
    assert sheet["bmi"] == [row + 0.5 for row in mine]
    assert sheet["t2d"] == [1.0, 1.0, 2.0, 2.0]
    assert (sheet["age"], sheet["batch"]) == ([41.0, 44.0, 47.0, 50.0], ["B", "A", "B", "A"])
    assert sheet["sex"] == [2.0, 1.0, 2.0, 1.0]
    assert "hospital" not in sheet
    assert read_fam(south / "genotypes.fam") == sheet["sample_id"]
    assert (south / "genotypes.bed").read_bytes() == HEADER + packed(calls[mine]).tobytes()
    assert stamp["quality"]["samples with genotypes that y.txt lacks"] == 1
    assert stamp["quality"]["phenotype t2d"] == "disease: 5 cases, 6 controls, 1 missing"
    assert stamp["quality"]["phenotype bmi"] == "trait: 11 values, 1 missing"
    assert sheet_of(files / "out" / "DIZ-1" / "genotypes")["bmi"].count(None) == 1


def test_a_store_that_was_prepared_is_one_that_is_read(files, calls, settings):
    prepare_own(files / "out", Own(files / "x.bed", files / "y.txt", files / "z.txt", pheno_name=("bmi",)))
    config = {"set": "own", "panel": "synthetic", "phenotype": "bmi", "covariates": "age, batch", "levels": "batch=A|B"}
    site = load_site(files / "out" / "DIZ-1" / "genotypes", settings(**config, ambiguous="keep"))

    np.testing.assert_array_equal(site.genotypes.read(0, 5), calls)
    assert site.codes["batch"].tolist() == [row % 2 for row in range(12)]
    assert "t2d" not in site.numbers
    assert not site.genotypes.present[5:].any()


def test_the_same_call_again_does_nothing(files):
    prepare_own(files / "out", Own(files / "x.bed", files / "y.txt"))
    before = (files / "out" / "prepared.json").stat().st_mtime_ns
    prepare_own(files / "out", Own(files / "x.bed", files / "y.txt"))
    assert (files / "out" / "prepared.json").stat().st_mtime_ns == before

    (files / "y.txt").write_text((files / "y.txt").read_text().replace("0.5", "0.25"))
    prepare_own(files / "out", Own(files / "x.bed", files / "y.txt"))
    assert (files / "out" / "prepared.json").stat().st_mtime_ns != before


def test_a_fam_s_phenotype_is_taken_where_no_table_is_given(files):
    with pytest.raises(InputError, match="--pheno"):
        prepare_own(files / "out", Own(files / "x.bed"))
    assert not (files / "out").exists()
    (files / "x.fam").write_text("".join(f"f {name} 0 0 0 {1 + row % 2}\n" for row, name in enumerate(PEOPLE)))
    prepare_own(files / "out", Own(files / "x.bed"))
    assert sheet_of(files / "out" / "DIZ-1" / "genotypes")["phenotype"] == [1.0, 2.0] * 6


def _replace(name: str, old: str, new: str, count: int = -1):
    return lambda folder: (folder / name).write_text((folder / name).read_text().replace(old, new, count))


def _twice(folder: Path) -> None:
    rows = (folder / "x.bim").read_text().splitlines()
    first = rows[0].split("\t")
    again = "\t".join([first[0], "other", "0", first[3], first[5], first[4]])  # the alleles in the other order
    (folder / "x.bim").write_text("\n".join([again, *rows[1:], rows[0]]) + "\n")
    (folder / "x.bed").write_bytes(HEADER + packed(np.zeros((12, 6), dtype=np.int8)).tobytes())


def _constant(folder: Path) -> None:
    (folder / "y.txt").write_text("FID IID bmi\n" + "".join(f"f {name} 21.5\n" for name in PEOPLE))


@pytest.mark.parametrize(
    ("damage", "given", "message"),
    [
        (_replace("y.txt", "f p3 ", "f q3 "), {}, "Samples of y.txt without genotypes: 1 (10 have some)"),
        (_replace("y.txt", "f p", "f f_p"), {}, "No sample of y.txt has genotypes"),
        (_replace("y.txt", "f p3 ", "f p4 "), {}, "1 rows about a sample"),
        (_replace("y.txt", " bmi ", " iq "), {"pheno_name": ("bmi",)}, "no column 'bmi'"),
        (_replace("y.txt", " bmi ", " sample_id "), {}, "cannot be called 'sample_id'"),
        (_replace("z.txt", "\tage\t", "\tbmi\t"), {"covar": True}, "in both tables"),
        (
            _replace("z.txt", "north", "", 1),
            {"covar": True, "site_column": "hospital"},
            "Samples without a value in 'hospital': 1",
        ),
        (lambda folder: None, {"site_column": "clinic"}, "no table|No table has a column 'clinic'"),
        (lambda folder: None, {"one": True}, "leave --one out"),
        (_replace("x.bim", "syn000002", "syn000001"), {}, None),
        (_twice, {}, "there twice"),
        (_constant, {}, "the same value in all samples"),
        (_replace("x.fam", "f p1 ", "f p0 "), {}, "whose id"),
    ],
)
def test_own_files_that_cannot_be_used_are_refused(files, damage, given, message):
    damage(files)
    covar = files / "z.txt" if given.get("covar") else None
    ours = Own(files / "x.bed", files / "y.txt", **{**given, "covar": covar})
    if message is None:  # two variants of one name are two variants
        assert prepare_own(files / "out", ours)["nodes"]
        return
    with pytest.raises(InputError) as error:
        prepare_own(files / "out", ours)
    assert any(part in str(error.value) for part in message.split("|"))
    assert not any(f"p{row} " in str(error.value) for row in range(12))
    assert not (files / "out").exists()


def test_rows_without_genotypes_can_be_passed_over(files):
    _replace("y.txt", "f p3 ", "f q3 ")(files)
    stamp = prepare_own(files / "out", Own(files / "x.bed", files / "y.txt", ignore_unmatched=True))
    assert stamp["quality"]["samples of y.txt without genotypes"] == 1
    assert sheet_of(files / "out" / "DIZ-1" / "genotypes")["bmi"][3] is None


def test_a_folder_that_prepare_did_not_write_is_not_touched(files):
    (files / "out").mkdir()
    (files / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="was not written by prepare"):
        prepare_packaged(files / "out", "synthetic", 5, 0)
    assert [file.name for file in (files / "out").iterdir()] == ["thesis.txt"]
    with pytest.raises(InputError, match="was not written by prepare"):
        read_stamp(files / "out")


def test_a_write_that_fails_leaves_nothing(files, monkeypatch):
    def fail(*_given: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr(prepare, "_write_beds", fail)
    with pytest.raises(OSError, match="no space"):
        prepare_own(files / "out", Own(files / "x.bed", files / "y.txt"))
    assert not [file for file in files.iterdir() if "out" in file.name]


def test_the_synthetic_set_is_dealt_out_unevenly(prepared):
    stamp = read_stamp(prepared())
    sizes = [facts["samples"] for facts in stamp["nodes"].values()]
    assert sum(sizes) == 2000
    assert sizes == sorted(sizes)
    assert stamp["quality"] == {"synthetic": True, "variants": 4000}


@pytest.mark.peer
@pytest.mark.slow
def test_the_set_of_snpstats_is_whole(prepared, settings):
    data = prepared("snpstats")
    sites = [
        load_site(data / f"DIZ-{node}" / "genotypes", settings(set="snpstats", ambiguous="keep"))
        for node in range(1, 6)
    ]
    assert sum(site.samples for site in sites) == 1000
    assert all(site.genotypes.present.all() for site in sites)
    assert sum((site.numbers["cc"] == 2).sum() for site in sites) == 500


def test_one_patient_in_five_is_held_out():
    patients = [f"patient {row}" for row in range(1000)]
    found = hold_out(patients)
    assert 150 < found.count("test") < 250
    assert hold_out(patients[::-1]) == found[::-1]


def test_check_says_how_files_fit_a_panel(prepared):
    lines = list(desk_check.check_files(prepared(uneven=True), "synthetic", "drop"))

    text = "\n".join(lines)
    assert "380 not there" in text
    assert "LOOK: most variants of chromosome 10 are not there." in text
    assert text.count("462 A/T or C/G, left out") == 4
    one = list(desk_check.check_files(prepared() / "DIZ-1" / "genotypes" / "genotypes.bed", "synthetic", "keep"))
    assert any("4000 as the panel has them" in line for line in one)


def test_check_says_what_is_wrong_with_a_path(tmp_path):
    (tmp_path / "cohort.vcf").touch()
    (tmp_path / "alone.bed").touch()
    for name, text in (
        ("misspelt.bed", "is not there"),
        ("cohort.vcf", "prepare cohort"),
        ("alone.bed", "check the path"),
    ):
        with pytest.raises(InputError, match=text):
            list(desk_check.check_files(tmp_path / name, "synthetic", "drop"))


def test_check_warns_of_ambiguous_variants_that_are_kept(prepared):
    store = prepared(uneven=True) / "DIZ-2" / "genotypes"
    assert any("cannot be trusted" in line for line in desk_check.check_files(store, "synthetic", "keep"))
    assert not any("cannot be trusted" in line for line in desk_check.check_files(store, "synthetic", "drop"))


def test_check_names_another_build(prepared, tmp_path, capsys):
    store = Path(shutil.copytree(prepared() / "DIZ-1" / "genotypes", tmp_path / "store"))
    bim = read_bim(store / "genotypes.bim")
    rows = (store / "genotypes.bim").read_text().splitlines()
    shifted = [row.split("\t") for row in rows]
    (store / "genotypes.bim").write_text(
        "".join("\t".join([*row[:3], str(int(row[3]) + 12_345), *row[4:]]) + "\n" for row in shifted)
    )
    assert __main__.main(["check", str(store), "--panel", "synthetic"]) == 2
    said = capsys.readouterr().err
    assert f"{len(bim.id)} of {len(bim.id)} variants" in said
    assert "another genome build" in said


def test_the_command_line(files, capsys):
    assert (
        __main__.main(
            ["prepare", "--out", str(files / "o"), "--own", str(files / "x.bed"), "--pheno", str(files / "y.txt")]
        )
        == 0
    )
    said = capsys.readouterr().out
    assert "DIZ-1         12 samples" in said
    assert "phenotype t2d: disease: 5 cases, 6 controls, 1 missing" in said
    assert __main__.main(["prepare", "--out", str(files / "p"), "--pheno", str(files / "y.txt")]) == 2
    assert "belong to --own" in capsys.readouterr().err
    assert __main__.main(["panel", "--name", "synthetic", "--show"]) == 0
    assert "4000 variants" in capsys.readouterr().out
    with pytest.raises(InputError, match="at least 1"):
        __main__.main(["prepare", "--out", str(files / "q"), "--nodes", "0", "--debug"])


def test_files_are_described_by_what_is_in_them(files):
    found = Own(files / "x.bed", files / "y.txt").describe()
    assert json.loads(json.dumps(found)) == found
    assert len(found["genotypes"]) == 3
    with pytest.raises(InputError, match="cannot be read"):
        own.Own(files / "y.bed").describe()
