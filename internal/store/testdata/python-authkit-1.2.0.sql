-- A database as dagster-authkit 1.2.0 from PyPI (with peewee 4.5.3 and bcrypt 5) made it by its commands add-user and
-- delete-user and by two sign-ins. alice was added before bcrypt was installed, which that program does without.
-- Passwords: alice "alice in wonderland", Bob "bøb the builder", dave (deleted there) "dave the diver", carol "carol
-- singing out loud, quite a lot longer than the seventy-two bytes which bcrypt would look at", on one line.
PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE IF NOT EXISTS "users" ("username" VARCHAR(255) NOT NULL PRIMARY KEY, "password_hash" VARCHAR(255) NOT NULL, "role" INTEGER NOT NULL, "email" VARCHAR(255), "full_name" VARCHAR(255), "is_active" INTEGER NOT NULL, "created_at" DATETIME NOT NULL, "last_login" DATETIME, "session_version" INTEGER NOT NULL);
INSERT INTO users VALUES('alice','pbkdf2:sha256:a31d4a6755d276dac03ff5e6ca47b24734f954db854fa24af01abd9fe41f683d:15de23dfacc4c2a47ff6a887818cec2d7d02014c8c28b22f99a3cc01e160b184',40,'alice@example.org','Alice Liddell',1,'2026-11-23 17:52:43.411132+00:00','2026-11-23 17:52:47.480220+00:00',1);
INSERT INTO users VALUES('Bob','$2b$12$XtB6RTU94cpvcu.4vbc8p.wCwXh2GOq7UOtqCNK9zDw5k0c7A64.O',30,'','',1,'2026-11-23 17:52:45.503683+00:00','2026-11-23 17:52:47.421311+00:00',1);
INSERT INTO users VALUES('carol','$2b$12$zpkQq1g1c3Wmq9JQVhXAHOL6xGxWe4JED2NvTtzFh6U./Gmg5stFm',20,'','',1,'2026-11-23 17:52:46.163135+00:00',NULL,1);
INSERT INTO users VALUES('dave','$2b$12$CcWWOvtfexdKYSrw2O6JneukTPwXem5dV0ttRe1uIcfb2uvAP4gxu',10,'','',0,'2026-11-23 17:52:46.683343+00:00',NULL,2);
COMMIT;
