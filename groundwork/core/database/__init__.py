"""PostgreSQL: connections, the pool, SQL files, migrations."""

from groundwork.core.database.connections import Connection, Connector
from groundwork.core.database.errors import UnavailableError
from groundwork.core.database.pool import Executor, Pool

__all__ = ["Connection", "Connector", "Executor", "Pool", "UnavailableError"]
