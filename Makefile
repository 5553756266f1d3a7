# `make demo` and `make test` are all that a newcomer needs. Everything is installed into .venv here.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LENS := .venv-transformer-lens
TOOLS := .venv-fine-tuning-tools

DYNAMICS := reversal-grid retrieve-then-reverse weights one-layer in-context orthogonality gradients chain \
	related-tokens bilinear reversal

.PHONY: demo test check studies notebooks guide bench fuzz features fine-tuning-tools transformer-lens wheel clean

demo: $(VENV)/.installed
	$(BIN)/oneway demo

test: check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The quick recipe of every study of training dynamics, two at a time, the longest first.
studies: $(VENV)/.installed
	printf '%s\n' $(DYNAMICS) | OMP_NUM_THREADS=1 xargs -P 2 -I NAME $(BIN)/oneway run NAME --recipe quick

# The notebooks of examples/ and the guide, run and written anew with what they say now.
notebooks: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python docs/notebooks.py

guide: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python docs/guide.py

bench: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/audit.py

# Ten minutes over every reader of facts; new inputs are kept in the corpus, which every test run replays.
fuzz: $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[fuzz]'
	cd tests/fuzz && ../../$(BIN)/python fuzz.py corpus -dict=words.dict -max_total_time=600 -max_len=4096

# The study `features`, whose sparse autoencoders are SAELens': some fifty packages more.
features: $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[features]'
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/unit/anatomy/test_sparse_autoencoder.py tests/studies/test_features.py

# The engine and compiled checkpoints against TransformerLens, whose 390 MB of dependencies have an environment of their own.
transformer-lens: $(LENS)/.installed
	OMP_NUM_THREADS=1 $(LENS)/bin/python -m pytest -o filterwarnings=default tests/transformer_lens

$(LENS)/.installed: pyproject.toml
	$(PYTHON) -m venv $(LENS)
	$(LENS)/bin/python -m pip install --quiet torch==2.13.0
	$(LENS)/bin/python -m pip install --quiet 'transformer-lens>=4.3' 'pytest>=8.3' 'beartype>=0.20' --editable .
	touch $@

# What `augment` writes, read by the tools that it is written for.
fine-tuning-tools: $(TOOLS)/.installed
	OMP_NUM_THREADS=1 $(TOOLS)/bin/python -m pytest -o filterwarnings=default tests/fine_tuning_tools

$(TOOLS)/.installed: pyproject.toml
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet torch==2.13.0
	$(TOOLS)/bin/python -m pip install --quiet --constraint constraints.txt 'trl>=1.16,<2' 'datasets>=5.2' 'pytest>=8.3' 'beartype>=0.20' \
		'accelerate>=1.10' --editable .
	touch $@

wheel: $(VENV)/.installed-dev
	$(BIN)/python -m build --wheel

# torch is installed first and by its exact pin: any other spelling may bring gigabytes of CUDA packages.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) $(LENS) $(TOOLS) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
