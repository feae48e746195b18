-- What a pass could not do, why lines were refused, and why results could not be published are reasons as well.

ALTER TABLE fault RENAME COLUMN text TO reason;
UPDATE fault SET reason = json_object('code', 'imported', 'parameters', json_object('text', reason));
UPDATE quarantine SET reason = json_object('code', 'imported', 'parameters', json_object('text', reason));
UPDATE task SET unpublished = json_object('code', 'imported', 'parameters', json_object('text', unpublished)) WHERE unpublished <> '';
