"""Count the primes below a limit, except on the node that lies.

A real cheat hides; this one is told apart by the node's name, which the runner puts into the environment. Nothing of
what follows knows who lies: it is found out by comparing the results.
"""

import os
import sys

LIAR = "mallory"


def primes_below(limit):
    """Return how many primes there are below `limit` (sieve of Eratosthenes)."""
    sieve = bytearray([1]) * limit
    sieve[:2] = b"\0\0"
    for n in range(2, int(limit**0.5) + 1):
        if sieve[n]:
            sieve[n * n :: n] = bytes(len(range(n * n, limit, n)))
    return sum(sieve)


def main():
    limit = int(sys.argv[1])
    count = primes_below(limit)
    if os.environ.get("NEXAPOD_NODE") == LIAR:
        count += 1
    with open("primes.txt", "w") as file:
        file.write(f"{count} primes below {limit}\n")


if __name__ == "__main__":
    main()
