-- +goose Up
-- +goose StatementBegin

-- All times are milliseconds since 1970 in UTC. Names are compared in the form that identity.NameKey gives, which SQL
-- can't compute: the columns subject, account and username_key hold it.

CREATE TABLE users (
    id            INTEGER PRIMARY KEY AUTOINCREMENT, -- a number is never given twice
    backend       TEXT    NOT NULL,
    subject       TEXT    NOT NULL,
    name          TEXT    NOT NULL,
    email         TEXT    NOT NULL DEFAULT '',
    full_name     TEXT    NOT NULL DEFAULT '',
    role          TEXT    NOT NULL,
    password_hash TEXT    NOT NULL DEFAULT '',
    disabled      INTEGER NOT NULL DEFAULT 0 CHECK (disabled IN (0, 1)),
    epoch         INTEGER NOT NULL DEFAULT 0, -- moves with every password change and disabling
    created_at    INTEGER NOT NULL,
    last_login_at INTEGER,
    UNIQUE (backend, subject)
);

CREATE TABLE grants (
    user_id  INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    location TEXT    NOT NULL,
    role     TEXT    NOT NULL,
    PRIMARY KEY (user_id, location)
) WITHOUT ROWID;

CREATE TABLE sessions (
    token_hash   BLOB    NOT NULL PRIMARY KEY, -- SHA-256; the token itself is nowhere
    user_id      INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    last_seen_at INTEGER NOT NULL,
    address      TEXT    NOT NULL DEFAULT '',
    user_agent   TEXT    NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

-- Sign-ins that were tried and have not succeeded (so far).
CREATE TABLE login_attempts (
    id      INTEGER PRIMARY KEY,
    account TEXT    NOT NULL,
    address TEXT    NOT NULL,
    at      INTEGER NOT NULL
);
CREATE INDEX login_attempts_by_pair ON login_attempts (account, address, at);
CREATE INDEX login_attempts_by_address ON login_attempts (address, at);
CREATE INDEX login_attempts_by_time ON login_attempts (at);

-- From where an account signed in, and when last: a stranger's failures do not lock its owner out there.
CREATE TABLE login_addresses (
    account TEXT    NOT NULL,
    address TEXT    NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (account, address)
) WITHOUT ROWID;
CREATE INDEX login_addresses_by_time ON login_addresses (at);

CREATE TABLE audit_events (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    at           INTEGER NOT NULL,
    event_type   TEXT    NOT NULL,
    username     TEXT    NOT NULL,
    username_key TEXT    NOT NULL,
    status       TEXT    NOT NULL,
    ip           TEXT    NOT NULL,
    request_id   TEXT    NOT NULL,
    performed_by TEXT    NOT NULL,
    event        TEXT    NOT NULL -- the whole event as JSON, as it stands on stdout
);
CREATE INDEX audit_events_by_time ON audit_events (at);
CREATE INDEX audit_events_by_user ON audit_events (username_key, at);
CREATE INDEX audit_events_by_request ON audit_events (request_id) WHERE request_id <> '';

-- One row. version moves with every change that a signed-in person's next request must see, whoever makes it, so that
-- what was read at one version is good while the version stands. Audit events, attempts, activity and last sign-ins do
-- not move it. had_local_user is set by the first local user and never taken back.
CREATE TABLE state (
    id             INTEGER PRIMARY KEY CHECK (id = 1),
    version        INTEGER NOT NULL,
    had_local_user INTEGER NOT NULL CHECK (had_local_user IN (0, 1))
);
INSERT INTO state (id, version, had_local_user) VALUES (1, 1, 0);

CREATE TRIGGER users_inserted AFTER INSERT ON users BEGIN
    UPDATE state SET version = version + 1, had_local_user = max(had_local_user, new.backend = 'local');
END;
CREATE TRIGGER users_updated
AFTER UPDATE OF id, backend, subject, name, email, full_name, role, disabled ON users BEGIN
    UPDATE state SET version = version + 1;
END;
CREATE TRIGGER users_deleted AFTER DELETE ON users BEGIN
    UPDATE state SET version = version + 1;
END;
CREATE TRIGGER grants_inserted AFTER INSERT ON grants BEGIN
    UPDATE state SET version = version + 1;
END;
CREATE TRIGGER grants_updated AFTER UPDATE ON grants BEGIN
    UPDATE state SET version = version + 1;
END;
CREATE TRIGGER grants_deleted AFTER DELETE ON grants BEGIN
    UPDATE state SET version = version + 1;
END;
CREATE TRIGGER sessions_inserted AFTER INSERT ON sessions BEGIN
    UPDATE state SET version = version + 1;
END;
CREATE TRIGGER sessions_updated
AFTER UPDATE OF token_hash, user_id, created_at, expires_at, address, user_agent ON sessions BEGIN
    UPDATE state SET version = version + 1;
END;
CREATE TRIGGER sessions_deleted AFTER DELETE ON sessions BEGIN
    UPDATE state SET version = version + 1;
END;
-- +goose StatementEnd
