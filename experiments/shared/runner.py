"""The command line that every experiment shares: run, resume, save and redraw its parts.

An experiment is a module with ``PARTS`` (part number to config) and ``LOOK_AT``; ``FULL``, if it is there, has
configs of parts that ``PARTS`` has scaled down. A config is a :class:`PartConfig` with more fields, all of plain
numbers and tuples.
The module that defines its class, the experiment itself or one that several share, has ``Results``
(a NamedTuple of arrays), ``run(config, jobs, cache) -> Results`` and ``plot(results, config) -> Figure``; where
seeds can be added, ``SEED_AXIS``, and ``completed(results, config) -> Results`` if arrays are of all seeds at once.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import importlib
import inspect
import json
import logging
import os
import shlex
import shutil
import signal
import sys
import tempfile
import time
from asyncio import CancelledError
from pathlib import Path

import hypergrad
from experiments.shared import unfinished
from experiments.shared.results import (
    FIGURES,
    CommandError,
    commit_of_code,
    describe,
    draw,
    joined,
    kind,
    load,
    save,
    versions,
)
from hypergrad.errors import InUseError, OtherFunctionError, StoreError
from hypergrad.runs.lock import claimed
from hypergrad.runs.parallel import workers
from hypergrad.runs.store import make_folder

PATIENCE = 10  # seconds to wait for a Dask scheduler, and for its first worker


@dataclasses.dataclass(frozen=True, kw_only=True)
class PartConfig:
    """What every config has.

    Attributes:
      seeds: how many random initialisations.
      first_seed: those before it are not computed, since there are results of them already: see ``--extend``.
      every: take every so-manieth value; ``quick_every`` in a quick run, so that its values are among a full run's.
    """

    seeds: int = 3
    every: int = 1
    quick_every: int = 1
    first_seed: int = 0

    @property
    def numbered(self) -> range:
        """The random initialisations to compute, by their numbers."""
        return range(self.first_seed, self.seeds)


class LostScheduler(Exception):
    """The Dask scheduler went away during the run."""


def main(module, argv: list[str] | None = None) -> int:
    """Run the command line for an experiment's module; returns the exit status."""
    if module.__name__ == "__main__" and module.__spec__ is not None:
        # By its own name workers find what it defines, also what cannot be sent to them, such as functions with caches.
        module = importlib.import_module(module.__spec__.name)
    name, output = Path(inspect.getsourcefile(module)).stem, None
    parser = _parser(name, module)
    argv = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(argv)
    try:
        if args.run is not None:
            argv = _arguments_of(parser, module, name, args.run)
            args = parser.parse_args(argv)
        if args.part not in module.PARTS:
            raise CommandError(f"there is no part {args.part} of {name}: the parts are {_listed(module.PARTS)}")
        if args.full and args.part not in getattr(module, "FULL", {}):
            raise CommandError(f"part {args.part} of {name} is not scaled down: leave out --full")
        output = _output_folder(name, args)
        if args.replot:
            config, results = load(module, output, args.part)
            print(f"drew {draw(module, output, args.part, config, results)} again")
            return 0
        _run_part(name, module, args, output, argv, _typed(parser, argv))
    except LostScheduler as error:
        again = f"{_kept(output)}, and with a scheduler there again {_typed(parser, argv)} goes on"
        print(f"{name}: {error}; {again}", file=sys.stderr)
        return 2
    except (CommandError, StoreError, InUseError, OtherFunctionError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{name}: interrupted; {_kept(output)}, the same command goes on", file=sys.stderr)
        return 130
    return 0


def _typed(parser: argparse.ArgumentParser, argv: list[str]) -> str:
    """The command as it was typed."""
    return shlex.join([*parser.prog.split(), *argv])


def _arguments_of(parser: argparse.ArgumentParser, module, name: str, run: str) -> list[str]:
    """What the run to be continued was told.

    Raises:
      CommandError: there is none, or it cannot go on with the code and libraries of now.
    """
    found = unfinished.chosen(name, run)
    given = list(found.told["arguments"])
    args = parser.parse_args(given)
    config = _config(module, args)
    if args.extend:
        config, _ = _extension(module, args, config, found.folder.parents[1])
    if _fingerprint(module, config) != found.folder.name:
        raise CommandError(
            f"run {found.name} cannot go on: its settings, the code or a library has changed since "
            f"{found.told['started']}; {_typed(parser, given)} begins anew"
        )
    print(f"continues run {found.name}: {_typed(parser, given)}", flush=True)
    return given


def _config(module, args):
    """The config that a command line asks for."""
    config = (module.FULL if args.full else module.PARTS)[args.part]
    if args.seeds:
        config = dataclasses.replace(config, seeds=args.seeds)
    return dataclasses.replace(config, every=config.quick_every) if args.quick else config


def _kept(output: Path | None) -> str:
    """How much of an unfinished run is stored, in words."""
    files = [] if output is None else list((output / ".cache").rglob("*.npz"))
    trainings = sum(map(unfinished.is_training, files))
    words = f"{unfinished.points_in_words(len(files) - trainings)} kept"
    return words + (f", and {trainings} training{'s' * (trainings > 1)} in part" if trainings else "")


def _parser(name: str, module) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m experiments.{name}",
        description=inspect.getdoc(module),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--part", type=int, default=1, help=f"{_listed(module.PARTS)} (default: 1)")
    parser.add_argument("--quick", action="store_true", help="fewer values of the same problem, in a folder of its own")
    if hasattr(module, "FULL"):
        parser.add_argument("--full", action="store_true", help="the size that the part was scaled down from")
    else:
        parser.set_defaults(full=False)
    parser.add_argument("--seeds", type=_positive, metavar="K", help="repeat over K random initialisations")
    parser.add_argument("--extend", action="store_true", help="keep the seeds that are there, and compute only others")
    parser.add_argument("--jobs", type=_jobs, default=-1, metavar="N", help="worker processes (default: one a core)")
    parser.add_argument("--output", type=Path, metavar="DIR", help=f"default: figures/{name}, and own/ below it")
    parser.add_argument(
        "--continue",
        dest="run",
        nargs="?",
        const="",
        metavar="RUN",
        help="go on with an unfinished run: the newest, or one by the name in the journal, or by its folder",
    )
    parser.add_argument("--replot", action="store_true", help="only draw the figure again from the stored results")
    parser.add_argument("--backend", choices=("loky", "dask"), default="loky", help="what runs the workers")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="of the Dask scheduler: tcp://host:port")
    return parser


