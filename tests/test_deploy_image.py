"""The image that ships, as far as it can be checked without a Docker daemon."""

from __future__ import annotations

import fnmatch
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()

#: Stage -> its instructions, comments left out.
STAGES: dict[str, list[str]] = {}
for _line in re.sub(r"\\\n", " ", DOCKERFILE).splitlines():
    if _begin := re.match(r"FROM \S+ AS (\S+)", _line):
        _stage = STAGES.setdefault(_begin[1], [])
    elif _line.strip() and not _line.startswith("#"):
        _stage.append(re.sub(r"\s+", " ", _line).strip())

TARGETS = ("cpu", "cuda")


def test_what_runs_is_made_of_stages_that_were_built_before() -> None:
    assert list(STAGES) == ["base", "build", "build-cpu", "build-cuda", "cuda", "cpu"]  # the last is the default
    for target in TARGETS:
        assert f"COPY --from=build-{target} /opt/tsrec /opt/tsrec" in STAGES[target]


@pytest.mark.parametrize("target", TARGETS)
def test_it_runs_as_nobody_in_particular_and_ends_by_the_signal_a_worker_knows(target: str) -> None:
    stage = STAGES[target]
    user = stage.index("USER tsrec")
    assert not [line for line in stage[user:] if "pip install" in line or "apt-get" in line]
    assert "STOPSIGNAL SIGTERM" in stage
    assert stage[-2:] == ['ENTRYPOINT ["tsrec"]', 'CMD ["worker"]']
    assert "--uid 10001" in " ".join(STAGES["base"])


def test_what_is_copied_is_there_and_not_left_outside_by_dockerignore() -> None:
    lines = (ROOT / ".dockerignore").read_text().split("\n")
    kept = [line[1:] for line in lines if line.startswith("!")]
    left = [line for line in lines if line.startswith("**/")]
    copied = {
        source
        for stage in STAGES.values()
        for line in stage
        if line.startswith("COPY") and "--from" not in line
        for source in line.split()[1:-1]
    }
    assert "*" in lines
    for source in copied:
        assert (ROOT / source).exists(), source
        assert source in kept, f"{source} is left outside"
    assert copied == set(kept), "and nothing else goes in"
    assert any(fnmatch.fnmatch("stream_app/__pycache__", pattern) for pattern in left)


def test_everything_that_the_package_is_built_from_is_copied() -> None:
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    copied = " ".join(STAGES["build"] + STAGES["build-cpu"])
    for name in [*project["tool"]["setuptools"]["packages"]["find"]["include"], *project["project"]["license-files"]]:
        assert name.rstrip("*") in copied
    assert project["project"]["readme"] in copied
    assert STAGES["build-cpu"][-6:] == STAGES["build-cuda"][-6:]


def test_the_requirements_are_those_of_the_project(tmp_path: Path) -> None:
    (line,) = [line for line in STAGES["build"] if "requirements.txt" in line]
    command = line.removeprefix("RUN ").replace("> requirements.txt", f"> {tmp_path / 'requirements.txt'}")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(command, shell=True, check=True, cwd=ROOT, env=dict(os.environ, PATH=path))
    found = (tmp_path / "requirements.txt").read_text().splitlines()
    assert any(line.startswith("torch==") for line in found)
    assert any(line.startswith("lightgbm==") for line in found), "the extra risk"
    assert "libgomp1" in " ".join(STAGES["base"]), "which lightgbm looks for, and a slim image has not"


def test_the_kernels_are_compiled_by_the_user_that_runs_into_the_folder_that_is_looked_in(tmp_path: Path) -> None:
    for target in TARGETS:
        stage = STAGES[target]
        assert stage.index("USER tsrec") < stage.index("RUN python /opt/tsrec/compile_kernels.py")
    (cache,) = re.findall(r"NUMBA_CACHE_DIR=(\S+)", DOCKERFILE)
    assert f"install -d -o tsrec -g tsrec {cache}" in " ".join(STAGES["base"])
    env = {name: value for name, value in os.environ.items() if not name.startswith("TSREC_")}
    env |= {"TSREC_WEB_HOST": "0.0.0.0", "PYTHONPATH": str(ROOT)}  # as in the image, where nobody has a token yet
    done = subprocess.run(
        [sys.executable, str(ROOT / "deploy" / "compile_kernels.py")], cwd=tmp_path, env=env, capture_output=True,
        text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr, done.stderr[-3000:]  # of a refit in a process of its own


def test_the_base_has_the_python_that_the_project_asks_for() -> None:
    tomllib = pytest.importorskip("tomllib")
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    (tag,) = re.findall(r"^FROM python:(\S+) AS base", DOCKERFILE, re.M)
    assert tag.startswith("3.11-slim-")
    assert asked == ">=3.11,<3.12"
