"""Lorenz-96: dx_i/dt = (x_{i+1} - x_{i-2}) x_{i-1} - x_i + F, a toy atmosphere that is chaotic for F = 8.

Runge-Kutta of fourth order with + - * alone, in a fixed order: IEEE 754 defines every bit of the result, although two
states that differ in the last bit drift apart within a few weeks of model time.
"""

import argparse
import os
import random

SITES = 40
STEP = 0.01
STEPS = 20_000
SIXTH = 1 / 6


def tendency(x, forcing):
    return [(x[(i + 1) % SITES] - x[i - 2]) * x[i - 1] - x[i] + forcing for i in range(SITES)]


def advance(x, forcing):
    """Return the state one step later."""
    k1 = tendency(x, forcing)
    k2 = tendency([a + 0.5 * STEP * k for a, k in zip(x, k1)], forcing)
    k3 = tendency([a + 0.5 * STEP * k for a, k in zip(x, k2)], forcing)
    k4 = tendency([a + STEP * k for a, k in zip(x, k3)], forcing)
    return [a + STEP * SIXTH * (p + 2 * q + 2 * r + s) for a, p, q, r, s in zip(x, k1, k2, k3, k4)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--forcing", type=float, required=True)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    x = [options.forcing + 0.01 * rng.random() for _ in range(SITES)]
    os.makedirs("out", exist_ok=True)
    with open(f"out/seed{options.seed}-forcing{options.forcing}.csv", "w") as file:
        file.write("time,mean,energy\n")
        for step in range(STEPS + 1):
            if step % 1_000 == 0:
                mean, energy = sum(x) * (1 / SITES), sum(a * a for a in x) * (0.5 / SITES)
                file.write(f"{step * STEP:.1f},{mean!r},{energy!r}\n")
            x = advance(x, options.forcing)


if __name__ == "__main__":
    main()
