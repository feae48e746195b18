"""A bead on a spring in a warm bath, in three steps: equilibrate, produce, analyse. Whole numbers of the generator only."""

import random
import sys


def walk(position, steps, generator):
    """Yield positions; each step pulls back by a quarter and kicks by -3 to 3."""
    for _ in range(steps):
        position += generator.randint(-3, 3) - position // 4
        yield position


def main(step, *argv):
    if step == "equilibrate":
        (seed,) = argv
        *_, last = walk(40, 1_000, random.Random(int(seed)))
        print(last)
    elif step == "produce":
        state, seed = argv
        generator = random.Random(1_000_003 * int(seed))
        start = int(open(state).read())
        print("\n".join(str(position) for position in walk(start, 10_000, generator)))
    else:
        squares = [int(line) ** 2 for name in argv for line in open(name)]
        print(f"{len(squares)} samples, mean square {sum(squares) // len(squares)}")


main(*sys.argv[1:])
