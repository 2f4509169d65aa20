"""`tailrace init`: what it writes is valid, runs as it is, and is never replaced unasked."""

import re

import pytest
import yaml
from bridge import Bridge, configuration, tailrace, wait_until
from load import client


def init(folder, *arguments):
    return tailrace("init", *arguments, cwd=folder)


def test_it_is_valid_without_a_warning(tmp_path):
    done = init(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "tailrace validate -c tailrace.yaml" in done.stdout
    checked = tailrace("validate", "--strict", "-c", tmp_path / "tailrace.yaml")
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("database", ["shop", "a-b_c", "X1", "null", "No", "dlq", "tailrace", "tailrace_dlq"])
def test_a_database_and_a_folder(tmp_path, database):
    done = init(tmp_path, "etc/bridge", "--database", database)
    assert done.returncode == 0, done.stderr
    file = tmp_path / "etc" / "bridge" / "tailrace.yaml"
    assert tailrace("validate", "--strict", "-c", file).returncode == 0
    assert yaml.safe_load(file.read_text())["rules"][0]["match"]["namespace"] == f"{database}.*"


@pytest.mark.parametrize("database", ["", "a.b", "a b", "${HOME}", "ü", "x" * 64, "a\n- b", "*"])
def test_names_that_would_need_another_rule(tmp_path, database):
    done = init(tmp_path, f"--database={database}")
    assert done.returncode == 64 and "--database" in done.stderr
    assert not (tmp_path / "tailrace.yaml").exists()


def test_nothing_is_replaced_unasked(tmp_path):
    file = tmp_path / "tailrace.yaml"
    file.write_text("mine")
    done = init(tmp_path)
    assert done.returncode == 1 and "--force" in done.stderr and file.read_text() == "mine"
    assert init(tmp_path, "--force").returncode == 0
    assert "rules" in yaml.safe_load(file.read_text())
    # A file where the folder should be.
    done = init(tmp_path, "tailrace.yaml/x")
    assert done.returncode == 1 and "tailrace.yaml/x" in done.stderr


def test_it_runs_as_it_is(lab, jetstream, tmp_path, name):
    assert init(tmp_path, "--database", name).returncode == 0
    file = tmp_path / "tailrace.yaml"
    text = file.read_text()
    for variable, value in (("MONGODB_URI", lab.uri), ("NATS_URL", lab.nats_url), ("NATS_REPLICAS", "1")):
        text, count = re.subn(r"\$\{" + variable + r":-[^}]*\}", value, text)
        assert count == 1
    # Where others run beside it.
    settings = yaml.safe_load(text) | {"http": configuration(lab, name)["http"]}
    settings["bridge"]["state_bucket"] = f"STATE_{name}"
    stream = settings["streams"][0]["name"]
    with Bridge(tmp_path, settings) as bridge, client(lab) as mongo:
        bridge.start().wait_ready()
        mongo[name].orders.insert_one({"_id": 7})
        wait_until(lambda: jetstream.holds(stream, 1), "it is stored")
        assert jetstream.messages(stream)[0].subject == f"{name}.orders.insert.7"
        assert bridge.terminate() == 0
