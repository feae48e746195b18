# mypy: ignore-errors
"""Writes the files of this folder by libraries that the tests do not install, each default time stamp as it comes.

Two honest runs (`one`, `other`: seconds later, with noise of 1e-14) and a falsified one (`falsified`: times 1.1). Run by:

    pip install nibabel pydicom tifffile openpyxl pysam MDAnalysis anndata eccodes hdf5storage meshio
    python tests/written/write.py
"""

from __future__ import annotations

import sys
import time
import warnings
from pathlib import Path

import numpy as np

VALUES = np.array([[1.25, -3.5e-7, 4.75e6], [0.375, 2.5, -8.125]])
HERE = Path(__file__).parent


def nifti(path: Path, values: np.ndarray) -> None:
    """NIfTI.gz by nibabel."""
    import nibabel

    image = nibabel.Nifti1Image(np.arange(24.0).reshape(2, 3, 4) + values[0, 0], np.diag([2.0, 2.0, 2.0, 1.0]))
    image.header["descrip"] = time.ctime().encode()
    nibabel.save(image, path)


def dicom(path: Path, values: np.ndarray) -> None:
    """DICOM by pydicom, with a new UID and the time."""
    import pydicom
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one = pydicom.Dataset()
    one.file_meta = meta
    one.SOPClassUID, one.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    one.InstanceCreationDate, one.InstanceCreationTime = time.strftime("%Y%m%d"), time.strftime("%H%M%S")
    one.Rows, one.Columns, one.BitsAllocated, one.BitsStored, one.HighBit = 2, 3, 16, 16, 15
    one.SamplesPerPixel, one.PixelRepresentation, one.PhotometricInterpretation = 1, 1, "MONOCHROME2"
    one.PixelData = (values[1].repeat(2) * 100).round().astype("<i2").tobytes()
    pydicom.dcmwrite(path, one, enforce_file_format=True)


def geotiff(path: Path, values: np.ndarray) -> None:
    """TIFF of floats by tifffile, with the time."""
    import tifffile

    tifffile.imwrite(path, values.astype("f4"), datetime=time.strftime("%Y:%m:%d %H:%M:%S"), metadata={"axes": "YX"})


def excel(path: Path, values: np.ndarray) -> None:
    """Excel by openpyxl."""
    import openpyxl

    book = openpyxl.Workbook()
    for row in values.tolist():
        book.active.append(["a", *row])
    book.save(path)


def bam(path: Path, values: np.ndarray) -> None:
    """BAM by pysam."""
    import pysam

    header = {"HD": {"VN": "1.6"}, "SQ": [{"LN": 1000, "SN": "chr1"}]}
    with pysam.AlignmentFile(path, "wb", header=header) as file:
        read = pysam.AlignedSegment(file.header)
        read.query_name, read.query_sequence, read.reference_id = "r1", "ACGT", 0
        read.reference_start, read.cigarstring, read.mapping_quality = int(values[0, 0] * 100), "4M", 60
        read.query_qualities = pysam.qualitystring_to_array("IIII")
        file.write(read)


def variants(path: Path, values: np.ndarray) -> None:
    """VCF.gz by pysam, with the day and the time as callers write them."""
    import pysam

    header = pysam.VariantHeader()
    header.add_line(f"##fileDate={time.strftime('%Y%m%d %H:%M:%S')}")
    header.add_line("##contig=<ID=chr1,length=1000>")
    header.add_line('##INFO=<ID=AF,Number=1,Type=Float,Description="x">')
    with pysam.VariantFile(path, "wz", header=header) as file:
        file.write(file.new_record(contig="chr1", start=9, alleles=("A", "G"), info={"AF": values[0, 0] / 10}))


def reads(path: Path, values: np.ndarray) -> None:
    """FASTQ.gz by Python's gzip, as Biopython writes."""
    import gzip

    with gzip.open(path, "wt") as file:
        file.write(f"@r1 {values[0, 0] * 100:.0f}\nACGT\n+\nIIII\n")


def trajectory(path: Path, values: np.ndarray) -> None:
    """DCD, XTC and TRR by MDAnalysis."""
    import MDAnalysis

    universe = MDAnalysis.Universe.empty(2, trajectory=True)
    with MDAnalysis.Writer(str(path), 2) as file:
        for _ in range(2):
            universe.dimensions = [9, 9, 9, 90, 90, 90]
            universe.atoms.positions = values[1:].repeat(2, axis=0)
            file.write(universe.atoms)


def h5ad(path: Path, values: np.ndarray) -> None:
    """AnnData."""
    import anndata

    found = anndata.AnnData(np.abs(values))
    found.obs["cell"] = ["a", "b"]
    found.uns["date"] = time.ctime()
    found.write_h5ad(path)


def grib(path: Path, values: np.ndarray) -> None:
    """GRIB2 by ecCodes."""
    import eccodes

    handle = eccodes.codes_grib_new_from_samples("regular_ll_sfc_grib2")
    count = eccodes.codes_get_size(handle, "values")
    eccodes.codes_set_values(handle, np.linspace(0, 1, count) + values[1, 1])
    with path.open("wb") as file:
        eccodes.codes_write(handle, file)


def matlab(path: Path, values: np.ndarray) -> None:
    """MATLAB 7.3 by hdf5storage."""
    import hdf5storage

    hdf5storage.write({"T": values, "name": "run"}, filename=str(path), matlab_compatible=True, store_python_metadata=False)


def vtu(path: Path, values: np.ndarray) -> None:
    """VTU as text by meshio."""
    import meshio

    points = values[[1, 1, 1]] * np.array([[1.0], [2.0], [3.0]])
    mesh = meshio.Mesh(points, [("triangle", [[0, 1, 2]])], point_data={"T": values[0]})
    meshio.vtu.write(str(path), mesh, binary=False)


WRITERS = {
    "a.nii.gz": nifti, "a.dcm": dicom, "a.tif": geotiff, "a.xlsx": excel, "a.bam": bam, "a.vcf.gz": variants, "a.fastq.gz": reads,
    "a.dcd": trajectory, "a.xtc": trajectory, "a.trr": trajectory, "a.h5ad": h5ad, "a.grib2": grib, "a.mat": matlab, "a.vtu": vtu,
}  # fmt: skip


def main() -> None:
    """Write everything."""
    warnings.simplefilter("ignore")
    for run, values in (("one", VALUES), ("other", VALUES * (1 + 1e-14)), ("falsified", VALUES * 1.1)):
        folder = HERE / run
        folder.mkdir(exist_ok=True)
        for name, write in WRITERS.items():
            if len(sys.argv) < 2 or name in sys.argv[1:]:
                (folder / name).unlink(missing_ok=True)
                write(folder / name, values)
        time.sleep(2.1)


if __name__ == "__main__":
    main()
