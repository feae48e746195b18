"""One member of an ensemble: a logistic map in whole numbers, from the state in a file, perturbed by its number."""

import sys

state = int(open("state").read()) + int(sys.argv[1])
for _ in range(10_000):
    state = 3_900_000 * state * (1_000_000 - state) // 10**12
    state = max(1, min(999_999, state))
print(state)
