"""Two-dimensional Ising model (Metropolis), in whole numbers where it matters.

The flip probabilities of the five possible energies are rounded once to 32-bit thresholds, and the random numbers are
whole numbers as well: every machine computes the same spins, so that outputs can be compared byte for byte.
"""

import argparse
import csv
import math
import random

TEMPERATURES = (1.8, 2.27, 2.8)  # below, at and above the critical temperature 2 / ln(1 + sqrt(2)) = 2.269


def simulate(size, sweeps, temperature, rng):
    """Return mean |magnetisation| and mean energy, both as sums over the second half of the sweeps."""
    spins = [[1] * size for _ in range(size)]
    accept = {change: int(math.exp(-change / temperature) * 2**32) for change in (4, 8)}
    magnetisation = energy = 0
    for sweep in range(sweeps):
        for row in range(size):
            here, above, below = spins[row], spins[row - 1], spins[(row + 1) % size]
            for column in range(size):
                neighbours = above[column] + below[column] + here[column - 1] + here[(column + 1) % size]
                change = 2 * here[column] * neighbours
                if change <= 0 or rng.getrandbits(32) < accept[change]:
                    here[column] = -here[column]
        if sweep >= sweeps // 2:
            magnetisation += abs(sum(map(sum, spins)))
            energy -= sum(
                spins[r][c] * (spins[r - 1][c] + spins[r][c - 1]) for r in range(size) for c in range(size)
            )
    return magnetisation, energy


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--sweeps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1925)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    samples = (options.sweeps - options.sweeps // 2) * options.size**2
    with open("ising.csv", "w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["temperature", "sum_abs_magnetisation", "sum_energy", "samples"])
        for temperature in TEMPERATURES:
            magnetisation, energy = simulate(options.size, options.sweeps, temperature, rng)
            table.writerow([temperature, magnetisation, energy, samples])
            print(f"T={temperature}: |m| = {magnetisation / samples:.3f}, e = {energy / samples:.3f}")


if __name__ == "__main__":
    main()
