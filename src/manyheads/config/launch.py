"""Runs a task under Hydra as hydra.main would, with short errors and without importing anything heavy first."""

import functools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from hydra import version
from hydra._internal.utils import _run_hydra, get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from manyheads.config import ranks, resume, schema
from manyheads.config.errors import report
from manyheads.config.joined import joined
from manyheads.config.loader import checked
from manyheads.config.parent import follow_parent
from manyheads.config.places import conf_folder
from manyheads.config.ranks import Share
from manyheads.config.threads import calm_threads
from manyheads.errors import UserError

FULL = "HYDRA_FULL_ERROR"


class Failed(Exception):
    """Jobs of a sweep failed, and it has been said why."""


def launch(task: Callable[[DictConfig], Any], argv: list[str] | None = None, share: Share | None = None) -> int:
    """Runs task(cfg) for a command line; the exit code: 0, or 1 after `error: one sentence` or a traceback.

    share: how processes that something else started together agree (see ranks); None: each stands alone.
    HYDRA_FULL_ERROR=1 shows every traceback.
    """
    follow_parent()
    calm_threads()
    register()
    wanted = os.environ.get(FULL)
    traces = wanted == "1"
    try:
        with _environment(FULL, "1"):  # Hydra then hands exceptions on instead of printing them
            _start(_job(task, wanted), argv, share)
    except SystemExit as stop:
        return _code(stop)
    except KeyboardInterrupt:
        return 130
    except Failed:
        return 1
    except Exception as error:
        return report(error, traces)
    return 0


def register() -> None:
    """Makes the schema and the resolvers known to Hydra; also for those who compose without launching."""
    schema.register()
    # Cached within a config, so that one run has one name; two runs of the same second have two.
    OmegaConf.register_new_resolver("joined", joined, replace=True)
    OmegaConf.register_new_resolver("stamp", ranks.stamp, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("unique", lambda: uuid4().hex[:6], use_cache=True, replace=True)


def _start(job: Callable[[DictConfig], Any], argv: list[str] | None, share: Share | None) -> None:
    version.setbase("1.3")
    parser = get_args_parser()
    args = parser.parse_intermixed_args(argv)
    if args.experimental_rerun is not None:
        raise UserError("--experimental-rerun runs what a pickle says: use resume=FOLDER.")
    folder = Path(args.config_path or conf_folder()).absolute()
    together = ranks.started() if share else None
    if together:
        ranks.agree(args, together, share, lambda: resume.apply(args, folder))
    else:
        resume.apply(args, folder)
    shows = args.help or args.hydra_help or args.cfg or args.info or args.shell_completion
    args.multirun = args.multirun or bool(_searches(args.overrides) and not shows and not args.run)
    if args.multirun and together:
        ranks.refuse_sweep(together)
    with checked(starts=not shows):
        _run_hydra(args, parser, job, config_path=str(folder), config_name="train")


def _searches(overrides: list[str]) -> bool:
    """A search is a sweep, said or not; a job of one says hydra.mode=RUN."""
    chosen = {override.partition("=")[0]: override.partition("=")[2] for override in overrides}
    return chosen.get("hparams_search", "null") != "null" and "hydra.mode" not in chosen


def _job(task: Callable[[DictConfig], Any], wanted: str | None) -> Callable[[DictConfig], Any]:
    """The task, telling its own mistakes: Hydra would add lines to them."""

    @functools.wraps(task)
    def job(cfg: DictConfig) -> Any:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise UserError(
                f"hydra/launcher={HydraConfig.get().runtime.choices['hydra/launcher']} runs jobs within one process, "
                "where memory stays taken and the processes of ddp would train other settings: leave it out."
            )
        try:
            with _environment(FULL, wanted):
                return task(cfg)
        except Exception as error:
            raise SystemExit(report(error.with_traceback(error.__traceback__.tb_next), traces=wanted == "1")) from None

    return job


@contextmanager
def _environment(name: str, value: str | None) -> Iterator[None]:
    before = os.environ.get(name)
    _put(name, value)
    try:
        yield
    finally:
        _put(name, before)


def _put(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def _code(stop: SystemExit) -> int:
    if isinstance(stop.code, str):
        print(stop.code, file=sys.stderr)
        return 1
    return stop.code or 0
