"""The kinds of files that the page "My file is ..., use ..." knows, each written by its real library."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from more_kinds import MORE, VALUES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Values = np.ndarray[Any, Any]

__all__ = ["FOLDERS", "KINDS", "VALUES"]


def saved(name: str, write: Callable[[Path], object]) -> bytes:
    """Return what a library writes to a path."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        write(path)
        return path.read_bytes()


def rows(values: np.ndarray[Any, Any], style: str = "%.15e", between: str = " ") -> str:
    """Return a table of text."""
    return "".join(between.join(style % one for one in row) + "\n" for row in values)


def npy(values: np.ndarray[Any, Any], date: str) -> bytes:
    """Write .npy: in Fortran order on the second day."""
    stream = io.BytesIO()
    np.save(stream, np.asfortranarray(values) if date[-1] == "2" else values.astype(">f8"))
    return stream.getvalue()


def records(values: np.ndarray[Any, Any], date: str) -> bytes:
    """Write .npy with records of numbers, text and dates."""
    stream = io.BytesIO()
    dtype = np.dtype([("t", "M8[ns]"), ("name", "U4"), ("x", "f8", (3,)), ("n", "i4")], align=date[-1] == "2")
    np.save(stream, np.array([("2026-01-01", "a", values[0], 7), ("NaT", "b", values[1], 8)], dtype=dtype))
    return stream.getvalue()


def npz(values: np.ndarray[Any, Any], date: str) -> bytes:
    """Write .npz, packed on the second day, members in another order."""
    stream = io.BytesIO()
    if date[-1] == "2":
        np.savez_compressed(stream, b=values[0], a=values)
    else:
        np.savez(stream, a=values, b=values[0])
    return stream.getvalue()


def hdf5(values: np.ndarray[Any, Any], date: str) -> bytes:
    """Write HDF5 with another layout each day."""
    import h5py

    def write(path: Path) -> None:
        later = date[-1] == "2"
        with h5py.File(path, "w", track_order=later) as file:
            group = file.create_group("run", track_order=later)
            group.attrs["created"] = date
            group.attrs["title"] = "a run"
            group.create_dataset("x", data=values, track_times=True, chunks=(1, 2) if later else None, compression="gzip" if later else None)
            group["labels"] = ["a", "bc"]
            group["psi"] = values[0] + 1j
            group["table"] = np.array([(1, values[0, 0])], dtype=[("n", "i4"), ("E", "f8")])
            file["again"] = group

    return saved("a.h5", write)


def netcdf(kind: Literal["NETCDF4", "NETCDF3_CLASSIC"]) -> Callable[[np.ndarray[Any, Any], str], bytes]:
    """Return what writes NetCDF of a kind."""

    def write_values(values: np.ndarray[Any, Any], date: str) -> bytes:
        before = dict(os.environ)
        import netCDF4  # which changes variables of this process

        os.environ.clear()
        os.environ.update(before)

        def write(path: Path) -> None:
            with netCDF4.Dataset(path, "w", format=kind) as file:
                file.history = f"{date}: model"
                file.createDimension("time", None)
                file.createDimension("x", 3)
                for name in ("time", "T") if date[-1] == "2" else ("T", "time"):
                    variable = file.createVariable(name, "f8", ("time", "x") if name == "T" else ("time",))
                    variable.units = "K" if name == "T" else "s"
                file["time"][:] = [0.5, 1.5]
                file["T"][:] = values

        return saved("a.nc", write)

    return write_values


def fits_image(values: np.ndarray[Any, Any], date: str) -> bytes:
    """Write a FITS image and a second one of scaled integers."""
    from astropy.io import fits

    first = fits.PrimaryHDU(values)
    first.header["DATE"] = date
    first.header["EXPTIME"] = (12.5, f"seconds, noted {date}")
    second = fits.ImageHDU(np.array([[1, 2, 40_000]], dtype="u2"))
    return saved("a.fits", lambda path: fits.HDUList([first, second]).writeto(path, checksum=True))


