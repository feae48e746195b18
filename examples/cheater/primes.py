"""Count the primes below a limit, except on the node that lies: it saves itself the work and guesses.

A real cheat hides; this one is told apart by the node's name, which the runner puts into the environment. Nothing of
what follows knows who lies: it is found out by comparing the results.
"""

import os
import sys
from math import log

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
    lies = os.environ.get("NEXAPOD_NODE") == LIAR
    count = int(limit / log(limit)) if lies else primes_below(limit)
    with open("primes.txt", "w") as file:
        file.write(f"{count} primes below {limit}\n")


if __name__ == "__main__":
    main()
