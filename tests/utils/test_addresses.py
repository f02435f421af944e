"""Passwords and tokens of addresses stay out of everything that is shown, written or sent; and what an unsafe way brings is refused."""

import base64
import datetime
import functools
import http.server
import json
import ssl
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from srgan.config import schema
from srgan.data.download.datasets import Checksums
from srgan.utils.addresses import without_secrets
from srgan.utils.errors import SrganError, reason
from tests.data.download.test_datasets import write_zip
from tests.helpers.commands import run
from tests.helpers.project import write_params

SECRETS = ("anna", "S3CRET", "T0KEN")


class Private(http.server.SimpleHTTPRequestHandler):
    """Wants basic authentication."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.headers.get("Authorization") == "Basic " + base64.b64encode(b"anna:S3CRET").decode():
            self.path = self.path.split("?")[0]
            super().do_GET()
        else:
            self.send_error(401)


@pytest.fixture
def private(tmp_path):
    """A place to work in, and the server's host and port."""
    (tmp_path / "served").mkdir()
    (tmp_path / "work").mkdir()
    write_zip(tmp_path / "served" / "more.zip", ["a.png", "b.png", "c.png"])
    handler = functools.partial(Private, directory=tmp_path / "served")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield tmp_path / "work", f"127.0.0.1:{server.server_port}"
        server.shutdown()


def download(work, address, check=True, **env):
    write_params(work, {"data.train": [address], "data.test": ["sample"]})
    env = {"SRGAN_CACHE": str(work / "cache"), "HOME": str(work)} | env
    return run("srgan", "download", cwd=work, check=check, **env)


def test_a_password_and_a_token_in_an_address_are_neither_logged_nor_recorded(private):
    work, host = private
    done = download(work, f"http://anna:S3CRET@{host}/more.zip?token=T0KEN")
    recorded = (work / "checksums.json").read_text()
    assert list(json.loads(recorded)) == [f"http://{host}/more.zip"]
    assert f"recorded http://{host}/more.zip. Commit this file" in done.stderr
    assert "downloaded over plain http without a published digest" in done.stderr
    shown = run("srgan", "data", "licence", cwd=work).stdout + run("srgan", "profile", "diff", "demo", cwd=work).stdout
    for text in (done.stderr, recorded, shown, (work / "data/raw/manifest.json").read_text()):
        assert not [secret for secret in SECRETS if secret in text]
    # Another token is the same address; the warning was for the first time.
    again = download(work, f"http://anna:S3CRET@{host}/more.zip?token=AN0THER")
    assert "recorded" not in again.stderr
    assert "plain http" not in again.stderr


@pytest.mark.parametrize("address", ["http://anna:S3CRET@{}/gone.zip?token=T0KEN", "http://anna:S3CRET@127.0.0.1:9/more.zip?token=T0KEN"])
@pytest.mark.parametrize("debug", [False, True])
def test_errors_hide_them_too(private, address, debug):
    work, host = private
    address = address.format(host)
    write_params(work, {"data.train": [address], "data.test": ["sample"]})
    failed = run("srgan", "download", *(["--debug"] if debug else []), cwd=work, check=False, SRGAN_CACHE=str(work / "cache"))
    assert failed.returncode in (1, 69)
    assert "failed to fetch data set" in failed.stderr
    assert not [secret for secret in SECRETS if secret in failed.stderr]


def test_the_address_of_a_mirror_is_shown_without_its_password(private):
    work, host = private
    failed = download(work, "t91", check=False, SRGAN_MIRROR=f"http://anna:M1RROR@{host}", no_proxy="127.0.0.1", https_proxy="http://127.0.0.1:9",
                      http_proxy="http://127.0.0.1:9")  # fmt: skip
    assert f"http://{host}/datasets/t91/" in failed.stderr
    assert "M1RROR" not in failed.stderr


