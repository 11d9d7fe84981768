package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"dagster-authkit/e2e/smalldisk"
)

// SmallDisk gives what the login makes from now on in the database a disk of that many bytes, where mounting one is permitted. The log
// of writes, and what others make, stay on the large disk: with no room for the log PostgreSQL ends, as with Down.
func (s *Server) SmallDisk(ctx context.Context, database, login string, bytes int64) error {
	uid, gid := os.Getuid(), os.Getgid()
	if s.owner != nil {
		uid, gid = int(s.owner.Uid), int(s.owner.Gid)
	}
	folder := filepath.Join(s.folder, "small")
	disk, err := smalldisk.Mount(folder, bytes, uid, gid)
	if errors.Is(err, smalldisk.ErrNotPermitted) {
		return nil
	}
	if err != nil {
		return err
	}
	s.disk = disk
	place := filepath.Join(folder, "tablespace")
	if err := errors.Join(os.Mkdir(place, 0o700), s.give(place)); err != nil {
		return err
	}
	return errors.Join(
		s.Exec(ctx, database, fmt.Sprintf(`CREATE TABLESPACE small LOCATION '%s'`, place)), // by itself: it is no part of a transaction
		s.Exec(ctx, database, fmt.Sprintf(`GRANT CREATE ON TABLESPACE small TO %[1]s; ALTER ROLE %[1]s SET default_tablespace = small`, login)))
}

// FullDisk gives the ways to fill the disk of SmallDisk and to free it, or, where there is none, a stand-in for it: triggers that refuse
// new tables, and audit events in the schema, with PostgreSQL's error. what says which, for the test's log.
func (s *Server) FullDisk(database, schema string) (what string, fill, free func() error) {
	if s.disk != nil {
		return "a real disk is filled", s.disk.Fill, s.disk.Free
	}
	run := func(statements string) func() error {
		return func() error {
			return s.Exec(context.Background(), database, strings.ReplaceAll(statements, "SCHEMA", schema))
		}
	}
	const refuse = ` LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$;`
	return "STAND-IN: triggers say that the disk is full, as mounting a small one is not permitted here",
		run(`CREATE FUNCTION public.no_room_for_tables() RETURNS event_trigger` + refuse + `CREATE FUNCTION public.no_room_for_rows() RETURNS trigger` + refuse +
			`CREATE TRIGGER no_room BEFORE INSERT ON SCHEMA.audit_events FOR EACH ROW EXECUTE FUNCTION public.no_room_for_rows();
			CREATE EVENT TRIGGER no_room ON ddl_command_start WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION public.no_room_for_tables()`),
		run(`DROP FUNCTION public.no_room_for_tables CASCADE; DROP FUNCTION public.no_room_for_rows CASCADE`)
}
