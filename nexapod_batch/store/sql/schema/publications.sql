-- Where in the ledger it stands what was published of a task: number of the latest entry that says so.
ALTER TABLE task ADD COLUMN shown INTEGER;
CREATE TEMP TABLE shown AS SELECT json_extract(CAST(body AS TEXT), '$.id') AS id, max(idx) AS idx FROM ledger_entry
WHERE json_valid(CAST(body AS TEXT)) AND (
  json_extract(CAST(body AS TEXT), '$.kind') = 'published' OR json_extract(CAST(body AS TEXT), '$.fact') = 'published'
) GROUP BY 1;
CREATE UNIQUE INDEX temp.shown_of ON shown (id);
UPDATE task SET shown = (SELECT s.idx FROM temp.shown s WHERE s.id = job_id || '_' || task.idx) WHERE published_from IS NOT NULL;
DROP TABLE temp.shown;