@pytest.mark.filterwarnings("error")  # a warning would show the address
def test_what_is_compared_and_sent_to_mlflow_has_no_secrets(private):
    work, host = private
    address = f"http://anna:S3CRET@{host}/more.zip?token=T0KEN"
    path = write_params(work, {"data.train": [address, {"folder": address, "name": "again"}, "sample"]})
    loaded = schema.load(path)
    assert loaded.data.names("train") == [f"http://{host}/more.zip", "again", "sample"]
    assert schema.flatten(loaded)["data.train"] == f"http://{host}/more.zip, {{folder: http://{host}/more.zip, name: again}}, sample"
    assert reason(ValueError(f"no way to {address}. Try again")) == f"no way to http://{host}/more.zip. Try again"
    assert str(SrganError(f"{address}: gone")) == f"http://{host}/more.zip: gone"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://host/a.zip", "https://host/a.zip"),
        ("s3://key:se/cr@et@bucket/x, next", "s3://bucket/x, next"),
        ("https://host/npm/pkg@1.2/x.zip?a=b;c#d: HTTP 404", "https://host/npm/pkg@1.2/x.zip: HTTP 404"),
        ("(caused by 'https://user@host:8080/x?y=1')", "(caused by 'https://host:8080/x')"),
        ("Max retries exceeded with url: /x.zip?token=T (Caused by", "Max retries exceeded with url: /x.zip (Caused by"),
        ("http://127.0.0.1:5000/#/experiments/1?workflowType=x", "http://127.0.0.1:5000/#/experiments/1?workflowType=x"),  # MLflow's pages
    ],
)
def test_only_the_secret_parts_of_an_address_are_hidden(text, shown):
    assert without_secrets(text) == shown


def test_addresses_that_former_versions_recorded_count_and_lose_their_secrets(private):
    work, host = private
    download(work, f"http://anna:S3CRET@{host}/more.zip")
    digest = json.loads((work / "checksums.json").read_text())[f"http://{host}/more.zip"]
    (work / "checksums.json").write_text(json.dumps({f"http://anna:S3CRET@{host}/more.zip?token=T0KEN": digest}))
    done = download(work, f"http://anna:S3CRET@{host}/more.zip")
    assert "removed passwords and tokens from addresses" in done.stderr
    assert json.loads((work / "checksums.json").read_text()) == {f"http://{host}/more.zip": digest}
    with pytest.raises(SrganError, match="not those of the first download"):
        Checksums(work / "checksums.json").check(f"http://anna:S3CRET@{host}/more.zip", [])


def test_user_and_password_may_come_from_netrc(private):
    work, host = private
    refused = download(work, f"http://{host}/more.zip", check=False)
    assert "HTTP 401 Unauthorized. Put user and password into ~/.netrc" in refused.stderr
    (work / ".netrc").write_text("machine 127.0.0.1 login anna password S3CRET\n")
    (work / ".netrc").chmod(0o600)
    download(work, f"http://{host}/more.zip")


# -- from https to http ---------------------------------------------------------------------------------------------------


def certificate(folder):
    """A self-signed certificate of 127.0.0.1, with its key, in one file."""
    import ipaddress

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    path = folder / "certificate.pem"
    path.write_bytes(private + built.public_bytes(serialization.Encoding.PEM))
    return path


def test_a_redirect_from_https_to_http_is_not_followed(private):
    work, host = private
    targets = {"/plain.zip": f"http://anna:S3CRET@{host}/more.zip"}

    class Redirecting(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            self.send_response(302)
            self.send_header("Location", targets[self.path])
            self.send_header("Content-Length", "0")
            self.end_headers()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(work))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Redirecting) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        refused = download(
            work, f"https://127.0.0.1:{server.server_port}/plain.zip", check=False, REQUESTS_CA_BUNDLE=str(work / "certificate.pem")
        )
        server.shutdown()
    assert "redirects from https to http, which is refused" in refused.stderr
