"""Runs the commands of docs/guide.md in their order and writes what each says below it; writes its table of remedies.

python docs/guide.py
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from oneway.facts import load_table
from oneway.remedies import REMEDIES, Augmentation, augment

HERE = Path(__file__).parent
PAGE, EXAMPLES = HERE / "guide.md", HERE.parent / "examples"
BENCH = HERE / "records" / "remedies-quick.json"
START, END = "<!-- remedies: written by docs/guide.py -->\n", "<!-- end of remedies -->"
COMMAND = re.compile(
    r"^```sh\n(?P<command>.*?)^```\n(?:```text\n(?P<said>.*?)^```\n)?", re.MULTILINE | re.DOTALL
)
WIDTH = "110"  # of tables, in columns

# What the study calls each remedy, and when to take it.
WHEN = {
    "both-directions": ("both directions", "you may state the reverse: always the first choice"),
    "retrieve-then-reverse": ("retrieve then reverse", "the model may write before it answers"),
    "reverse-entities": ("reversed names", "no reverse wording is at hand, names are known"),
    "permute-chunks": ("permuted chunks", "as above, and text must stay close to sentences"),
    "reverse-words": ("reversed words", "names of one word only"),
    "reverse-segments": ("reversed segments", "names of one word only, long sentences"),
    "masked-restoration": ("masked restoration", "names of one word only; the form of a question matters"),
    "identity-bridge": (
        "identity bridge",
        "nothing may be said of the facts but forward; names of one word only",
    ),
}

LEGEND = """
Words added: for each word of forward statements, on the shipped parents. Reverse: the share of facts recalled in
reverse, a mean over seeds, by small models taught on the bench of the study [remedies](studies/remedies.md),
where intervals, controls and sources are. What it brings on your model only step 6 can say.
"""


def remedies() -> str:
    """Every remedy with what it adds to the shipped parents and what it brought on the study's bench."""
    measured = {}
    for claim in json.loads(BENCH.read_text(encoding="utf-8"))["claims"]:
        measured |= claim["measured"]
    rows = ["| remedy | what is added | words added | reverse, one-word names | two-word names | when |\n"]
    rows += ["|---|---|---|---|---|---|\n"]
    with TemporaryDirectory() as folder:
        for name, (label, when) in WHEN.items():
            asked = Augmentation(remedy=name)
            words = augment(load_table("parents"), Path(folder) / "parents.jsonl", asked).words
            brought = (
                f"{measured[f'reverse[{world}, {label}]']['mean']:.0%}" for world in ("arrows", "two words")
            )
            added = f"{words['added'] / words['forward']:.1f} ×"
            rows.append(f"| `{name}` | {REMEDIES[name].text} | {added} | {' | '.join(brought)} | {when} |\n")
    rows.append(LEGEND)
    return "".join(rows)


def with_remedies(page: str) -> str:
    """The page with its table of remedies written anew."""
    before, rest = page.split(START)
    return before + START + remedies() + END + rest.split(END)[1]


def commands(page: str) -> list[tuple[str, str]]:
    """The commands of the page, each with what stands below it."""
    return [(found["command"], found["said"] or "") for found in COMMAND.finditer(page)]


def said_in(folder: Path, command: str) -> str:
    """Run a command in a folder as a reader would; what it says, without seconds and the spaces that pad its tables."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=folder,
        env=os.environ | {"PATH": path, "COLUMNS": WIDTH},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines = re.sub(r"\(\d+ s\)", "(… s)", done.stdout).splitlines()
    return "".join(f"{line.rstrip()}\n" for line in lines if not line.isspace())


def masked(said: str) -> list[str]:
    """The lines without what differs from machine to machine: numbers, widths, and which facts have changed."""
    plain = re.sub(r"[+−-]?\d[\d.,]*(e[+-]?\d+)?%?", "#", said)
    lines = [" ".join(line.split()) for line in re.sub("─+", "─", plain).splitlines()]
    return [line for line in lines if not re.match(r"(gained|lost|turned around): |# gained, ", line)]


def with_outputs(page: str) -> str:
    """The page with every command run, in one new folder, and what it says below it."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(EXAMPLES, folder / "examples")

        def written(found: re.Match[str]) -> str:
            said = said_in(folder, found["command"])
            return f"```sh\n{found['command']}```\n" + (f"```text\n{said}```\n" if said else "")

        return COMMAND.sub(written, page)


if __name__ == "__main__":
    PAGE.write_text(with_outputs(with_remedies(PAGE.read_text(encoding="utf-8"))), encoding="utf-8")
