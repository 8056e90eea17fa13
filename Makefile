# Every target creates what it needs; nothing but Python 3.11+ and make is asked of you.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
PYTEST := $(BIN)/python -m pytest
JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test lint shapes slow bench bench-dense bench-memory bench-vision docs size clean bench-gan bench-facades bench-autoencoder bench-translation

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/core: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) $$(grep '^torch==' constraints.txt)
	$(PIP) -e .
	@touch $@

$(VENV)/test: $(VENV)/core
	$(PIP) -e '.[test]'
	@touch $@

$(VENV)/bench: $(VENV)/core
	$(PIP) -e '.[bench]'
	@touch $@

$(VENV)/lint: $(VENV)/core
	$(PIP) -e '.[lint]'
	@touch $@

$(VENV)/docs: $(VENV)/core
	$(PIP) -e '.[docs]'
	@touch $@

demo: $(VENV)/core ## the story of the field on real digits, about a minute; writes rosenblatt-demo.html
	$(BIN)/rosenblatt demo --force --out rosenblatt-demo.html

test: $(VENV)/test ## the quick suite
	$(PYTEST) -n $(JOBS) -m 'not slow' --doctest-modules src tests

slow: $(VENV)/test ## the slow suite: minutes, uses ROSENBLATT_DATA where it is set
	$(PYTEST) -m slow

shapes: $(VENV)/test ## the quick suite with every jaxtyping shape checked
	$(PYTEST) -m 'not slow' --jaxtyping-packages=rosenblatt.models,rosenblatt.losses,beartype.beartype

lint: $(VENV)/lint ## ruff: style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: $(VENV)/test ## figures against peers, minutes; each script prints its table
	$(BIN)/python benchmarks/drop_in.py

bench-memory: $(VENV)/core ## peak memory of a fit beside the plain PyTorch loop's, three minutes
	$(BIN)/python benchmarks/memory.py

bench-dense: $(VENV)/bench ## dense networks beside scikit-learn, PyTorch, JAX, skorch, Keras, Lightning; six minutes on an idle machine
	$(BIN)/python benchmarks/dense.py

bench-music: $(VENV)/test ## sampling of music with cached keys, two minutes
	$(BIN)/python benchmarks/music.py

bench-gan: $(VENV)/core ## GAN against DCGAN on MNIST, and turns against plain PyTorch; 35 minutes
	$(BIN)/python benchmarks/gan.py

bench-facades: $(VENV)/core ## SemanticGAN and pix2pix's U-Net on facades at 64 pixels; 55 minutes on one thread
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/facades.py --contender spade --out out/facades
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/facades.py --contender pix2pix --out out/facades
	$(BIN)/python benchmarks/facades.py --grid --out out/facades

.PHONY: bench-defences
bench-defences: $(VENV)/core ## MNIST trained against attacks at linf 0.3, and smoothing; 40 minutes on one thread
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/defences.py train
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/defences.py smoothing --epochs 5

bench-vision: $(VENV)/bench ## convnets beside plain and tuned PyTorch, skorch, Lightning, ResNet-18; 20 minutes on an idle machine
	$(BIN)/python benchmarks/vision.py

bench-autoencoder: $(VENV)/core ## autoencoders beside PyTorch, PCA and an isolation forest, eight minutes; more by PARTS="digits vae"
	$(BIN)/python benchmarks/autoencoder.py $(PARTS)

# without dependencies, in a folder of their own: none of them may bring another torch
$(VENV)/peers: $(VENV)/core
	$(PIP) --no-deps --target $@ foolbox==3.3.4 torchattacks==3.5.1 pyautoattack==0.2.0 eagerpy GitPython gitdb smmap \
		requests urllib3 idna certifi charset-normalizer tqdm

bench-attacks: $(VENV)/peers ## attacks beside Foolbox, torchattacks and AutoAttack, half an hour on an idle machine
	$(BIN)/python benchmarks/attacks.py

.PHONY: bench-text bench-forecast bench-music bench-attacks
bench-text: $(VENV)/test ## language models beside a plain PyTorch loop, and tinyshakespeare in three minutes; about six minutes
	$(BIN)/python benchmarks/text.py

bench-forecast: $(VENV)/core ## forecasts beside the baselines and darts' published figures; about six minutes
	$(BIN)/python benchmarks/forecast.py

bench-translation: $(VENV)/test ## Multi30k English-German in ROSENBLATT_DATA: two networks, two hours on one thread, and the search
	$(BIN)/python benchmarks/translation.py train attention-gru
	$(BIN)/python benchmarks/translation.py train transformer
	$(BIN)/python benchmarks/translation.py search out/translation/transformer.safetensors

docs: $(VENV)/docs ## the pages of docs/ as a site, in site/
	$(BIN)/python -m mkdocs build --strict --quiet

size: $(VENV)/core ## lines of code by part, and what a core installation needs
	$(BIN)/python benchmarks/size.py

clean: ## remove the environment and everything generated
	rm -rf $(VENV) build dist site out .pytest_cache .ruff_cache .hypothesis
