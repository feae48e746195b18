-- Whether a job is somebody else's than the account's that submitted it: then its commands are confined.
ALTER TABLE job ADD COLUMN "foreign" INTEGER NOT NULL DEFAULT 0 CHECK ("foreign" IN (0, 1));
