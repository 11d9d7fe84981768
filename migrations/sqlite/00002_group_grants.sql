-- +goose Up
-- +goose StatementBegin

-- What a group may do in a code location. The name is compared letter by letter, as the backend that tells of it gives it.
CREATE TABLE group_grants (
    group_name TEXT NOT NULL,
    location   TEXT NOT NULL,
    role       TEXT NOT NULL,
    PRIMARY KEY (group_name, location)
) WITHOUT ROWID;

-- The groups of a user, as the user's backend last told. Local users have none.
CREATE TABLE user_groups (
    user_id    INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    group_name TEXT    NOT NULL,
    PRIMARY KEY (user_id, group_name)
) WITHOUT ROWID;

CREATE TRIGGER group_grants_inserted AFTER INSERT ON group_grants BEGIN
    UPDATE state SET version = version + 1;
END;
CREATE TRIGGER group_grants_updated AFTER UPDATE ON group_grants BEGIN
    UPDATE state SET version = version + 1;
END;
CREATE TRIGGER group_grants_deleted AFTER DELETE ON group_grants BEGIN
    UPDATE state SET version = version + 1;
END;
CREATE TRIGGER user_groups_inserted AFTER INSERT ON user_groups BEGIN
    UPDATE state SET version = version + 1;
END;
CREATE TRIGGER user_groups_updated AFTER UPDATE ON user_groups BEGIN
    UPDATE state SET version = version + 1;
END;
CREATE TRIGGER user_groups_deleted AFTER DELETE ON user_groups BEGIN
    UPDATE state SET version = version + 1;
END;
-- +goose StatementEnd
