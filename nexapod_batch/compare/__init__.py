"""Comparators of outputs: pure, on streams, in bounded memory, and the same on every node.

`registry` says what is signed of an output and where two versions of it differ, whatever its comparator. Comparators
lie in `comparators`, one module each; the table of their names is `model.job.Comparator`. Those that know numbers read
a file as a sequence of tokens (`formats`), and agree on which of them are numbers (`numbers`).
"""
