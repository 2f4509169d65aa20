"""kill -9 of a secondary that the bridge reads from: it reads on from another member."""

from lab import Lab
from members import read_on

# Checkpoints every five seconds: less to replay, so that a killed mongod is soon back.
FREQUENT = {"syncdelay": 5}


def test_kill_member_being_read(tmp_path, name):
    with Lab(mongod=3, parameters=FREQUENT) as lab:
        def kill(victim):
            lab.kill("mongod", victim)
            return lambda: lab.start("mongod", victim)

        read_on(lab, tmp_path, name, kill, lab.uri + "&readPreference=secondary")
