"""What `import soar` offers."""

import ast
import subprocess
import sys
from importlib.resources import files

import pytest

import soar


def test_every_name_can_be_imported_and_type_checkers_know_the_same():
    stub = ast.parse((files(soar) / "__init__.pyi").read_text())
    told = {
        alias.name: node.module
        for node in stub.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    assert set(told) == set(soar.__all__) - {"__version__"} == set(dir(soar)) - {"__version__"}
    for name, module in told.items():
        assert getattr(soar, name) is getattr(sys.modules[module], name)


def test_an_unknown_name_is_answered_with_all_that_there_are():
    missing = "load_polcy"
    with pytest.raises(AttributeError, match=r"no attribute 'load_polcy'; valid: .*load_policy"):
        getattr(soar, missing)


def test_importing_it_loads_no_module_of_the_package():
    code = "import sys, soar; print(*[m for m in sys.modules if m.startswith('soar.') or m == 'torch'])"
    assert not subprocess.check_output([sys.executable, "-c", code], text=True).strip()
