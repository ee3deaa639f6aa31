.PHONY: demo test test-foreign setup format
python := .venv/bin/python
export MUJOCO_GL ?= $(if $(filter Linux,$(shell uname)),egl)

demo: setup
	.venv/bin/soar demo

test: setup
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	$(python) -m pytest -n 2 --dist worksteal

test-foreign: setup
	$(python) scripts/test_foreign.py

setup:
	@scripts/setup

format: setup
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .
