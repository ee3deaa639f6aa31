"""The finished run that the report's tests use, too."""

from tests.report.conftest import run  # noqa: F401
