"""The words in which a provider's ways are written down."""

from dataclasses import dataclass
from enum import StrEnum

from chunkup.models import Limits


class Auth(StrEnum):
    """How a key is sent."""

    BEARER = "bearer"
    API_KEY = "api-key"


class Paging(StrEnum):
    """How a list of Files is asked for."""

    CURSOR = "cursor"
    PAGES = "pages"
    WHOLE = "whole"


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that a provider does, where that is written, and when it was read (ISO date).

    ``about`` is the attribute of :class:`Provider` that follows from it, or ``quirk`` for what
    the client does for everybody anyway.
    """

    about: str
    says: str
    source: str
    read: str


@dataclass(frozen=True, slots=True)
class Provider:
    """One provider's ways; what it does not say is what OpenAI does.

    Attributes:
        name: What a profile's ``preset`` calls it.
        base_url: Where it is unless somebody says otherwise; None where everybody has his own.
        limits: What it takes.
        title: Its name as people write it.
        hosts: Names of its hosts; one that begins with a dot stands for all that end so.
        key: The variable in which its own documents keep the key; None where they name none.
        auth: How a key is sent.
        query: Added to every request's URL.
        uploads: Whether it has Uploads; None if it has to be asked.
        ordered: Whether the parts of an Upload have to arrive in the file's order.
        purposes: The purposes that it names; empty where it takes any. Others are sent as well,
            and judged by the server.
        expires: Whether a File's expiry may be asked for.
        labels: Whether its Files say what they are for.
        paging: How its list of Files is asked for.
        stamps: Whether a File has the very moment of creation that its Upload has, as all public
            recordings of the official API show. Other servers may, and may take the moment at
            which the File is made.
        requests: Whether a line of a batch is a whole request, with method, url and model; else
            only its id and body, and the rest is said when the batch is made.
        endpoints: The urls that such lines may have; empty where no source has them all.
        facts: Where all this is from.
    """

    name: str
    base_url: str | None
    limits: Limits
    title: str = ""
    hosts: tuple[str, ...] = ()
    key: str | None = None
    auth: Auth = Auth.BEARER
    query: tuple[tuple[str, str], ...] = ()
    uploads: bool | None = None
    ordered: bool = False
    purposes: tuple[str, ...] = ()
    expires: bool = True
    labels: bool = True
    paging: Paging = Paging.CURSOR
    stamps: bool = False
    requests: bool = True
    endpoints: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()
