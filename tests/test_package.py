"""What the package says of itself is said once, or agrees."""

import configparser
import re

from pages import ROOT

import hypergrad as hg

SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg", encoding="utf-8")


def listed(section, option):
    """The lines of an option of setup.cfg."""
    return [line for line in SETUP[section][option].splitlines() if line]


def test_the_version_is_written_where_releases_are_told_of():
    assert SETUP["metadata"]["version"] == "attr: hypergrad.__version__"
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"^version: (.*)$", citation, flags=re.MULTILINE).group(1) == hg.__version__
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert newest.group(1) == hg.__version__


def test_the_pythons_it_is_for():
    minors = re.findall(r":: 3\.(\d+)$", SETUP["metadata"]["classifiers"], flags=re.MULTILINE)
    assert SETUP["options"]["python_requires"] == f">=3.{minors[0]}" and minors == ["10", "11", "12", "13"]
    assert f'target-version = "py3{minors[0]}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f"Python 3.{minors[0]} or later" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_licences_of_code_and_data_go_with_it():
    assert SETUP["metadata"]["license_expression"] == "MIT AND CC-BY-SA-3.0"
    assert not any(line.startswith("License") for line in listed("metadata", "classifiers")), "SPDX takes their place"
    files = {path: (ROOT / path).read_text(encoding="utf-8") for path in listed("metadata", "license_files")}
    (code, data) = files
    assert "MIT License" in files[code] and data in files[code]
    assert "Attribution-ShareAlike 3.0" in files[data] and "Yann LeCun" in files[data]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"]({data})" in readme and "CC BY-SA 3.0" in readme
    assert data.rpartition("/")[2] in SETUP["options.package_data"]["hypergrad.data"]


def test_addresses_are_those_that_the_repository_knows():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    addresses = [line.partition("=")[2].strip() for line in listed("metadata", "project_urls")]
    assert addresses and all(address in citation for address in addresses)


def test_every_dependency_has_a_lowest_version():
    assert all(re.fullmatch(r"[\w-]+ >= [\d.]+", line) for line in listed("options", "install_requires"))


def test_every_dependency_is_named_with_its_reason():
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    reasons = page.partition("## Dependencies")[2].partition("| by hand")[0]
    names = [line.partition(" ")[0] for line in listed("options", "install_requires")]
    assert names and all(f"`{name}`" in reasons for name in names)
