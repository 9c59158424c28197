from functools import lru_cache
from pydantic import PostgresDsn, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        case_sensitive=False,
    )

    # Application
    app_name: str = "Groundwork"
    debug: bool = False
    environment: str = "development"  # development, staging, production

    # Database
    database_url: PostgresDsn
    db_pool_size: int = 5
    db_max_overflow: int = 10

    # Security
    secret_key: str
    access_token_expire_minutes: int = 30

    # Logging
    log_level: str = "INFO"
    log_json: bool = True  # JSON in prod, can disable for local dev

@lru_cache
def get_settings() -> Settings:
    return Settings()
