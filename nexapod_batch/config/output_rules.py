"""Rules of `[[outputs]]`: comparators, their parameters, and what of a file does not count."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nexapod_batch.model.job import Agreement, Comparator, CompareRule, Output
from nexapod_batch.schema.kinds import BAD

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nexapod_batch.schema.kinds import Report, Value

__all__ = ["outputs"]


def outputs(section: Value, report: Report) -> tuple[Output, ...]:
    """Return the outputs whose rules are complete; report those that are not."""
    found = []
    seen: set[str] = set()
    for number, one in enumerate(section if isinstance(section, list) else ()):
        where = f"outputs[{number}]"
        if any(value is BAD for value in one.values()):
            continue
        if one["path"] in seen:
            report.add(f"{where}.path", "stands there twice", got=one["path"], wanted="each output once")
        seen.add(one["path"])
        if rule := _rule(one, where, report):
            found.append(Output(path=_whole(one["path"]), rule=rule, optional=one["optional"]))
            _warn_of_format(found[-1], where, report)
    if found and not report.problems:
        _check_that_one_votes(found, report)
    return tuple(found)


def _whole(path: str) -> str:
    """Return the path of an output: of a store, which is a folder, all that is in it."""
    return f"{path}/**" if path.lower().endswith(".zarr") else path


def _check_that_one_votes(found: list[Output], report: Report) -> None:
    if not any(_must_vote(output) for output in found):
        report.add(
            "outputs", "none of them has to agree: nothing would be compared",
            wanted="one at least that has another compare than none, and is not optional",
        )  # fmt: skip


def _warn_of_format(output: Output, where: str, report: Report) -> None:
    """Warn of what the suffix of an output tells: bytes that never agree, a reader that is missing here."""
    suffix = _STORE.sub(".zarr", output.path.lower()).rpartition(".")[2]
    _refuse_unknown(output, where, report)
    if suffix not in _READERS or output.rule.agreement is Agreement.NOTHING or output.rule.normalize:
        return
    if output.rule.agreement is Agreement.BYTES:
        if suffix == "zip":  # of anything
            return
        report.warnings.append(
            f'{where}: .{suffix} files of two runs seldom have the same bytes: compare = "content" looks into them'
        )
        return
    from nexapod_batch.requirements import absent, install_command  # noqa: PLC0415 - seldom

    if suffix == "zip":
        report.warnings.append(f"{where}: of .zip files only stores of Zarr can be looked into")
    missing = absent(_READERS[suffix])
    if missing:
        report.warnings.append(
            f"{where}: .{suffix} files are read by {missing[0]}, which nodes need and which is missing here: "
            f"{install_command(missing)}"
        )


def _refuse_unknown(output: Output, where: str, report: Report) -> None:
    """Report a comparator that looks into a file of a format that none can look into, as far as its name tells."""
    if output.rule.normalize or output.rule.agreement in {Agreement.BYTES, Agreement.NOTHING}:
        return
    path = output.path.lower()
    _, of_store, behind = path.partition(".zarr/")
    if of_store and behind != "**":
        report.add(
            f"{where}.path", "a part of a store of Zarr cannot be compared by itself", got=output.path,
            wanted=f'path = "{output.path[: path.index(of_store) + 5]}", all of it',
        )  # fmt: skip
        return
    unknown = [part for part in path.rpartition("/")[2].split(".")[1:][-2:] if part in _UNKNOWN]
    if not unknown:
        return
    hint = "or normalize it, or write a format of the page my-file"
    report.add(
        f"{where}.compare", f"cannot look into .{unknown[0]} files", got=output.rule.comparator.value,
        wanted='compare = "exact" or "none"', hint=hint,
    )  # fmt: skip


def _must_vote(output: Output) -> bool:
    """Say whether an output is there in every answer, and counts."""
    return not output.optional and output.rule.agreement is not Agreement.NOTHING


#: How paths of stores of Zarr end.
_STORE = re.compile(r"\.zarr(?:/\*\*|\.zip)$")
#: Suffixes of formats that no comparator looks into.
_UNKNOWN = frozenset(
    {"7z", "bam", "dcd", "dcm", "grib", "grib2", "pickle", "pkl", "rds", "root", "tar", "tgz", "trr", "xlsx", "xtc"}
)
#: Suffixes of files that hold dates or are packed -> what reads them.
_READERS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("h5", "hdf5", "he5", "nc", "nc4"), ("h5py",)),
    **dict.fromkeys(("png", "tif", "tiff"), ("PIL",)),
    **dict.fromkeys(("db", "sqlite", "sqlite3", "mat", "nii"), ()),
    **dict.fromkeys(("arrow", "feather", "orc"), ("pyarrow",)), "h5ad": ("h5py",),
    "zarr": ("zarr",), "zip": ("zarr",), "parquet": ("pyarrow",), "zst": ("zstandard",), "fits": (), "npz": (),
    "gz": (), "bz2": (), "xz": (),
}  # fmt: skip

#: Comparators of what a command printed.
_OF_TEXT = (Comparator.EXACT, Comparator.ROUND, Comparator.SIGNIFICANT)

#: Parameters of comparators -> what is wanted where one is missing.
_EXAMPLES = {"digits": "how many digits {} keeps, as in digits = 8", "rtol": "rtol or atol, as in rtol = 1e-6"}

#: How delimiters and decimal marks are written in a descriptor -> in a rule, where "" is what is usual.
_DELIMITERS: Mapping[str | None, str] = {None: "", "tab": "\t"}
_DECIMALS: Mapping[str, str] = {".": ""}


def _rule(output: dict[str, Value], where: str, report: Report) -> CompareRule | None:
    """Return the rule of one output; None where something about it was reported."""
    comparator = Comparator(output["compare"])
    given = {name: output[name] for name in ("digits", "rtol", "atol") if output[name] is not None}
    before = len(report.problems)
    _check_parameters(comparator, given, output["integers"], where, report)
    _check_ignored(comparator, output, where, report)
    _check_normalized(comparator, output, where, report)
    _check_unordered(comparator, output, where, report)
    _check_table(output, where, report)
    if len(report.problems) > before:
        return None
    missing = dict.fromkeys({"rtol", "atol"} & set(comparator.parameters), 0.0)
    return CompareRule(
        comparator=comparator, integers=output["integers"], unordered=output["unordered"],
        ignore=tuple(output["ignore"]), normalize=tuple(output["normalize"]),
        delimiter=_DELIMITERS.get(output["delimiter"], output["delimiter"]),
        decimal=_DECIMALS.get(output["decimal"], output["decimal"]),
        comments=output["comments"] or "", quoted_numbers=output["quoted_numbers"], **(missing | given),
    )  # fmt: skip


def _check_unordered(comparator: Comparator, output: dict[str, Value], where: str, report: Report) -> None:
    """Report lines in any order where the comparator, or the file, has none."""
    if not output["unordered"]:
        return
    if comparator not in {Comparator.ROUND, Comparator.SIGNIFICANT, Comparator.CONTENT}:
        wanted = "compare = content, significant or round"
        report.add(f"{where}.unordered", f"not used by {comparator}", wanted=wanted)
    from nexapod_batch.compare.formats.reading import format_of_name, suffix_of  # noqa: PLC0415 - seldom
    from nexapod_batch.compare.unordered import UNORDERED  # noqa: PLC0415

    if format_of_name(output["path"]) not in UNORDERED and not output["normalize"]:
        wanted = "a file of lines, rows or documents"
        report.add(f"{where}.unordered", f"a .{suffix_of(output['path'])} file has no rows", wanted=wanted)


#: Key -> what it is where it says nothing, and suffixes of files that it is for.
_FOR_TABLES = {
    "delimiter": (None, ("csv", "tsv")), "decimal": (".", ("csv", "tsv")), "comments": (None, ("csv", "tsv")),
    "quoted_numbers": (False, ("csv", "tsv", "json", "jsonl", "ndjson")),
}  # fmt: skip


def _check_table(output: dict[str, Value], where: str, report: Report) -> None:
    """Report how cells are read where the file has none."""
    given = [key for key, (usual, _) in _FOR_TABLES.items() if output[key] != usual]
    if not given:
        return
    from nexapod_batch.compare.formats.reading import suffix_of  # noqa: PLC0415 - seldom

    for key in given:
        suffixes = _FOR_TABLES[key][1]
        if suffix_of(output["path"]) not in suffixes:
            kinds = "CSV and JSON" if "json" in suffixes else "CSV"
            wanted = f"a file .{suffixes[0]} or .{', .'.join(suffixes[1:])}"
            report.add(f"{where}.{key}", f"only for {kinds}", got=output["path"], wanted=wanted)
    if output["decimal"] == "," == output["delimiter"]:
        report.add(f"{where}.delimiter", "is the decimal mark too", got=",", wanted='another one, as delimiter = ";"')


def _check_normalized(comparator: Comparator, output: dict[str, Value], where: str, report: Report) -> None:
    """Report a comparator that needs the file itself, and a command without a name."""
    words = output["normalize"]
    if not words:
        return
    if comparator not in _OF_TEXT:
        wanted = f"one of: {', '.join(_OF_TEXT)}"
        report.add(f"{where}.normalize", f"not used by {comparator}, which reads the file", wanted=wanted)
    if words[0] == "":
        report.add(f"{where}.normalize[0]", "empty", wanted="a program")


def _check_ignored(comparator: Comparator, output: dict[str, Value], where: str, report: Report) -> None:
    """Report what cannot be ignored: no entry of `ignore` may turn out to be wrong on a node."""
    if not output["ignore"]:
        return
    if comparator.agreement is Agreement.NOTHING:
        report.add(f"{where}.ignore", "not used by none", wanted="another compare, or no ignore")
    from nexapod_batch.compare.formats.reading import suffix_of  # noqa: PLC0415 - seldom
    from nexapod_batch.compare.ignoring import fault_of  # noqa: PLC0415

    suffix = "txt" if output["normalize"] else suffix_of(output["path"])
    for number, entry in enumerate(output["ignore"]):
        fault = None if entry is BAD else fault_of(entry, suffix)
        if fault is not None:
            wanted = "a /regular expression/ of RE2, a .path in JSON, or a name"
            report.add(f"{where}.ignore[{number}]", fault, got=entry, wanted=wanted)


def _check_parameters(
    comparator: Comparator, given: Mapping[str, Value], integers: str, where: str, report: Report
) -> None:
    """Report figures that a comparator needs, or does not use."""
    if comparator.parameters and not given.keys() & set(comparator.parameters):
        first = comparator.parameters[0]
        report.add(f"{where}.{first}", "missing", wanted=_EXAMPLES[first].format(comparator))
    for name, value in given.items():
        _check_parameter(comparator, name, value, where, report)
    if integers != "exact" and not comparator.parameters:  # round, significant, allclose
        report.add(f"{where}.integers", f"not used by {comparator}", wanted="another compare, or no integers")


def _check_parameter(comparator: Comparator, name: str, value: Value, where: str, report: Report) -> None:
    """Report a parameter that the comparator does not use, or a value that it cannot use."""
    if name not in comparator.parameters:
        others = " or ".join([other for other in Comparator if name in other.parameters])
        wanted = f"compare = {others}, or no {name}"
        report.add(f"{where}.{name}", f"not used by {comparator}", wanted=wanted)
    elif name == "digits" and value < comparator.min_digits:
        wanted = f"a whole number from {comparator.min_digits} to 17"
        report.add(f"{where}.digits", "out of range", got=value, wanted=wanted)