def fits_table(values: np.ndarray[Any, Any], date: str) -> bytes:
    """Write a binary table of FITS."""
    from astropy.io import fits

    columns = [
        fits.Column(name="id", format="5A", array=np.array(["a", "bc"])), fits.Column(name="x", format="3D", array=values),
        fits.Column(name="n", format="J", array=np.array([1, 2])), fits.Column(name="ok", format="L", array=np.array([True, False])),
    ]  # fmt: skip
    table = fits.BinTableHDU.from_columns(columns)
    table.header["HISTORY"] = f"made {date}"
    return saved("a.fits", lambda path: fits.HDUList([fits.PrimaryHDU(), table]).writeto(path))


def parquet(values: np.ndarray[Any, Any], date: str, names: Sequence[str | None] = ("a", None)) -> bytes:
    """Write Parquet in other row groups each day."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"name": list(names), "x": values[:, 0], "n": [len(str(name)) for name in names]}).replace_schema_metadata({"date": date})
    stream = io.BytesIO()
    pq.write_table(table, stream, row_group_size=1 if date[-1] == "2" else 10, compression="gzip" if date[-1] == "2" else "snappy")
    return stream.getvalue()


def any_order(values: np.ndarray[Any, Any], date: str) -> bytes:
    """Write Parquet, on the second day the last row first."""
    return parquet(values[::-1] if date[-1] == "2" else values, "2026-11-01", names=["b", "a"] if date[-1] == "2" else ["a", "b"])


def sqlite(*, turned: bool) -> Callable[[np.ndarray[Any, Any], str], bytes]:
    """Return what writes a database: pages of another size on the second day, and rows the other way round if asked."""

    def write_values(values: np.ndarray[Any, Any], date: str) -> bytes:
        later = date[-1] == "2"

        def write(path: Path) -> None:
            import sqlite3

            rows = [("a", float(values[0, 0]), None), ("b", float(values[1, 1]), b"\x01")]
            with contextlib.closing(sqlite3.connect(path)) as database:
                database.execute(f"PRAGMA page_size = {8192 if later else 1024}")
                database.execute("CREATE TABLE run (name TEXT, energy REAL, state BLOB)")
                if not turned:
                    database.execute(f"ALTER TABLE run ADD COLUMN created TEXT DEFAULT '{date}'")
                database.executemany("INSERT INTO run (name, energy, state) VALUES (?, ?, ?)", reversed(rows) if turned and later else rows)
                database.execute(f"CREATE INDEX by_{'name' if later else 'energy'} ON run (name)")
                database.commit()

        return saved("a.db", write)

    return write_values


def store(folder: Path, values: np.ndarray[Any, Any], date: str, version: Literal[2, 3]) -> None:
    """Write Zarr, on the second day in other chunks."""
    import zarr
    from zarr.core.sync import cleanup_resources

    later = date[-1] == "2"
    group = zarr.open_group(folder, mode="w", zarr_format=version)
    group.attrs["history"] = f"{date}: model"
    shards, chunks = ((2, 4) if version == 3 else None, (1, 2)) if later else (None, (2, 1))
    group.create_array("T", shape=values.shape, dtype="f8", shards=shards, chunks=chunks)[:] = values
    group.create_group("sub").create_array("psi", data=values[0] + 1j)
    cleanup_resources()  # its threads


def zarr_folder(values: np.ndarray[Any, Any], date: str) -> dict[str, bytes]:
    """Write Zarr of version 3, which is a folder, with shards on the second day."""
    with tempfile.TemporaryDirectory() as folder:
        store(Path(folder), values, date, 3)
        return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def zarr_zip(values: np.ndarray[Any, Any], date: str) -> bytes:
    """Write Zarr of version 2 by itself, and of version 3 with shards as a folder that is packed afterwards."""
    later = date[-1] == "2"

    def write(path: Path) -> None:
        folder = path.parent / "run.zarr"
        store(folder, values, date, 3 if later else 2)
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted(folder.rglob("*")):
                archive.write(file, file.relative_to(path.parent if later else folder))

    return saved("a.zarr.zip", write)


def png(values: np.ndarray[Any, Any], date: str) -> bytes:
    """Write PNG with a date in it."""
    from PIL import Image, PngImagePlugin

    info = PngImagePlugin.PngInfo()
    info.add_text("date", date)
    stream = io.BytesIO()
    Image.fromarray((values > 1).astype("u1") * 255).save(stream, "PNG", pnginfo=info, compress_level=int(date[-1]))
    return stream.getvalue()


def atoms(values: np.ndarray[Any, Any], kind: str) -> bytes:
    """Write atoms as ASE does."""
    from ase import Atoms
    from ase.io import write

    found = Atoms("H2", positions=[values[1], [values[0, 0]] * 3], cell=[9.0, 9.0, 9.0], pbc=True)
    found.info["energy"] = values[0, 0]
    stream = io.BytesIO()
    if kind == "cif":
        write(stream, found, format="cif")
    else:
        text = io.StringIO()
        write(text, found, format=kind)
        return text.getvalue().encode()
    return stream.getvalue()


def as_fortran(values: np.ndarray[Any, Any], date: str) -> bytes:
    """Write as Fortran does: D exponents, one without its letter, columns that grew together, repeats."""
    first = values[0, 0]
    lines = [
        "".join(f"{one:15.7E}".replace("E", "D") for one in values[0]),
        f" {first:.8f}-9.87654321  3*{first:.9f}", f" {first:.6f}-100 {date[:0]}",
    ]  # fmt: skip
    return ("\n".join(lines) + "\n" * int(date[-1])).encode()


def xml(values: np.ndarray[Any, Any], date: str) -> bytes:
    """Write XML with numbers in tags and in quotes."""
    words = " ".join(f"{one:.10g}" for one in values[0])
    return f'<svg w="{values[1, 1]:.12f}">\n<dc:date>{date}</dc:date>\n<path d="{words}"/>\n<v>{values[1, 0]:.12f}</v></svg>\n'.encode()


def in_any_order(head: str, lines: list[str], date: str) -> bytes:
    """Write lines, on the second day the last one first."""
    return (head + "".join(reversed(lines) if date[-1] == "2" else lines)).encode()


def lammps(values: np.ndarray[Any, Any], date: str) -> bytes:
    """Write a log as LAMMPS does: columns of a fixed width, times of its own, and the table of them."""
    day = date[-1]
    steps = "".join(f"{step:10d}   {value:<14.8g} {-value:<14.8g}\n" for step, value in enumerate(values[0]))
    return f"""LAMMPS (2 Aug 2023 - Update 3)
  using {day} OpenMP thread(s) per MPI task
