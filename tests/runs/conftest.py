import command
import pytest


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The folder of one finished tiny run."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    done = command.train("trainer.max_epochs=2", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "stdout.txt").write_text(done.stdout)
    return folder
