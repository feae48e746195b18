"""How a result is shown to people who have never heard of us: a page, a badge, a figure, and what catalogues read.

All of it is made of `facts`, which whoever calls has checked. Only `deposit` and `invenio` touch a disk or a network.
"""