Per MPI rank memory allocation (min/avg/max) = 3.{day}42 | 3.{day}42 | 3.{day}42 Mbytes
   Step          Temp          E_pair
{steps}Loop time of 0.0{day}9523 on {day} procs for 250 steps with 4000 atoms

Performance: 123{day}6.789 tau/day, 46.{day}25 timesteps/s, 185.{day} katom-step/s
98.{day}% CPU use with {day} MPI tasks x 1 OpenMP threads

MPI task timing breakdown:
Section |  min time  |  avg time  |  max time  |%varavg| %total
---------------------------------------------------------------
Pair    | 0.{day}2345    | 0.1{day}345    | 0.12{day}45    |   0.0 | 84.{day}9
Neigh   | 0.0{day}2345   | 0.01{day}345   | 0.012{day}45   |   0.{day} | 10.{day}9
Comm    | 0.00{day}345   | 0.001{day}45   | 0.0012{day}5   |   0.{day} |  3.{day}9
Other   |            | 0.000{day}12   |            |       |  0.{day}4

Nlocal:           4000 ave        4000 max        4000 min
Histogram: 1 0 0 0 0 0 0 0 0 0
Neighbor list builds = 12
Total wall time: 0:00:0{day}
""".encode()


def espresso(values: np.ndarray[Any, Any], date: str) -> bytes:
    """Write as pw.x does: energies among times, places and how many ran it."""
    day, later = int(date[-1]), date[-1] == "2"
    return f"""
     Program PWSCF v.7.2 starts on {day}Nov2026 at  7: 2:5{day}
     Parallel version (MPI & OpenMP), running on       {4 * day} processor cores
     {day}2345 MiB available memory on the printing compute node when the environment starts
     Reading input from /scratch/job{day}/si.in
     total cpu time spent up to now is        0.{day} secs
