"""How fast a large table is validated, and how much memory the whole process needs for it.

    python benchmarks/table.py            a million rows as CSV, JSON lines and Parquet; 100,000 bad rows
    python benchmarks/table.py csv        one of the parts: csv, jsonl, parquet, bad

Each file is read by `read_facts` in a process of its own, with a relation that is one-to-one (both names of
every row are then remembered, to name contradictions) and with one that is not. Memory is the largest
resident size of that process, Python and the imports included.
"""

import argparse
import csv
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from oneway.facts import FactErrors, read_facts

TOML = """\
[mother]
forward = ["The mother of {subject} is {object}"]
reverse = ["{object} is the mother of {subject}"]
one_to_one = ONE_TO_ONE
"""
PARTS = ("csv", "jsonl", "parquet")
COLUMNS = ("subject", "relation", "object", "split")
SYLLABLES = [a + b for a in "bdgklmnrstv" for b in "aeiouäé"]
SECONDS, MIB = 60, 1024


def rows(count: int) -> Iterator[tuple[str, str, str, str]]:
    """Invented people and their mothers, one to one; some names are not ASCII."""

    def name(number: int) -> str:
        words = []
        for _ in range(2):
            word = ""
            for _ in range(3):
                number, at = divmod(number, len(SYLLABLES))
                word += SYLLABLES[at]
            words.append(word.capitalize())
        return f"{' '.join(words)} {number}".rstrip("0").rstrip() if number else " ".join(words)

    step = 1_000_003  # spreads the numbers, so that neighbours have different names
    size = len(SYLLABLES) ** 6
    for i in range(count):
        yield name(2 * i * step % size), "mother", name((2 * i + 1) * step % size), ("train", "test")[i % 2]


def bad_rows(count: int) -> Iterator[tuple[str, str, str, str]]:
    """Four rows in five are good; the others have no subject, no known relation, a control sign, or a repeat."""
    good = rows(5 * count)
    for i, (subject, relation, object, split) in enumerate(good):
        if i % 5:
            yield subject, relation, object, split
            last = (subject, relation, object, split)
        else:
            kinds = (
                ("", relation, object, split),
                (subject, "aunt", object, split),
                (f"{subject}\x07", relation, object, split),
                last if i else ("", relation, object, split),
            )
            yield kinds[i // 5 % 4]


def write(path: Path, made: Iterator[tuple[str, str, str, str]]) -> None:
    if path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows(made)
    elif path.suffix == ".jsonl":
        with path.open("w", encoding="utf-8") as file:
            file.writelines(
                json.dumps(dict(zip(COLUMNS, row, strict=True)), ensure_ascii=False) + "\n" for row in made
            )
    else:
        import polars as pl

        pl.DataFrame(list(made), schema=dict.fromkeys(COLUMNS, pl.String), orient="row").write_parquet(path)


def read(path: Path, relations: Path) -> dict[str, float | str]:
    """Run in a process of its own: read a table, and say what that took."""
    start = time.perf_counter()
    try:
        found: dict[str, float | str] = {"facts": len(read_facts(path, relations))}
    except FactErrors as error:
        lines = str(error).splitlines()
        found = {"problems": error.count, "shown": len(lines) - 2, "last_line": lines[-1].strip()}
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)
    seconds, cpu = time.perf_counter() - start, time.process_time()
    took = {"seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1), "peak_mib": round(kib / 1024)}
    return {**found, **took}


def measured(path: Path, relations: Path) -> dict[str, float | str]:
    command = [sys.executable, __file__, "read", "--file", str(path), "--relations", str(relations)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", nargs="?", choices=("all", *PARTS, "bad", "read"), default="all")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--bad", type=int, default=100_000)
    parser.add_argument("--file", type=Path)
    parser.add_argument("--relations", type=Path)
    options = parser.parse_args()
    if options.part == "read":
        print(json.dumps(read(options.file, options.relations)))
        return
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        tomls = {"one_to_one": Path(folder) / "one.toml", "many_to_one": Path(folder) / "many.toml"}
        for name, toml in tomls.items():
            toml.write_text(TOML.replace("ONE_TO_ONE", str(name == "one_to_one").lower()))
        for part in PARTS if options.part == "all" else {options.part} & set(PARTS):
            path = Path(folder) / f"facts.{part}"
            write(path, rows(options.rows))
            for name, toml in tomls.items():
                found = measured(path, toml)
                failed |= found["seconds"] >= SECONDS or found["peak_mib"] >= MIB
                print(json.dumps({part: {"relation": name, **found}}), flush=True)
            path.unlink()
        if options.part in ("all", "bad"):
            path = Path(folder) / "facts.csv"
            write(path, bad_rows(options.bad))
            found = measured(path, tomls["one_to_one"])
            failed |= found.get("problems") != options.bad or found["shown"] != 50
            failed |= found["seconds"] >= SECONDS or found["peak_mib"] >= MIB
            print(json.dumps({"bad": found}), flush=True)
    print(json.dumps({"bar": f"less than {SECONDS} s and {MIB} MiB; every bad row counted, 50 shown"}))
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