def _jobs(text: str) -> int:
    return -1 if text == "-1" else _positive(text)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def seeds_in_words(seeds: int, first: int = 0) -> str:
    """For titles: which random initialisations are shown."""
    return f"seed {first}" if seeds == first + 1 else f"seeds {first} to {seeds - 1}"


def _listed(parts) -> str:
    return ", ".join(map(str, parts))


def _output_folder(name: str, args) -> Path:
    """Where results go: an existing one must be writable and hold nothing of another experiment."""
    output = args.output or FIGURES / name
    own = "-".join(["full"] * args.full + ["quick"] * args.quick + [f"seeds{args.seeds}"] * bool(args.seeds))
    if own and args.output is None and not args.replot:  # the checked-in results are those of the full run
        output = output / "own" / own
    other = "choose another folder with --output DIR"
    if output.exists() and not output.is_dir():
        raise CommandError(f"{output} is a file; {other}")
    if args.replot and not output.exists():
        raise CommandError(f"there is no folder {output} to draw from; run the part first, without --replot")
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output):
            pass
    except OSError as error:
        raise CommandError(f"cannot write to {output}: {error.strerror}; {other}") from error
    for path in output.glob("part*.json"):
        found = describe(output, path.stem.removeprefix("part"))["experiment"]
        if found != name:
            raise CommandError(f"{output} holds results of {found}; {other}")
    return output


def _run_part(name: str, module, args, output: Path, arguments: list[str], command: str) -> None:
    from threadpoolctl import threadpool_limits

    config, before = _config(module, args), None
    if args.extend:
        config, before = _extension(module, args, config, output)
    with claimed(output / ".cache", f"an experiment, {name},") as caches:
        make_folder(output)  # and remove from it what killed runs left half-written
        for finished in caches.glob("*.finished"):
            shutil.rmtree(finished)
        cache = caches / _fingerprint(module, config)
        resumed = any(cache.rglob("*.npz"))
        size = " (full)" * args.full + " (quick)" * args.quick
        print(f"{name}, part {args.part}{size}, {seeds_in_words(config.seeds, config.first_seed)}", flush=True)
        if resumed:
            print(f"goes on where an earlier run was ended: {_kept(output)}", flush=True)
        unfinished.begin(cache, name, args.part, arguments, command)
        start, commit, source = time.perf_counter(), commit_of_code(), _digest_of_code(module).hexdigest()[:16]
        # This process is the command's own: with one BLAS thread, as in the workers, it computes the same bits.
        with threadpool_limits(1, user_api="blas"), _backend(args):
            results = kind(config).run(config, jobs=args.jobs, cache=cache)
        seconds, earlier = time.perf_counter() - start, None
        if before is not None:
            told = describe(output, args.part)
            kept = ("date", "commit", "seconds", "earlier")  # of a run that itself added seeds, those before it too
            earlier = {"seeds": config.first_seed, **{key: told[key] for key in kept if key in told}}
            results = joined(before, results, kind(config).SEED_AXIS)
            config = dataclasses.replace(config, first_seed=0)
            results = getattr(kind(config), "completed", lambda results, config: results)(results, config)
        save(name, output, args.part, config, results, seconds, commit, resumed, command, source, earlier)
        path = draw(module, output, args.part, config, results)
        if cache.exists():
            finished = cache.with_suffix(".finished")
            os.replace(cache, finished)  # at once, or a run killed now would leave half a cache
            shutil.rmtree(finished)
    print(f"done in {seconds:.0f} s: {path}\n{module.LOOK_AT}")


