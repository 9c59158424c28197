"""PostgreSQL: connections, the pool, SQL files, migrations."""
