"""Every input that the fuzzer ever found worth keeping, read again."""

from collections import Counter
from pathlib import Path

from readers import try_readers

CORPUS = Path(__file__).parent / "corpus"


def test_the_corpus_gives_tables_and_complaints_and_nothing_else(tmp_path: Path) -> None:
    found = Counter(try_readers(file.read_bytes(), tmp_path) for file in sorted(CORPUS.iterdir()))
    assert found["table"] > 20
    assert found["complaint"] > 100
