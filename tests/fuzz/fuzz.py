"""`make fuzz`: a coverage-guided fuzzer over the readers of facts. The arguments are libFuzzer's."""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["oneway.facts"]):
    from readers import try_readers

MEMORY = Path("/dev/shm")  # files that never reach a disk, where there is such a place


def main() -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:

        def one_input(data: bytes) -> None:
            try_readers(data, Path(folder))

        atheris.Setup(sys.argv, one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
