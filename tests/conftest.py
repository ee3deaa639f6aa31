"""Array shapes and types in annotations are checked at run time in every test."""

import os

from jaxtyping import install_import_hook

os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Tests run side by side: threads would wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# An int is a float, as PEP 484 and mypy have it.
install_import_hook("soar", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")
