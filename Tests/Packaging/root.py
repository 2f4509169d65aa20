"""A Debian in a folder, entered by chroot. Network and kernel are this machine's."""

import shutil
import subprocess
from pathlib import Path


class System:
    def __init__(self, base, folder):
        self.base, self.folder = base, Path(folder)

    def __enter__(self):
        self.folder.mkdir()
        subprocess.run(["tar", "-xf", self.base, "-C", self.folder], check=True)
        # Where packages come from, and names of machines.
        for file in ("etc/resolv.conf", "etc/hosts"):
            shutil.copyfile(f"/{file}", self.folder / file)
        shutil.rmtree(self.folder / "etc/apt")
        shutil.copytree("/etc/apt", self.folder / "etc/apt", symlinks=True)
        for key in Path("/usr/share/keyrings").glob("*.gpg"):
            shutil.copyfile(key, self.folder / "usr/share/keyrings" / key.name)
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder, ignore_errors=True)

    def path(self, place):
        return self.folder / place.lstrip("/")

    def run(self, *command, code=0, user=None, **options):
        """Runs in it, with /proc, in a mount namespace that ends with the command."""
        inner = " ".join(["exec chroot", f"--userspec={user}" if user else "", str(self.folder), '"$@"'])
        done = subprocess.run(
            ["unshare", "--mount", "--fork", "--kill-child", "sh", "-c",
             f"mount -t proc proc {self.folder}/proc && {inner}", "sh", *map(str, command)],
            capture_output=True, text=True, timeout=600,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8",
                 "HOME": "/root"}, **options)
        if code is not None:
            assert done.returncode == code, (
                f"{' '.join(map(str, command))}: {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
        return done

    def put(self, file, place):
        shutil.copyfile(file, self.path(place))

    def files(self):
        """What is there, but what apt, dpkg and the tools for users keep for themselves."""
        left_out = ("etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-", "etc/subuid-", "etc/subgid-",
                    "var/lib/dpkg/", "var/lib/apt/", "var/cache/", "var/log/", "etc/apt/", "tmp/", "proc/", "run/")
        return {place for path in self.folder.rglob("*")
                if not (place := str(path.relative_to(self.folder))).startswith(left_out)}
