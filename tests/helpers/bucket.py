"""An S3 server on 127.0.0.1, with one user whose keys it demands."""

import contextlib
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import requests
import s3fs
from moto import settings
from moto.moto_api._internal.models import moto_api_backend
from moto.server import ThreadedMotoServer

ALL = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
FIRST = {"aws_access_key_id": "first", "aws_secret_access_key": "first", "region_name": "us-east-1"}


@dataclass
class Bucket:
    """The server, and the environment of a user."""

    server: ThreadedMotoServer
    env: dict[str, str]
    s3: Any

    def stop(self) -> None:
        """Refuse connections. The content stays."""
        self.server._server.socket.shutdown(socket.SHUT_RDWR)  # also for processes that were forked, which would keep it open
        self.server.stop()

    def start(self) -> None:
        """Serve again at the same port."""
        self.server = ThreadedMotoServer(*self.server.get_host_and_port(), verbose=False)
        self.server.start()

    def names(self, folder: str = "") -> list[str]:
        """Return the names of the files below a folder of the bucket."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket="bucket", Prefix=folder)
        return [found["Key"] for page in pages for found in page.get("Contents", [])]

    def put(self, name: str, content: bytes) -> None:
        """Write a file."""
        self.s3.put_object(Bucket="bucket", Key=name, Body=content)

    def get(self, name: str) -> bytes:
        """Read a file."""
        return self.s3.get_object(Bucket="bucket", Key=name)["Body"].read()


@contextlib.contextmanager
def served() -> Iterator[Bucket]:
    """Serve an empty bucket called ``bucket``."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    try:
        iam = boto3.client("iam", endpoint_url=address, **FIRST)
        iam.create_user(UserName="anna")
        iam.put_user_policy(UserName="anna", PolicyName="all", PolicyDocument=json.dumps(ALL))
        key = iam.create_access_key(UserName="anna")["AccessKey"]
        keys = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"], "AWS_DEFAULT_REGION": "us-east-1"}
        s3 = boto3.client(
            "s3", endpoint_url=address, **{name.lower(): keys[name] for name in keys if "KEY" in name}, region_name="us-east-1"
        )
        s3.create_bucket(Bucket="bucket")
        requests.post(f"{address}/moto-api/reset-auth", data="0", timeout=30)  # from now on, keys are checked
        yield Bucket(server, keys | {"AWS_ENDPOINT_URL": address}, s3)
    finally:
        settings.INITIAL_NO_AUTH_ACTION_COUNT = float("inf")  # without the server, which may be stopped
        moto_api_backend.reset()


def forget() -> None:
    """Empty what a process remembers of keys and servers, as a new process has it."""
    s3fs.S3FileSystem.clear_instance_cache()
    boto3.DEFAULT_SESSION = None
