"""`sparsec check --output-format`: what machines read."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from urllib.parse import unquote

import pytest
from support.command_line import Ran

BAD = 'pattern a = pas(3)\npattern b = causal &\n  4 # é "\n'
ODD = "pattern c = past(8) | past(4)\npattern d = past(h)\n"


@pytest.fixture
def check(sparsec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    Path("bad.spat").write_text(BAD)
    Path("odd.spat").write_text(ODD)
    return partial(sparsec, "check", "--output-format")


def test_json(check) -> None:
    ran = check("json", "bad.spat", "odd.spat", "missing.spat")
    assert (ran.status, ran.err) == (1, "")
    found = json.loads(ran.out)
    assert (found["format"], found["valid"]) == (1, False)
    bad, odd, missing = found["files"]
    assert [each["valid"] for each in (bad, odd, missing)] == [False, True, False]
    first, second = bad["diagnostics"]
    first["fixes"] = first["fixes"][:1]
    assert first == {
        "code": "SP0201",
        "severity": "error",
        "title": "unknown name",
        "message": "unknown name `pas`",
        "label": "not defined",
        "help": "did you mean `past`?",
        "file": "bad.spat",
        "start": {"line": 1, "column": 13},
        "end": {"line": 1, "column": 16},
        "fixes": [
            {
                "title": "change to `past`",
                "start": {"line": 1, "column": 13},
                "end": {"line": 1, "column": 16},
                "replacement": "past",
            }
        ],
    }
    assert (second["code"], second["start"]) == ("SP0203", {"line": 3, "column": 3})
    assert [each["code"] for each in odd["diagnostics"]] == ["SP0903"]
    assert [each["code"] for each in odd["unbound"]["d"]] == ["SP0401"]
    [unread] = missing["diagnostics"]
    assert (unread["code"], unread["file"], unread["start"]) == ("SP0701", "missing.spat", None)


def test_places_in_used_files_name_them(check) -> None:
    Path("used.spat").write_text("set s = pas(3)\n")
    Path("p.spat").write_text('use "used.spat"\npattern p = s\n')
    [found] = json.loads(check("json", "p.spat").out)["files"]
    assert (found["name"], found["diagnostics"][0]["file"]) == ("p.spat", "used.spat")


LEVELS = {"none", "note", "warning", "error"}


def only(item: dict, required: set[str], allowed: set[str] = frozenset()) -> None:
    assert required <= set(item) <= required | set(allowed), item


def check_region(region: dict) -> None:
    only(region, {"startLine", "startColumn", "endLine", "endColumn"})
    assert all(isinstance(value, int) and value >= 1 for value in region.values())
    assert (region["startLine"], region["startColumn"]) <= (region["endLine"], region["endColumn"])


def check_artifact(artifact: dict) -> None:
    only(artifact, {"uri"})
    assert re.fullmatch(r"[A-Za-z0-9._~:/%-]+", artifact["uri"])


def check_sarif(log: dict) -> None:
    """The rules of the SARIF 2.1.0 schema for all the objects that are written."""
    only(log, {"version", "runs"}, {"$schema"})
    assert log["version"] == "2.1.0"
    for run in log["runs"]:
        only(run, {"tool", "results"}, {"columnKind", "invocations"})
        assert run["columnKind"] == "unicodeCodePoints"
        assert all(each["executionSuccessful"] in (True, False) for each in run["invocations"])
        driver = run["tool"]["driver"]
        only(driver, {"name"}, {"version", "rules"})
        for rule in driver["rules"]:
            only(rule, {"id"}, {"name", "shortDescription", "fullDescription", "help", "defaultConfiguration"})
            assert all(rule[key]["text"] for key in ("shortDescription", "fullDescription", "help"))
            assert rule["defaultConfiguration"]["level"] in LEVELS
        for result in run["results"]:
            only(result, {"message"}, {"ruleId", "ruleIndex", "level", "locations", "fixes"})
            assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
            assert result["level"] in LEVELS
            assert result["message"]["text"]
            for location in result["locations"]:
                only(location["physicalLocation"], {"artifactLocation"}, {"region"})
                check_artifact(location["physicalLocation"]["artifactLocation"])
                if region := location["physicalLocation"].get("region"):
                    check_region(region)
            for fix in result.get("fixes", ()):
                only(fix, {"artifactChanges"}, {"description"})
                for change in fix["artifactChanges"]:
                    only(change, {"artifactLocation", "replacements"})
                    check_artifact(change["artifactLocation"])
                    for replacement in change["replacements"]:
                        only(replacement, {"deletedRegion"}, {"insertedContent"})
                        check_region(replacement["deletedRegion"])


def test_sarif(check) -> None:
    odd = "a dïr/p%:1,.spat"
    Path("a dïr").mkdir()
    Path(odd).write_text("p = causal\n")
    ran = check("sarif", "bad.spat", "odd.spat", "missing.spat", odd, str(Path("odd.spat").absolute()))
    assert (ran.status, ran.err) == (1, "")
    log = json.loads(ran.out)
    check_sarif(log)
    [run] = log["runs"]
    assert [each["ruleId"] for each in run["results"]] == ["SP0201", "SP0203", "SP0903", "SP0701", "SP0104", "SP0903"]
    first = run["results"][0]
    assert first["locations"][0]["physicalLocation"]["region"] == {
        "startLine": 1,
        "startColumn": 13,
        "endLine": 1,
        "endColumn": 16,
    }
    assert first["fixes"][0]["artifactChanges"][0]["replacements"][0]["insertedContent"] == {"text": "past"}
    uris = [each["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for each in run["results"]]
    assert unquote(uris[4]) == odd
    assert uris[5].startswith("file:///")


def test_sarif_of_valid_files_has_no_results(check) -> None:
    Path("good.spat").write_text("pattern p = causal\n")
    ran = check("sarif", "good.spat")
    check_sarif(json.loads(ran.out))
    assert (ran.status, json.loads(ran.out)["runs"][0]["results"]) == (0, [])


def test_github(check) -> None:
    ran = check("github", "bad.spat", "odd.spat", "missing.spat")
    assert (ran.status, ran.err) == (1, "")
    assert ran.out.splitlines()[0] == (
        "::error file=bad.spat,line=1,col=13,endLine=1,endColumn=16,title=SP0201 unknown name::"
        "unknown name `pas`%0Ahelp: did you mean `past`?"
    )
    assert ran.out.splitlines()[3].startswith("::error file=missing.spat,title=SP0701 file can't be read::")


def test_github_commands_can_not_be_broken_out_of(check) -> None:
    name = "a,b:c%\r\n::error::x.spat"
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text("pattern p = k %% 4\n")
    ran = check("github", name)
    assert len(ran.out.splitlines()) == 1
    assert ran.out.startswith("::error file=a%2Cb%3Ac%25%0D%0A%3A%3Aerror%3A%3Ax.spat,line=1,")
    assert ran.out.endswith("::`%25%25` is written `%25` here\n")


def test_formats_are_quiet_where_there_is_nothing(check) -> None:
    Path("good.spat").write_text("pattern p = causal\n")
    assert check("github", "good.spat") == Ran(0, "", "")
    assert json.loads(check("json", "good.spat").out) == {
        "format": 1,
        "valid": True,
        "files": [{"name": "good.spat", "valid": True, "diagnostics": [], "unbound": {}, "unadvised": []}],
    }
    assert check("xml", "good.spat").status == 2
