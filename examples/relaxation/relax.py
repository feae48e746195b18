"""Relaxation of 108 argon atoms with a vacancy: steepest descent down the Lennard-Jones energy, in reduced units.

Leaves `relaxed.xyz` in the extended XYZ format, with energy, cell and forces. Needs numpy.
"""

import numpy as np

CELLS, SPACING, STEPS, RATE = 3, 1.56, 60, 0.004


def start():
    """Return the atoms of a crystal of which one is missing, each a little beside its place."""
    corners = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2
    places = np.array(np.meshgrid(*[range(CELLS)] * 3)).reshape(3, -1).T
    atoms = (places[:, None] + corners[None]).reshape(-1, 3)[1:] * SPACING
    return atoms + 0.03 * np.random.default_rng(18).standard_normal(atoms.shape)


def energy_and_forces(atoms):
    """Distances come from a matrix product, as fast codes do it: its sums are where machines differ."""
    squares = (atoms**2).sum(1)
    distance2 = squares[:, None] + squares[None] - 2 * atoms @ atoms.T
    np.fill_diagonal(distance2, np.inf)
    sixth = distance2**-3
    pull = 24 * (2 * sixth**2 - sixth) / distance2
    return 2 * (sixth**2 - sixth).sum(), pull.sum(1)[:, None] * atoms - pull @ atoms


def main():
    atoms = start()
    for _ in range(STEPS):
        atoms = atoms + RATE * np.clip(energy_and_forces(atoms)[1], -5, 5)
    energy, forces = energy_and_forces(atoms)
    side = CELLS * SPACING
    with open("relaxed.xyz", "w") as file:
        file.write(f'{len(atoms)}\nLattice="{side} 0.0 0.0 0.0 {side} 0.0 0.0 0.0 {side}" ')
        file.write(f'Properties=species:S:1:pos:R:3:forces:R:3 energy={energy:.12f} pbc="F F F"\n')
        for row in np.hstack([atoms, forces]):
            file.write("Ar " + " ".join(f"{value:.12f}" for value in row) + "\n")


main()