def _extension(module, args, config: PartConfig, output: Path) -> tuple:
    """The config of the seeds that are to be added to the results there, and those results.

    Raises:
      CommandError: as for :func:`_check_extension`.
    """
    had, before = load(module, output, args.part)
    _check_extension(had, config, output)
    return dataclasses.replace(config, first_seed=had.seeds), before


def _check_extension(had: PartConfig, config: PartConfig, output: Path) -> None:
    """Whether seeds can be added to the results there.

    Raises:
      CommandError: they are of another problem, have as many seeds, or say not where seeds lie in their arrays.
    """
    if not hasattr(kind(config), "SEED_AXIS"):
        raise CommandError(f"{kind(config).__name__} has no SEED_AXIS, so seeds cannot be added; leave out --extend")
    of_all = [name for name in kind(config).Results._fields if name not in kind(config).SEED_AXIS]
    if of_all and not hasattr(kind(config), "completed"):
        raise CommandError(
            f"SEED_AXIS of {kind(config).__name__} says nothing of {', '.join(of_all)}, and no `completed` "
            "computes what is of all seeds at once again; leave out --extend"
        )
    if dataclasses.replace(had, seeds=config.seeds) != config:
        raise CommandError(f"the results in {output} are of other settings; run the part without --extend")
    if had.seeds >= config.seeds:
        raise CommandError(f"the results in {output} have {had.seeds} seeds already; say how many with --seeds")


def _fingerprint(module, config) -> str:
    """Names the cache after all that the points depend on: settings, code and libraries."""
    digest = _digest_of_code(module)
    digest.update(json.dumps([dataclasses.asdict(config), versions()], sort_keys=True).encode())
    return digest.hexdigest()[:16]


def _digest_of_code(module):
    """SHA-256 over the source of the experiment, of what experiments share or have in folders, and of the package."""
    digest, shared = hashlib.sha256(), Path(__file__).parent
    folders = (shared, shared.with_name("parts"), Path(hypergrad.__file__).parent)
    ours = [Path(inspect.getsourcefile(module)), *(path for folder in folders for path in folder.rglob("*.py"))]
    for path in sorted(set(ours)):
        digest.update(path.read_bytes())
    return digest


@contextlib.contextmanager
def _backend(args):
    """The joblib backend asked for, for the time of the run.

    Raises:
      LostScheduler: that of Dask went away during the run.
    """
    import joblib

    if args.backend == "loky":
        if args.scheduler:
            raise CommandError("--scheduler is for --backend dask")
        _start_workers(args.jobs)
        yield
        return
    if not args.scheduler:
        raise CommandError(
            "--backend dask needs --scheduler tcp://host:port (start one with `python -m dask scheduler`)"
        )
    try:
        from distributed import Client
    except ImportError as error:
        raise CommandError("--backend dask needs Dask: pip install -e '.[cluster]'") from error
    try:
        client = Client(args.scheduler, timeout=PATIENCE)
    except (OSError, ValueError) as error:
        raise CommandError(
            f"no Dask scheduler answers at {args.scheduler}; `python -m dask scheduler` starts one and prints its "
            "address, or leave out --backend to run on this machine"
        ) from error
    with client, _silent("distributed", "tornado", "asyncio"):
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError as error:
            raise CommandError(
                f"the Dask scheduler at {args.scheduler} has no workers; start some, in the folder of this repository, "
                f"with `python -m dask worker {args.scheduler} --nthreads 1`"
            ) from error
        with joblib.parallel_config(backend="dask"):
            try:
                yield
            except (Exception, CancelledError) as error:
                if client.status == "running":
                    raise
                raise LostScheduler(f"the Dask scheduler at {args.scheduler} is gone") from error


def _start_workers(jobs: int) -> None:
    """Start joblib's workers so that Ctrl-C, which reaches every process of a terminal, is left to this one.

    One that is pressed meanwhile comes right after.
    """
    from joblib import delayed

    if not hasattr(signal, "pthread_sigmask"):
        return
    from multiprocessing.resource_tracker import ensure_running

    ensure_running()  # a process that comes with the first worker, after whose start signals are let in again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which new processes take over
    try:
        workers(jobs)([delayed(int)(), delayed(int)()])
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _silent(*libraries: str):
    """A context within which libraries log nothing, nor after an error: a lost scheduler would fill a screen."""
    names = [name for name in logging.root.manager.loggerDict if name.split(".")[0] in libraries]
    before = {logger: logger.level for logger in map(logging.getLogger, names)}
    for logger in before:
        logger.setLevel(logging.CRITICAL + 1)
    yield
    for logger, level in before.items():
        logger.setLevel(level)
