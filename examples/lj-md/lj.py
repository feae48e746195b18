"""Molecular dynamics: 108 Lennard-Jones atoms in a periodic box, velocity Verlet, constant energy, reduced units."""

import argparse

import numpy as np

CELLS = 3  # face-centred cubic cells a side, 4 atoms each
DENSITY = 0.8442
TEMPERATURE = 0.728
STEP = 0.004
CUTOFF = 2.5
AT_CUTOFF = 4 * (CUTOFF**-12 - CUTOFF**-6)  # subtracted, so that the energy has no step there


def lattice():
    """Return the positions of a face-centred cubic crystal and the side of its box."""
    side = (4 * CELLS**3 / DENSITY) ** (1 / 3)
    corner = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    cells = np.array(list(np.ndindex(CELLS, CELLS, CELLS)))
    return (cells[:, None] + corner[None]).reshape(-1, 3) * (side / CELLS), side


def forces(positions, side):
    """Return the force on every atom and the potential energy."""
    apart = positions[:, None] - positions[None]
    apart -= side * np.round(apart / side)  # the nearest periodic image
    square = (apart**2).sum(axis=2)
    np.fill_diagonal(square, np.inf)
    inside = square < CUTOFF**2
    inverse6 = np.where(inside, square**-3.0, 0.0)
    strength = 24 * (2 * inverse6**2 - inverse6) / square
    return (strength[..., None] * apart).sum(axis=1), 0.5 * (4 * (inverse6**2 - inverse6) - AT_CUTOFF * inside).sum()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args()
    positions, side = lattice()
    velocities = np.random.default_rng(7).normal(size=positions.shape)
    velocities -= velocities.mean(axis=0)
    velocities *= np.sqrt(3 * len(positions) * TEMPERATURE / (velocities**2).sum())
    force, potential = forces(positions, side)
    with open("thermo.txt", "w") as file:
        file.write("# step potential kinetic total\n")
        for step in range(options.steps + 1):
            if step % 50 == 0:
                kinetic = 0.5 * (velocities**2).sum()
                file.write(f"{step} {potential:.15g} {kinetic:.15g} {potential + kinetic:.15g}\n")
            velocities += 0.5 * STEP * force
            positions += STEP * velocities
            force, potential = forces(positions, side)
            velocities += 0.5 * STEP * force


if __name__ == "__main__":
    main()