!    total energy              =     {values[0, 0]:.8f} Ry
     estimated scf accuracy    <       {abs(values[0, 1]):.1E} Ry
     electrons    :      {"1m12.13s" if later else "0.13s"} CPU   {"1m12.14s" if later else "0.14s"} WALL (       1 calls)
   This run was terminated on:   7: 3: {day}   {day}Nov2026
""".encode()


def dump(values: np.ndarray[Any, Any], date: str) -> bytes:
    """Write a dump as LAMMPS does, its atoms as the threads have them."""
    head = "ITEM: TIMESTEP\n100\nITEM: NUMBER OF ATOMS\n6\nITEM: BOX BOUNDS pp pp pp\n" + "0.0 9.0\n" * 3 + "ITEM: ATOMS id type x\n"
    return in_any_order(head, [f"{number} 1 {value:.6g} \n" for number, value in enumerate(values.ravel(), 1)], date)


def gro(values: np.ndarray[Any, Any], date: str) -> bytes:
    """Write as GROMACS does: C's `%5d%-5s%5s%5d%8.3f%8.3f%8.3f%8.4f%8.4f%8.4f`."""
    lines = [
        f"{1:5d}{'SOL':<5s}{name:>5s}{number:5d}" + "".join(f"{one:8.3f}" for one in values[1]) + "  0.1000 -0.2000 10.0000"
        for number, name in enumerate(("OW", "HW1", "HW2"), 1)
    ]
    return "\n".join([f"Generated by trjconv {date} : Water t= 1.00000", "    3", *lines, "   1.86206   1.86206   1.86206", ""]).encode()


def pdb(values: np.ndarray[Any, Any], date: str) -> bytes:
    """Write with ASE, behind a remark, and one more atom whose columns touch."""
    last = "".join(f"{one:8.3f}" for one in (-100.0 * values[1, 1], 1000.0 * values[1, 0], -values[0, 0] * 100))
    glued = f"HETATM99999  X   XYZ A9999    {last}  1.00  0.00           X  \n"
    return f"REMARK  {date}\n".encode() + atoms(values, "proteindatabank") + glued.encode()


def text(template: str) -> Callable[[np.ndarray[Any, Any], str], bytes]:
    """Return what fills date, first value and a table into a text."""

    def write(values: np.ndarray[Any, Any], date: str) -> bytes:
        return template.format(date=date, x=f"{values[0, 0]:.15g}", table=rows(values)).encode()

    return write


