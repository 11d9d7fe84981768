-- +goose Up
-- +goose StatementBegin

-- What a group may do in a code location. The name is compared letter by letter, as the backend that tells of it gives it.
CREATE TABLE group_grants (
    group_name TEXT COLLATE "C" NOT NULL,
    location   TEXT COLLATE "C" NOT NULL,
    role       TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (group_name, location)
);

-- The groups of a user, as the user's backend last told. Local users have none.
CREATE TABLE user_groups (
    user_id    BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    group_name TEXT   COLLATE "C" NOT NULL,
    PRIMARY KEY (user_id, group_name)
);

CREATE TRIGGER group_grants_moved AFTER INSERT OR UPDATE OR DELETE ON group_grants
FOR EACH ROW EXECUTE FUNCTION moved();
CREATE TRIGGER user_groups_moved AFTER INSERT OR UPDATE OR DELETE ON user_groups
FOR EACH ROW EXECUTE FUNCTION moved();
CREATE TRIGGER group_grants_emptied AFTER TRUNCATE ON group_grants
FOR EACH STATEMENT EXECUTE FUNCTION moved();
CREATE TRIGGER user_groups_emptied AFTER TRUNCATE ON user_groups
FOR EACH STATEMENT EXECUTE FUNCTION moved();
-- +goose StatementEnd
