"""Dependencies are declared once, with a reason, and environment.yml names the same set."""

import re
import tomllib

import yaml

from labserve import places

CONDA_NAMES = {
    "pytorch-cpu": "torch",
    "matplotlib-base": "matplotlib",
    "prometheus_client": "prometheus-client",
    "uvicorn-standard": "uvicorn[standard]",
}
PYPROJECT = places.ROOT / "pyproject.toml"


def declared() -> dict[str, str]:
    """Name and lower bound of every dependency."""
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    return dict(line.split(">=") for line in project["dependencies"])


def test_every_dependency_has_a_lower_bound_and_a_reason() -> None:
    for line in PYPROJECT.read_text(encoding="utf-8").splitlines():
        if re.match(r'  "[a-z]', line):
            assert re.fullmatch(r'  "[a-z0-9-]+(\[[a-z]+\])?>=[\d.]+", +# \S.+', line), line


def test_environment_yml_names_the_same_set() -> None:
    environment = yaml.safe_load((places.ROOT / "environment.yml").read_text(encoding="utf-8"))
    conda = [line for line in environment["dependencies"] if isinstance(line, str)]
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    bounds = dict(line.split(">=") for line in [*conda, *pip] if ">=" in line)
    assert bounds.pop("python") == "3.11"
    assert {CONDA_NAMES.get(name, name): bound for name, bound in bounds.items()} == declared()
    assert "--editable ." in pip
