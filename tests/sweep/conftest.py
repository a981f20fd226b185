import project
import pytest


@pytest.fixture
def folder(tmp_path):
    """A project of instant runs (project.py)."""
    return project.plant(tmp_path)
