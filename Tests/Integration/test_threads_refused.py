"""The system refuses threads for a while: what needs one waits with the reason, and continues."""

import os
import shutil
import subprocess
import time

import pytest
from bridge import BINARY, Bridge, configuration, wait_until
from lab import die_with_parent
from load import client, make_collections, settle

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                   void *argument) {
  const char *file = getenv("REFUSE_THREADS");
  if (file != NULL && access(file, F_OK) == 0) return EAGAIN;
  int (*create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) =
      (int (*)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *))dlsym(RTLD_NEXT,
                                                                                   "pthread_create");
  return create(thread, attributes, run, argument);
}
"""


@pytest.fixture
def shim(tmp_path):
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if not compiler:
        pytest.skip("no C compiler")
    source, library = tmp_path / "shim.c", tmp_path / "shim.so"
    source.write_text(SHIM)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


def test_full_documents_wait(lab, jetstream, tmp_path, name, shim):
    make_collections(lab, name)
    with client(lab) as mongo:
        mongo[name].messages.insert_many([{"_id": n, "text": "whole"} for n in range(20)])
    settle(lab)
    refusal = tmp_path / "refuse"
    whole = configuration(lab, name, rule={"payload": {
        "envelope": "change_event", "full_document": "when_available"}})
    with Bridge(tmp_path, whole) as bridge, open(bridge.log, "ab") as log:
        environment = os.environ | {"LD_PRELOAD": str(shim), "REFUSE_THREADS": str(refusal)}
        bridge.process = subprocess.Popen(
            [BINARY, "run", "-c", bridge.file], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            cwd=tmp_path, env=environment, preexec_fn=die_with_parent)
        bridge.wait_ready()
        refusal.touch()
        with client(lab) as mongo:
            mongo[name].messages.update_many({}, {"$set": {"edited": True}})
        wait_until(lambda: "refuses to start a thread (image-reader)" in bridge.tail(), "the reason")
        time.sleep(1)
        assert not jetstream.last_sequence(name)
        bridge.alive()
        refusal.unlink()
        wait_until(lambda: jetstream.holds(name, 20), "the messages")
        told = [m.json for m in jetstream.messages(name)]
        assert all(m["fullDocument"]["edited"] for m in told)
        assert bridge.terminate() == 0
