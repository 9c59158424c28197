-- Names this installation: one row, made here, never a second one.
CREATE TABLE installation (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE UNIQUE INDEX installation_one_row ON installation ((true));

CREATE TRIGGER installation_set_updated_at
BEFORE UPDATE ON installation
FOR EACH ROW EXECUTE FUNCTION set_updated_at();

INSERT INTO installation DEFAULT VALUES;
