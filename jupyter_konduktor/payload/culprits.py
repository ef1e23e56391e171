"""The kinds of objects that cannot be sent, and what to do instead."""

from __future__ import annotations

import asyncio
import contextvars
import io
import mmap
import os
import socket
import subprocess
import sys
import threading
import types
import weakref
from concurrent.futures import Executor, Future
from typing import Any, NamedTuple


class Kind(NamedTuple):
    """A kind of object that cannot be sent."""

    types: tuple[type, ...]
    name: str
    advice: str


_LOCKS = (type(threading.Lock()), type(threading.RLock()), threading.Condition, threading.Semaphore, threading.Event)
_IN_THE_JOB = "Make it inside the cell or function that runs as the job."

_KINDS = (
    Kind((io.IOBase,), "an open file", "Send its path and open it inside the job."),
    Kind((mmap.mmap,), "a memory-mapped file", "Send its path and map it inside the job."),
    Kind((socket.socket,), "a socket", "Connect inside the job."),
    Kind((*_LOCKS, threading.Barrier), "a lock", _IN_THE_JOB),
    Kind((threading.Thread,), "a thread", "Start it inside the job."),
    Kind((threading.local,), "a thread-local", _IN_THE_JOB),
    Kind((contextvars.Context, contextvars.ContextVar, contextvars.Token), "a context variable", _IN_THE_JOB),
    Kind(
        (types.GeneratorType, types.AsyncGeneratorType), "a generator", "Send list(...) of it, or make it in the job."
    ),
    Kind((types.CoroutineType,), "a coroutine", "Await it first, or call the function inside the job."),
    Kind((asyncio.Future, Future), "a future", "Wait for it and send its result."),
    Kind((asyncio.AbstractEventLoop,), "an event loop", "The job has its own."),
    Kind((Executor,), "an executor", _IN_THE_JOB),
    Kind((subprocess.Popen,), "a process", "Start it inside the job."),
    Kind((types.FrameType, types.TracebackType), "a stack frame", "Send what you need of it as values."),
    Kind((weakref.ref, weakref.ProxyType), "a weak reference", "Send the object that it refers to."),
)

_CONNECTIONS = frozenset((
    "sqlite3", "psycopg", "psycopg2", "pymysql", "MySQLdb", "mysql", "oracledb", "cx_Oracle", "pyodbc", "duckdb",
    "asyncpg", "sqlalchemy", "pymongo", "redis", "snowflake", "clickhouse_driver", "trino", "databricks", "boto3",
    "botocore", "aiobotocore", "grpc", "kubernetes", "requests", "httpx", "aiohttp", "urllib3", "ssl",
))  # fmt: skip
_CONNECT = "Connect inside the job; send the address, and credentials with --secret."


def kind_of(value: Any) -> str:
    """Name what an object is, if it is of a kind that cannot be sent; empty if it may be."""
    found = _find(value)
    return found.name if found is not None else ""


def advice_for(value: Any) -> str:
    """Say what to do instead of sending an object."""
    found = _find(value)
    if found is not None:
        return found.advice
    if _module(value) in _CONNECTIONS:
        return _CONNECT
    return "Make it inside the job, or give its class a __reduce__ that pickle can use."


def _module(value: Any) -> str:
    return str(getattr(type(value), "__module__", "")).partition(".")[0]


def _find(value: Any) -> Kind | None:
    if value is sys.modules:
        return Kind((), "sys.modules", "The job has its own; import what you need inside it.")
    if value is os.environ:
        return Kind((), "os.environ", "The job has its own environment; --env and --secret add to it.")
    if isinstance(value, (io.BytesIO, io.StringIO)):
        return None
    found = next((kind for kind in _KINDS if isinstance(value, kind.types)), None)
    if found is None and _module(value) in _CONNECTIONS and type(value).__name__ in ("Connection", "Cursor", "Engine"):
        return Kind((), f"a database connection ({type(value).__module__}.{type(value).__qualname__})", _CONNECT)
    return found
