"""Make a release of this checkout: check it, build sdist and wheel, install and try both, and set the tag.

    python scripts/release.py --dry-run       # everything but the tag; says what still stands in the way
    python scripts/release.py                 # of a clean tree on main
    python scripts/release.py --dry-run --fast

Nothing leaves this machine: the last lines are the commands that publish the release, for you to run.

The version is the one in pyproject.toml. CITATION.cff and the newest heading of CHANGELOG.md must have it too, with the
same date (``## [0.1.0] - 2026-12-01`` and ``date-released: 2026-12-01``). The files are built from what is committed,
the wheel from the sdist. Each is installed into an empty environment of its own, with the newest versions that
pyproject.toml allows, and trains the default job for two steps outside of the checkout; this downloads several GB.

``--fast`` takes the packages of this environment instead: it tries the files, but not whether their dependencies can
be installed, and so cannot make a tag. hatchling must be installed (``pip install hatchling``).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lab.cli.refusing import refusing  # noqa: E402
from lab.errors import RunError  # noqa: E402
from scripts.releasing import archives, ready, trial  # noqa: E402


def release(root: Path, out: Path, dry_run: bool, fast: bool) -> str:
    """Check, build, try, and set the tag unless it is a dry run.

    Args:
        root: the checkout.
        out: the folder for the two files.
        dry_run: set no tag, and go on although something stands in its way.
        fast: take the packages of this environment for the trial.

    Returns:
        The version.

    Raises:
        RunError: the checkout is not ready (not for a dry run), or one of the files is wrong or does not work.
    """
    version = ready.version_of(root)
    obstacles = ready.obstacles(root, version)
    if obstacles and not dry_run:
        raise RunError(f"not ready for {version}: {'; '.join(obstacles)} (--dry-run goes on in spite of it)")
    for obstacle in obstacles:
        print(f"in the way  {obstacle}")
    with tempfile.TemporaryDirectory(prefix="lab-release-") as scratch:
        files = archives.build(root, version, Path(scratch), out)
        for file in files:
            count = archives.check(file, root, version)
            print(f"built       {file} ({count} files, {file.stat().st_size / 1e6:.1f} MB)")
        for file in files:
            said = trial.try_file(file, Path(scratch) / f"try-{file.suffix.lstrip('.')}", version, fast)
            print(f"tried       {file.name}: {said}")
    if dry_run:
        print(f"dry run     {'not ready: see above' if obstacles else f'ready; without --dry-run it sets v{version}'}")
    else:
        ready.set_tag(root, version)
        print(f"tagged      v{version}")
        print(f"publish     git push origin main v{version}")
        print(f"            python -m twine upload {' '.join(str(file) for file in files)}")
    return version


@refusing
def main(words: list[str] | None = None) -> int:
    """Run the command line: 0 done (of a dry run: nothing is wrong with the files), 2 refused."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry-run", action="store_true", help="everything but the tag")
    parser.add_argument("--fast", action="store_true", help="try with this environment's packages (dry run only)")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="where to put the files (default: dist)")
    arguments = parser.parse_args(words)
    if arguments.fast and not arguments.dry_run:
        print("error: --fast does not try the dependencies, so it makes no release: add --dry-run", file=sys.stderr)
        return 2
    release(ROOT, arguments.out, arguments.dry_run, arguments.fast)
    return 0


if __name__ == "__main__":
    sys.exit(main())
