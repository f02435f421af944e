import pytest

from srgan.utils.errors import SrganError, Unreachable
from srgan.utils.file_systems import locate, reached

ADDRESS = "s3://bucket/a.png"


class NoCredentialsError(Exception):
    """Has the name of botocore's."""


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (FileNotFoundError("bucket/a.png"), SrganError, "s3://bucket/a.png: no such file or folder. Copy it"),
        (FileNotFoundError("The specified bucket does not exist"), SrganError, "s3://bucket/a.png: no such bucket. Copy it"),
        (PermissionError("Forbidden"), SrganError, "access denied (Forbidden). Check the keys, such as AWS_ACCESS_KEY_ID"),
        (NoCredentialsError("Unable to locate"), SrganError, "access denied (Unable to locate). Check the keys"),
        (ImportError("Install s3fs"), SrganError, "s3://bucket/a.png: Install s3fs"),
        (ConnectionResetError("reset"), Unreachable, "s3://bucket/a.png cannot be reached: reset"),
        (TimeoutError(), Unreachable, "s3://bucket/a.png cannot be reached: TimeoutError"),
        (SrganError("of a block within"), SrganError, "of a block within"),
    ],
)
def test_an_error_names_the_address_and_the_next_step(error, kind, text):
    with pytest.raises(SrganError) as caught, reached(ADDRESS, "Copy it"):
        raise error
    assert type(caught.value) is kind
    assert text in str(caught.value)


def test_an_unknown_protocol_is_an_error_of_the_user_and_a_password_is_not_shown():
    with pytest.raises(SrganError, match=r"unknown://bucket/a: Protocol not known"):
        locate("unknown://anna:S3CRET@bucket/a")
