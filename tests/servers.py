"""Real servers on loopback for the tests of remotes: OpenSSH, S3 (moto), WebDAV (wsgidav on cheroot)."""

import json
import os
import pwd
import secrets
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path

import boto3
import psutil
from boto3.session import Config
from conftest import require

HOST = "127.0.0.1"
OBJECTS = "files/md5"  # where DVC keeps objects in a remote


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind((HOST, 0))
        return found.getsockname()[1]


class Server(ABC):
    """A server as a process of its own, on a port and in a folder that it keeps when it is started again.

    Attributes
    ----------
    settings : dict[str, str]
        What a DVC remote needs to reach it, by the names of `dvc remote modify`.
    secret : str
        A line that nobody but the user may see.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.log = folder / "server.log"
        self.port = free_port()
        self.settings: dict[str, str] = {}
        self.secret = ""
        self.process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """What starts it in the foreground."""

    @abstractmethod
    def wrong(self) -> dict[str, str]:
        """Settings with which it lets nobody in."""

    @abstractmethod
    def objects(self) -> dict[str, bytes]:
        """Content of every object by its hash, read past DVC."""

    @abstractmethod
    def names(self) -> set[str]:
        """Hashes of all objects."""

    @abstractmethod
    def replace(self, oid: str, content: bytes | None) -> None:
        """Overwrite an object past DVC; None removes it."""

    def start(self) -> None:
        """Start it, and wait until it listens."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.environment()
            )
        end = time.monotonic() + 90
        while time.monotonic() < end and self.process.poll() is None:
            try:
                socket.create_connection((HOST, self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise AssertionError(f"{type(self).__name__} did not start:\n{self.log.read_text(errors='replace')}")

    def environment(self) -> dict[str, str]:
        """Environment that it starts in."""
        return dict(os.environ)

    def family(self) -> list[psutil.Process]:
        """The server and what it has started, one process for each session in OpenSSH's case."""
        if self.process is None:
            return []
        try:
            server = psutil.Process(self.process.pid)
            return [server, *server.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def signal(self, number: int) -> None:
        """Send a signal to each of its processes."""
        for process in self.family():
            try:
                process.send_signal(number)
            except psutil.NoSuchProcess:
                continue

    def stop(self) -> None:
        """Kill it, sessions and all."""
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()
            self.process = None


class Folder:
    """Objects of a remote that are files on this machine."""

    def __init__(self, store: Path):
        self.store = store

    def path(self, oid: str) -> Path:
        """Where an object lies."""
        return self.store / OBJECTS / oid[:2] / oid[2:]

    def names(self) -> set[str]:
        """Hashes of all objects; files still being written have other names."""
        paths = self.store.glob(f"{OBJECTS}/??/*")
        return {path.parent.name + path.name for path in paths if len(path.name.removesuffix(".dir")) == 30}

    def objects(self) -> dict[str, bytes]:
        """Content of every object by its hash."""
        return {oid: self.path(oid).read_bytes() for oid in self.names()}

    def replace(self, oid: str, content: bytes | None) -> None:
        """Overwrite an object, as a failing disk does, with its mode left as it is; None removes it."""
        path = self.path(oid)
        if content is None:
            path.unlink()
            return
        mode = path.stat().st_mode
        path.chmod(0o644)
        path.write_bytes(content)
        path.chmod(mode)


class OnDisk(Server):
    """A server whose objects are files below its folder."""

    @property
    def store(self) -> Folder:
        """Its files."""
        return Folder(self.folder / "store")

    def names(self) -> set[str]:
        """Hashes of all objects."""
        return self.store.names()

    def objects(self) -> dict[str, bytes]:
        """Content of every object by its hash."""
        return self.store.objects()

    def replace(self, oid: str, content: bytes | None) -> None:
        """Overwrite an object."""
        self.store.replace(oid, content)


class Ssh(OnDisk):
    """OpenSSH's sshd, with keys of its own; whoever runs the tests may log in with one key."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.program = require("/usr/sbin/sshd", "openssh-server")
        require("ssh-keygen", "openssh-client")
        if os.geteuid() == 0:  # root's sshd wants an empty folder to lock itself up in
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        for name in ("host", "key", "stranger"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        (folder / "store").mkdir()
        (folder / "authorized").write_text((folder / "key.pub").read_text())
        (folder / "known").write_text(f"[{HOST}]:{self.port} {(folder / 'host.pub').read_text()}")
        (folder / "config").write_text(
            f'Port {self.port}\nListenAddress {HOST}\nHostKey "{folder / "host"}"\nPidFile none\nUsePAM no\n'
            f'AuthorizedKeysFile "{folder / "authorized"}"\nStrictModes no\nPermitRootLogin prohibit-password\n'
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\nMaxStartups 100\n"
            "Subsystem sftp internal-sftp\n"
        )
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self.secret = (folder / "key").read_text().splitlines()[2]  # the line that holds the private half
        self.settings = {
            "url": f"ssh://{HOST}:{self.port}{folder / 'store'}",
            "user": self.user,
            "keyfile": str(folder / "key"),
        }

    def command(self) -> list[str]:
        """The daemon in the foreground."""
        return [self.program, "-D", "-e", "-f", str(self.folder / "config")]

    def wrong(self) -> dict[str, str]:
        """A key that the server does not know."""
        return {"keyfile": str(self.folder / "stranger")}

    def lets_git_in(self, home: Path) -> None:
        """Write a user's settings of SSH, with the host's key checked: Git heeds them, and DVC for Git's remotes."""
        config = home / ".ssh" / "config"
        config.parent.mkdir(mode=0o700)
        config.write_text(
            f'Host {HOST}\n  Port {self.port}\n  User {self.user}\n  IdentityFile "{self.folder / "key"}"\n'
            f'  IdentitiesOnly yes\n  BatchMode yes\n  UserKnownHostsFile "{self.folder / "known"}"\n'
        )
        # OpenSSH looks for its settings in the home that the user database names, whatever HOME says.
        (home / ".gitconfig").write_text(f'[core]\n    sshCommand = ssh -F \\"{config}\\"\n')


class WebDav(OnDisk):
    """Wsgidav on cheroot, with one user."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        (folder / "store").mkdir()
        self.secret = f"dav {secrets.token_hex(12)}"
        self.settings = {"url": f"webdav://{HOST}:{self.port}", "user": "ada", "password": self.secret}
        config = {
            "host": HOST,
            "port": self.port,
            "provider_mapping": {"/": str(folder / "store")},
            "simple_dc": {"user_mapping": {"*": {"ada": {"password": self.secret}}}},
            "http_authenticator": {"accept_basic": True, "accept_digest": True, "default_to_digest": True},
        }
        (folder / "config.json").write_text(json.dumps(config))

    def command(self) -> list[str]:
        """The server in the foreground."""
        return [sys.executable, "-m", "wsgidav.server.server_cli", "--config", str(self.folder / "config.json")]

    def wrong(self) -> dict[str, str]:
        """Another password."""
        return {"password": f"not {self.secret[::-1]}"}


class S3(Server):
    """Moto's server: objects in memory, and every request's signature and user checked."""

    bucket = "tones"

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.url = f"http://{HOST}:{self.port}"
        self.key = ""

    def command(self) -> list[str]:
        """The server in the foreground."""
        return [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(self.port)]

    def environment(self) -> dict[str, str]:
        """Four requests go unchecked: those by which `start` makes the bucket and the user."""
        return os.environ | {"INITIAL_NO_AUTH_ACTION_COUNT": "4"}

    def start(self) -> None:
        """Start it, with a bucket and a user who may do anything there, but nobody else."""
        super().start()
        self.client("s3").create_bucket(Bucket=self.bucket)
        iam = self.client("iam")
        iam.create_user(UserName="ada")
        statement = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_user_policy(UserName="ada", PolicyName="all", PolicyDocument=policy)
        made = iam.create_access_key(UserName="ada")["AccessKey"]
        self.key, self.secret = made["AccessKeyId"], made["SecretAccessKey"]
        self.settings = {
            "url": f"s3://{self.bucket}/store",
            "endpointurl": self.url,
            "region": "us-east-1",
            "access_key_id": self.key,
            "secret_access_key": self.secret,
        }
        self.ada = self.client("s3")

    def client(self, service: str):
        """A client of the server that is not DVC's."""
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=self.key or "nobody",
            aws_secret_access_key=self.secret or "nothing",
            config=Config(retries={"max_attempts": 1}),
        )

    def wrong(self) -> dict[str, str]:
        """Another secret key."""
        return {"secret_access_key": self.secret[::-1]}

    def names(self) -> set[str]:
        """Hashes of all objects."""
        listed = self.ada.list_objects_v2(Bucket=self.bucket, Prefix=f"store/{OBJECTS}/")
        return {"".join(entry["Key"].split("/")[-2:]) for entry in listed.get("Contents", [])}

    def objects(self) -> dict[str, bytes]:
        """Content of every object by its hash."""
        return {oid: self.ada.get_object(Bucket=self.bucket, Key=self.path(oid))["Body"].read() for oid in self.names()}

    def path(self, oid: str) -> str:
        """Key of an object."""
        return f"store/{OBJECTS}/{oid[:2]}/{oid[2:]}"

    def replace(self, oid: str, content: bytes | None) -> None:
        """Overwrite an object."""
        if content is None:
            self.ada.delete_object(Bucket=self.bucket, Key=self.path(oid))
        else:
            self.ada.put_object(Bucket=self.bucket, Key=self.path(oid), Body=content)

    def lets_in(self, key: str, secret: str) -> bool:
        """Whether the server lists the bucket for these credentials."""
        client = boto3.client(
            "s3", endpoint_url=self.url, region_name="us-east-1", aws_access_key_id=key, aws_secret_access_key=secret
        )
        try:
            client.list_objects_v2(Bucket=self.bucket)
        except client.exceptions.ClientError:
            return False
        return True


SERVERS = {"ssh": Ssh, "s3": S3, "webdav": WebDav}
