"""Files that commands write: their owner's alone, whole, and never somewhere else by a link."""

import json
import os

from bridge import Bridge, configuration, tailrace
from load import client, make_collections, settle

FILES = {"--report": "report.json", "--html": "report.html", "--mismatches": "found.ndjson", "--progress": "progress.json"}


def test_files_of_verify(lab, tmp_path, name):
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(lab, name, source={"start": "oldest"})) as bridge:
        with client(lab) as mongo:
            mongo[name].rooms.insert_one({"_id": 1})
        settle(lab)
        assert bridge.run("--until", "now") == 0
        paths = {option: tmp_path / file for option, file in FILES.items()}
        command = ["verify", "-c", bridge.file, *(word for pair in paths.items() for word in pair)]
        done = tailrace(*command)
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(paths["--report"].read_text())["verdict"] == "PASS"
        for path in paths.values():
            assert oct(path.stat().st_mode & 0o777) == "0o600", path
        # A file that others may read by its owner's will stays so.
        paths["--report"].chmod(0o644)
        assert tailrace(*command).returncode == 0
        assert oct(paths["--report"].stat().st_mode & 0o777) == "0o644"
        assert not list(tmp_path.glob("*.tmp"))

        theirs = tmp_path / "theirs"
        for option, path in paths.items():
            theirs.write_text("theirs")
            path.unlink()
            path.symlink_to(theirs)
            done = tailrace("verify", "-c", bridge.file, option, path)
            # Progress is read before it is written, and theirs is none.
            assert done.returncode == 74 or option == "--progress", done.stdout + done.stderr
            assert theirs.read_text() == "theirs" and path.is_symlink()
        # What is no file is written to.
        done = tailrace("verify", "-c", bridge.file, "--report", "/dev/stdout")
        assert done.returncode == 0 and '"verdict": "PASS"' in done.stdout
        if os.path.exists("/dev/full"):
            assert tailrace("verify", "-c", bridge.file, "--report", "/dev/full").returncode == 74
