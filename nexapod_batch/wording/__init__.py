"""Sentences for people, made of reasons. Nothing else in the program makes a sentence of a code.

`sentence` never fails: of a code that it does not know, or parameters that do not fit, it shows both as they are.
"""

from nexapod_batch.wording.advice import advice
from nexapod_batch.wording.alike import pattern
from nexapod_batch.wording.sentences import one_line, sentence

__all__ = ["advice", "one_line", "pattern", "sentence"]
