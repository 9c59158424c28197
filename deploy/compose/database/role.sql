-- Runs once, in a new cluster: the service's role owns its own database and nothing else.
\set password `cat /run/secrets/database_password`
CREATE ROLE groundwork LOGIN PASSWORD :'password';
CREATE DATABASE groundwork OWNER groundwork;
REVOKE ALL ON DATABASE groundwork, postgres FROM public;
