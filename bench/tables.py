"""Text tables as scientific programs write them, for the benchmarks of comparators."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["TABLES", "write_table"]


def numbers(style: str, between: str) -> Callable[[np.random.Generator], str]:
    """Return a writer of lines of eight numbers."""
    row = between.join([style] * 8) + "\n"

    def written(chance: np.random.Generator) -> str:
        return "".join(row % tuple(one) for one in (chance.standard_normal((20_000, 8)) * 100).tolist())

    return written


def lammps(chance: np.random.Generator) -> str:
    """Write frames of a dump of LAMMPS."""
    frames = []
    for step in range(0, 2_000, 100):
        places = chance.random((1_000, 3)).tolist()
        rows = (f"{at + 1} {at % 2 + 1} {x:.6f} {y:.6f} {z:.6f} \n" for at, (x, y, z) in enumerate(places))
        head = f"ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n1000\nITEM: BOX BOUNDS pp pp pp\n" + "0.0000000000000000e+00 1.6795961913825074e+01\n" * 3
        frames.append(head + "ITEM: ATOMS id type xs ys zs \n" + "".join(rows))
    return "".join(frames)


def xyz(chance: np.random.Generator) -> str:
    """Write frames of XYZ."""
    frames = []
    for step in range(20):
        rows = (f"{'OHH'[at % 3]:<2} {x:14.8f} {y:14.8f} {z:14.8f}\n" for at, (x, y, z) in enumerate((chance.standard_normal((999, 3)) * 10).tolist()))
        frames.append(f"999\n i = {step:8d}, time = {step * 0.5:12.3f}, E = {-1718.25 + step:20.10f}\n" + "".join(rows))
    return "".join(frames)


def extended_xyz(chance: np.random.Generator) -> str:
    """Write frames of extended XYZ, with forces."""
    frames = []
    for step in range(20):
        head = f'999\nLattice="12.0 0.0 0.0 0.0 12.0 0.0 0.0 0.0 12.0" Properties=species:S:1:pos:R:3:forces:R:3 energy={-1718.25 + step!r} pbc="T T T"\n'
        rows = ("OHH"[at % 3] + "".join(f"{one:16.8f}" for one in row) + "\n" for at, row in enumerate((chance.standard_normal((999, 6)) * 10).tolist()))
        frames.append(head + "".join(rows))
    return "".join(frames)


def cif(chance: np.random.Generator) -> str:
    """Write the atoms of an mmCIF file."""
    rows = []
    for at, (x, y, z) in enumerate((chance.standard_normal((10_000, 3)) * 50).tolist()):
        rows.append(f"ATOM {at + 1} N N . MET A 1 {at // 8} ? {x:.3f} {y:.3f} {z:.3f} 1.00 {abs(x):.2f} ? {at // 8} MET A N 1\n")
    return "data_X\nloop_\n_atom_site.group_PDB\n_atom_site.id\n" + "".join(rows)


def pdb(chance: np.random.Generator) -> str:
    """Write the atoms of a structure."""
    rows = []
    for at, (x, y, z) in enumerate((chance.standard_normal((10_000, 3)) * 50).tolist()):
        rows.append(f"ATOM  {at + 1:5d}  CA  MET A{at // 8:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00{abs(x) % 99:6.2f}           C  \n")
    return "".join(rows) + "TER\n"


def vcf(chance: np.random.Generator) -> str:
    """Write variants of three samples."""
    rows = []
    for at, (quality, share) in enumerate(chance.random((10_000, 2)).tolist()):
        samples = "\t".join(f"0/1:{int(30 * each)},12:{int(99 * each)}:{quality * 1000:.0f},0,{at % 911}" for each in (quality, share, quality * share))
        rows.append(f"chr{at % 22 + 1}\t{at * 37}\trs{at * 91}\tA\tG\t{quality * 1000:.2f}\tPASS\tAC=1;AF={share:.3f};AN=6;DP={int(share * 99)};MQ={60 * quality:.2f}\tGT:AD:GQ:PL\t{samples}\n")
    return "".join(rows)


def json_lines(chance: np.random.Generator) -> str:
    """Write one measurement a line."""
    rows = []
    for step, (energy, *force) in enumerate((chance.standard_normal((10_000, 4)) * 100).tolist()):
        rows.append(json.dumps({"step": step, "run": "water-7", "energy": energy, "converged": True, "force": force, "n": {"atoms": 999}}) + "\n")
    return "".join(rows)


#: what a table is called -> suffix, and what writes a piece of it
TABLES: dict[str, tuple[str, Callable[[np.random.Generator], str]]] = {
    "single blanks, 16 digits": ("txt", numbers("%.15e", " ")), "single blanks, 6 places": ("txt", numbers("%.6f", " ")),
    "fixed columns": ("txt", numbers("%16.8f", "")), "CSV": ("csv", numbers("%.10e", ",")), "LAMMPS": ("lammpstrj", lammps),
    "XYZ": ("xyz", xyz), "extended XYZ": ("extxyz", extended_xyz), "mmCIF": ("cif", cif), "PDB": ("pdb", pdb), "VCF": ("vcf", vcf),
    "JSON Lines": ("jsonl", json_lines),
}  # fmt: skip


def write_table(path: Path, name: str, size: int) -> None:
    """Write a table of at least so many bytes: the same piece again and again."""
    piece = TABLES[name][1](np.random.default_rng(1)).encode()
    with path.open("wb") as file:
        while file.tell() < size:
            file.write(piece)
