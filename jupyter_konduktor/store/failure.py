"""What went wrong with a store, in one sentence and with what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from jupyter_konduktor.errors import StoreError

_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist")
_KEYS = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "XAdminUserNotFound", "AuthenticationFailed", "InvalidToken")
_EXPIRED = ("ExpiredToken", "has expired")
_NO_KEYS = (
    "no credentials",
    "CredentialsNotLoaded",
    "169.254.169.254",
    "metadata.google.internal",
    "MissingCredential",
)
_UNREACHABLE = ("error sending request", "HTTP error", "dns error", "Connection refused", "timed out")


@contextmanager
def explained(url: str, doing: str) -> Iterator[None]:
    """Turn what the library raises into a `StoreError`.

    Parameters
    ----------
    url : str
        Of the store.
    doing : str
        What could not be done to it, as in "written to".
    """
    try:
        yield
    except StoreError:
        raise
    except Exception as error:  # the library's errors have no root of their own: some are FileNotFoundError
        # What it gives beyond its first paragraph is for its own developers.
        text = str(error).partition("\n\nDebug source")[0]
        raise _told(url, doing, text) from error


def _told(url: str, doing: str, text: str) -> StoreError:
    what = f"The store {url} cannot be {doing}"
    if _any(_NO_BUCKET, text):
        return StoreError(f"{what}: there is no such bucket", advice="Make it, or name another one: store = ...")
    if _any(_EXPIRED, text):
        return StoreError(f"{what}: the credentials have expired", advice="Get new ones, and set them here.")
    if _any(_KEYS, text):
        return StoreError(
            f"{what}: it does not accept the credentials ({_code(text)})",
            advice="They come from this process's environment: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "GOOGLE_APPLICATION_CREDENTIALS, or AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY.",
        )
    if _any(_NO_KEYS, text):
        return StoreError(
            f"{what}: this process has no credentials for it",
            advice="Set them in its environment: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "GOOGLE_APPLICATION_CREDENTIALS, or AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY.",
        )
    if "403 Forbidden" in text or "privileges" in text or "Permission denied" in text:
        return StoreError(f"{what}: that is not allowed ({_code(text)})", advice="Ask for the right to read and write.")
    if _any(_UNREACHABLE, text):
        return StoreError(
            f"{what}: it does not answer ({_short(text)})",
            advice="Look at the network, and at AWS_ENDPOINT_URL if it is no store of a cloud's own.",
        )
    return StoreError(f"{what}: {_short(text)}")


def _any(words: tuple[str, ...], text: str) -> bool:
    return any(word in text for word in words)


def _code(text: str) -> str:
    """Give the server's own word, if it sent one."""
    found = re.search(r"<Code>(\w{1,60})</Code>", text)
    return found[1] if found else "403"


def _short(text: str) -> str:
    """Cut a message to a line, without what a server may have put into its document."""
    said = re.sub(r"<\?xml.*", "", text, flags=re.DOTALL)
    message = re.search(r"<Message>([^<]{1,200})</Message>", text)
    line = " ".join(f"{said} {message[1] if message else ''}".split())
    return line if len(line) <= 300 else line[:299] + "…"
