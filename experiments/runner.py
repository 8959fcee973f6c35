"""The command line that every experiment shares: run, resume, save and redraw its parts.

An experiment is a module with ``PARTS`` (part number to config), ``Results`` (a NamedTuple of
arrays), ``run(config, jobs, cache) -> Results`` and ``plot(results, config) -> Figure``. Its config
is a frozen dataclass of plain numbers and tuples, among them ``seeds`` (how many), and ``every`` and
``quick_every``: a run takes every so-manieth of its values, so that a quick run's are among them.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import inspect
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np

import hypergrad

ROOT = Path(__file__).parent.parent
FIGURES = ROOT / "figures"
LIBRARIES = ("numpy", "scipy", "autograd", "matplotlib", "joblib")


class CommandError(Exception):
    """The command line asks for something that is not possible; says what is."""


def main(module, argv: list[str] | None = None) -> int:
    """Run the command line for an experiment's module; returns the exit status."""
    name = Path(inspect.getsourcefile(module)).stem
    args = _parser(name, module).parse_args(argv)
    try:
        if args.part not in module.PARTS:
            raise CommandError(f"there is no part {args.part} of {name}: the parts are {_listed(module.PARTS)}")
        output = _output_folder(name, args)
        if args.replot:
            config, results = load(module, output, args.part)
            print(f"drew {draw(module, output, args.part, config, results)} again")
            return 0
        _run_part(name, module, args, output)
    except CommandError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    return 0


def _parser(name: str, module) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m experiments.{name}",
        description=inspect.getdoc(module),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--part", type=int, default=1, help=f"{_listed(module.PARTS)} (default: 1)")
    parser.add_argument("--quick", action="store_true", help="fewer values of the same problem, in a folder of its own")
    parser.add_argument("--seeds", type=_positive, metavar="K", help="repeat over K random initialisations")
    parser.add_argument("--jobs", type=_jobs, default=-1, metavar="N", help="worker processes (default: one a core)")
    parser.add_argument("--output", type=Path, metavar="DIR", help=f"default: figures/{name}, and own/ below it")
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


def seeds_in_words(seeds: int) -> str:
    """For titles: which random initialisations are shown."""
    return "seed 0" if seeds == 1 else f"seeds 0 to {seeds - 1}"


def _listed(parts) -> str:
    return ", ".join(map(str, parts))


def _output_folder(name: str, args) -> Path:
    """Where results go: an existing one must be writable and hold nothing of another experiment."""
    output = args.output or FIGURES / name
    own = "-".join(["quick"] * args.quick + [f"seeds{args.seeds}"] * bool(args.seeds))
    if own and args.output is None and not args.replot:  # the checked-in results are those of the full run
        output = output / "own" / own
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"cannot make the output folder {output}: {error.strerror}") from error
    if not os.access(output, os.W_OK):
        raise CommandError(f"cannot write to {output}; choose another with --output DIR")
    for path in output.glob("part*.json"):
        other = json.loads(path.read_text()).get("experiment")
        if other != name:
            raise CommandError(f"{output} holds results of {other}; choose another folder with --output DIR")
    return output


def _run_part(name: str, module, args, output: Path) -> None:
    config = module.PARTS[args.part]
    if args.seeds:
        config = dataclasses.replace(config, seeds=args.seeds)
    if args.quick:
        config = dataclasses.replace(config, every=config.quick_every)
    cache = output / ".cache" / _fingerprint(module, config)
    print(f"{name}, part {args.part}{' (quick)' if args.quick else ''}, {seeds_in_words(config.seeds)}", flush=True)
    start, commit = time.perf_counter(), _commit()
    with _backend(args):
        results = module.run(config, jobs=args.jobs, cache=cache)
    seconds = time.perf_counter() - start
    save(name, output, args.part, config, results, seconds, commit)
    path = draw(module, output, args.part, config, results)
    shutil.rmtree(cache)
    print(f"done in {seconds:.0f} s: {path}\n{module.LOOK_AT}")


def _fingerprint(module, config) -> str:
    """Names the cache after all that the points depend on: settings, code and libraries."""
    digest = hashlib.sha256(json.dumps([dataclasses.asdict(config), _versions()], sort_keys=True).encode())
    shared = Path(__file__).with_name("descents.py")
    for path in sorted([*Path(hypergrad.__file__).parent.rglob("*.py"), shared, Path(inspect.getsourcefile(module))]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def _backend(args):
    """The joblib backend asked for, for the time of the run."""
    import joblib

    if args.backend == "loky":
        yield
        return
    if not args.scheduler:
        raise CommandError("--backend dask needs --scheduler tcp://host:port (start one with `dask scheduler`)")
    try:
        from distributed import Client
    except ImportError as error:
        raise CommandError("--backend dask needs Dask: pip install 'hypergrad-toolkit[cluster]'") from error
    try:
        client = Client(args.scheduler, timeout=10)
    except OSError as error:
        raise CommandError(f"no Dask scheduler answers at {args.scheduler}") from error
    with client, joblib.parallel_config(backend="dask"):
        yield


def save(name: str, output: Path, part: int, config, results, seconds: float, commit: str) -> None:
    """Write ``partN.npz`` and ``partN.json``, each under another name first and then renamed."""
    description = {
        "experiment": name,
        "part": part,
        "config": dataclasses.asdict(config),
        "seconds": round(seconds, 1),
        "date": date.today().isoformat(),
        "commit": commit,
        "versions": _versions(),
    }
    for suffix, write in (
        (".npz", lambda path: np.savez_compressed(path, **results._asdict())),
        (".json", lambda path: path.write_text(json.dumps(description, indent=2) + "\n")),
    ):
        partial = output / f".partial-part{part}{suffix}"
        write(partial)
        os.replace(partial, output / f"part{part}{suffix}")


def load(module, output: Path, part: int):
    """The stored config and results of a part."""
    paths = output / f"part{part}.json", output / f"part{part}.npz"
    for path in paths:
        if not path.exists():
            raise CommandError(f"there is no {path} to draw from; run the part first, without --replot")
    kind = type(module.PARTS[part])
    stored = json.loads(paths[0].read_text())["config"]
    config = kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in stored.items()})
    with np.load(paths[1], allow_pickle=False) as arrays:
        return config, module.Results(**arrays)


def draw(module, output: Path, part: int, config, results) -> Path:
    """Draw the figure of a part into ``partN.png``."""
    path = output / f"part{part}.png"
    module.plot(results, config).savefig(path, metadata={"Software": None})
    return path


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "hypergrad": hypergrad.__version__,
        **{library: version(library) for library in LIBRARIES},
    }


def _commit() -> str:
    """The commit the code stands at, with a + if the code has changes on top; empty outside git."""

    def git(*arguments):
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)

    try:
        commit = git("rev-parse", "--short=12", "HEAD").stdout.strip()
        changed = git("diff", "--quiet", "HEAD", "--", "hypergrad", "experiments").returncode
    except OSError:
        return ""
    return f"{commit}+" if commit and changed else commit
