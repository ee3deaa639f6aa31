.PHONY: demo test checks tests test-slow attack test-foreign test-exchange test-clients test-ray setup format test-page
python := .venv/bin/python
export MUJOCO_GL ?= $(if $(filter Linux,$(shell uname)),egl)

demo: setup
	.venv/bin/soar demo

# Both at the same time: mypy has one thread.
test: setup
	@$(MAKE) --no-print-directory -j2 checks tests

checks:
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

tests:
	$(python) -m pytest -n 2 --dist worksteal -m "not slow"

# More tries of what `make test` holds, and checks against other software that is installed.
test-slow: setup
	$(python) -m pytest -n 2 --dist worksteal -m slow

# SCALE=1 takes a night, .1 about an hour of two cores; the same command goes on where it was broken off.
attack: setup
	SCALE=$(or $(SCALE),.1) $(python) -m benchmarks.attack

# Everything of others: what they read in our exports, and their robots.
test-foreign: test-exchange
	$(python) scripts/test_foreign.py

# What LeRobot 0.4.4, lerobot-doctor, TensorFlow Datasets and TensorFlow read in our exports.
test-exchange: setup
	scripts/exchange_envs
	$(python) -m pytest -n 0 tests/exchange/test_foreign_readers.py tests/data/test_other_clouds.py

# Clients of `soar serve`, without their dependencies: openpi-client asks for a numpy below 2 and works with a newer one.
# And OpenVLA's own server, with a model that only computes.
clients ?= $(HOME)/.cache/soar/envs/clients
test-clients: setup
	$(python) -m pip install --quiet --no-deps --upgrade --target $(clients) \
		openpi-client==0.1.2 vla-eval==0.8.0 lazyregistry==0.4.0 json-numpy==2.1.1
	test -d $(clients)/openvla || git clone --quiet https://github.com/openvla/openvla $(clients)/openvla
	git -C $(clients)/openvla checkout --quiet c8f03f4
	SOAR_CLIENTS=$(clients) $(python) -m pytest -n 0 tests/serving/test_real_clients.py \
		tests/serving/test_vla_eval_benchmark.py tests/policies/test_openvla_server.py

# A fleet on a Ray cluster of several nodes on this machine, and what it survives: five minutes. On a machine that is busy
# with much else Ray's nodes don't start, as each gives its own processes 15 s.
test-ray: setup
	$(python) -m pip install --quiet --constraint constraints.txt --editable '.[ray]'
	SOAR_RAY=1 $(python) -m pytest -n 0 -x -o faulthandler_timeout=0 tests/fleet/test_ray.py tests/fleet/test_ray_object_store.py  # they have limits of their own

# The page of `soar watch` in a real Chromium (Debian: apt-get install chromium), and recordings for Rerun, read back.
test-page: setup
	$(python) -m pip install --quiet --constraint constraints.txt --editable '.[page,rerun]'
	$(python) -m pytest -n 0 tests/watch

setup:
	@scripts/setup

format: setup
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .
