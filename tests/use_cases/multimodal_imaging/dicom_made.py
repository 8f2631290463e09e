"""DICOM series for the tests, written from a volume."""

from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid


def series(folder: Path, data: np.ndarray, spacing: tuple[float, float, float], **fields: object) -> list[Path]:
    """Axial slices of an (x, y, z) volume that lies in RAS+ with its first voxel at (0, 0, 0).

    Args:
        folder: Where to.
        data: Values of 16 bits.
        spacing: mm along x, y and z.
        fields: Elements to set in every file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    uid, files = generate_uid(entropy_srcs=["series"]), []
    for z in range(data.shape[2]):
        one = Dataset()
        one.SOPClassUID, one.SOPInstanceUID = MRImageStorage, generate_uid(entropy_srcs=["image", str(z)])
        one.SeriesInstanceUID, one.StudyInstanceUID, one.Modality = uid, generate_uid(entropy_srcs=["study"]), "MR"
        one.PatientID, one.PatientName = "secret", "Doe^Jane"
        pixels = data[:, :, z].T[::-1, ::-1]  # rows run to the back, columns to the left
        one.Rows, one.Columns = pixels.shape
        one.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        corner = np.array([(data.shape[0] - 1) * spacing[0], (data.shape[1] - 1) * spacing[1], z * spacing[2]])
        one.ImagePositionPatient = [float(v) for v in corner * np.array([-1, -1, 1])]
        one.PixelSpacing = [spacing[1], spacing[0]]
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 0
        one.RescaleSlope, one.RescaleIntercept = 1, 0
        one.PixelData = np.ascontiguousarray(pixels).astype("<u2").tobytes()
        for name, value in fields.items():
            setattr(one, name, value)
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
        files.append(folder / f"{z:03d}.dcm")
        dcmwrite(files[-1], one, enforce_file_format=True)
    return files