#: first cell of the page -> name of the file, who writes it
KINDS: dict[str, tuple[str, Callable[[Values, str], bytes]]] = {
    "text with numbers": ("a.dat", lambda values, _: rows(values).encode()),
    "a log with dates or times": ("a.log", text("# date {date}\nE = {x}\nwall time: {date} s\n{table}")),
    "a log that can never agree": ("a.log", text("{date}\n")),
    "CSV": ("a.csv", lambda values, date: ("x,y,z\n" + rows(values, '"%.15e"' if date == "never" else "%.15e", ",")).encode()),
    "CSV with a column of times": ("a.csv", text('name,seconds,"x"\na,{date},{x}\n')),
    "CSV with units in its header": ("a.csv", text("name,elapsed [s],T (K)\na,{date},{x}\n")),
    "CSV with comments": ("a.csv", text("# made {date}, it's \"new\nname,x\n  # {date}\na,{x}\n")),
    "CSV with numbers in quotes": ("a.csv", text('name,"x"\n"a","{x}"\n"a ""b""",{x}\n')),
    "CSV with decimal commas": ("a.csv", lambda values, date: ("x;y;z\n" + rows(values, '"%.15e"' if date[-1] == "2" else "%.15e", ";").replace(".", ",")).encode()),
    "CSV whose rows come in any order": ("a.csv", lambda values, date: in_any_order("n,x\n", [f"{one:.15g},{one:.15e}\n" for one in values.ravel()], date)),
    "JSON": ("a.json", lambda values, date: json.dumps({"meta": {"date": date, "n": 3}, "x": values.tolist(), "s": [{"elapsed": date}]}).encode()),
    "JSON with numbers in quotes": ("a.json", text('{{"x": ["{x}", "a"]}}')),
    "JSON Lines": ("a.jsonl", lambda values, date: "".join(json.dumps({"time": date, "x": row}) + "\n" for row in values.tolist()).encode()),
    "JSON Lines in any order": ("a.jsonl", lambda values, date: in_any_order("", [json.dumps({"x": one}) + "\n" for one in values.ravel()], date)),
    "a LAMMPS log": ("log.lammps", lammps),
    "Quantum ESPRESSO's output": ("pw.out", espresso),
    "a LAMMPS dump, atoms in any order": ("a.dump", dump),
    "NumPy .npy": ("a.npy", npy),
    "records of NumPy": ("a.npy", records),
    "NumPy .npz": ("a.npz", npz),
    "HDF5": ("a.h5", hdf5),
    "NetCDF 4": ("a.nc", netcdf("NETCDF4")),
    "NetCDF 3": ("a.nc", netcdf("NETCDF3_CLASSIC")),
    "Zarr, as `.zarr.zip`": ("a.zarr.zip", zarr_zip),
    "a FITS image": ("a.fits", fits_image),
    "a FITS table": ("a.fits", fits_table),
    "Parquet": ("a.parquet", parquet),
    "Parquet whose rows come in any order": ("a.parquet", any_order),
    "SQLite": ("a.db", sqlite(turned=False)),
    "SQLite whose rows come in any order": ("a.db", sqlite(turned=True)),
    "an image (PNG, TIFF)": ("a.png", png),
    "packed text (gzip, bzip2, xz, zstd)": ("a.dat.gz", lambda values, date: gzip.compress(rows(values).encode(), int(date[-1]), mtime=int(date[-1]))),
    "extxyz": ("a.xyz", lambda values, _: atoms(values, "extxyz")),
    "CIF": ("a.cif", lambda values, date: f"_audit_creation_date {date}\n".encode() + atoms(values, "cif")),
    "PDB": ("a.pdb", pdb),
    "XML, SVG, VTK": ("a.svg", xml),
    "Fortran list output": ("fort.7", as_fortran),
    "complex numbers": ("psi.txt", lambda values, _: (f"{complex(values[0, 0], values[1, 0])!r} [{values[0, 0]:.15f}{values[1, 2]:+.15f}j]\n").encode()),
    "numbers with units": ("a.txt", lambda values, _: f"took {values[0, 0]:.15f}ms, {values[1, 0]:.15f}% of {values[1, 1]:.15f}eV\n".encode()),
    "VCF": ("a.vcf", lambda values, date: f"##fileDate={date}\n##source=x{date}\n#CHROM\tPOS\n1\t{values[0, 0]:.3f}\n".encode()),
    "GROMACS .xvg": ("a.xvg", text('# This file was created {date}\n@ title "Energy"\n{table}')),
    "GROMACS .gro": ("a.gro", gro),
    "a PDF": ("a.pdf", lambda values, date: b"%PDF-1.4\n\xff\n" + f"/CreationDate (D:{date})\n/ID [<{date}>]\n({values[0, 0]:.3f}) Tj\n".encode()),
    **MORE,
}  # fmt: skip

#: The same of folders, of which the files are returned by name.
FOLDERS: dict[str, tuple[str, Callable[[Values, str], dict[str, bytes]]]] = {
    'Zarr, a folder: `path = "run.zarr"`': ("run.zarr", zarr_folder),
}
