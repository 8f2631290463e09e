"""Made-up scans of made-up patients, with everything in their headers that must not be seen."""

import csv
from pathlib import Path

import numpy as np

SIDE = 24
PRIVATE_GROUP = 0x0029


def make_data(folder: Path, patients: int, seed: int) -> None:
    """Write manifest.csv, and for each patient an X-ray (DICOM, 12 bits) and a picture of one or both eyes (PNG).

    Files are named after the patients, as they often are.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(patients):
        patient = f"PAT{number:05d}"
        (folder / patient).mkdir()
        sides = ("L", "R")[: int(rng.integers(1, 3))]
        for side in sides:
            name = f"{patient}/eye-{side}.png"
            _write_png(folder / name, rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8), patient)
            rows.append((patient, f"{patient}-OP-{side}", name, "OP", side, "1.5"))
        name = f"{patient}/chest.dcm"
        _write_dicom(folder / name, rng.integers(0, 4096, (SIDE, SIDE), np.uint16), patient, f"1.2.3.{seed}.{number}")
        rows.append((patient, f"{patient}-DX", name, "DX", "", "0.5"))
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("patient_id", "image_id", "path", "modality", "laterality", "dose"))
        writer.writerows(rows)


def _write_png(path: Path, pixels: np.ndarray, patient: str) -> None:
    from PIL import Image, PngImagePlugin

    text = PngImagePlugin.PngInfo()
    text.add_text("Patient", f"Mustermann {patient}")
    Image.fromarray(pixels).save(path, pnginfo=text)


def _write_dicom(path: Path, pixels: np.ndarray, patient: str, uid: str) -> None:
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = DigitalXRayImageStorageForPresentation, f"{uid}.1"
    image.StudyInstanceUID, image.SeriesInstanceUID = f"{uid}.2", f"{uid}.3"
    image.PatientName, image.PatientID, image.PatientBirthDate = f"Mustermann^{patient}", patient, "19700101"
    image.StudyDate, image.AccessionNumber, image.Modality = "20200229", f"ACC{patient}", "DX"
    image.private_block(PRIVATE_GROUP, "MAKER", create=True).add_new(1, "LO", f"Mustermann {patient}")
    image.Rows, image.Columns = pixels.shape
    image.SamplesPerPixel, image.PhotometricInterpretation, image.PixelRepresentation = 1, "MONOCHROME2", 0
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
    image.PixelSpacing = [0.15, 0.15]
    image.PixelData = pixels.astype("<u2").tobytes()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.save_as(path, enforce_file_format=True)
