-- Reasons of jobs, replicas and launches are data as well, and what a scheduler calls a launch has columns of its own.

UPDATE replica SET reason = '{"code":"replica.overdue"}' WHERE reason = 'deadline passed' AND execution = 'lost';
UPDATE replica SET reason = json_object('code', 'imported', 'parameters', json_object('text', reason))
WHERE reason <> '' AND reason <> '{"code":"replica.overdue"}';
UPDATE launch SET reason = json_object('code', 'imported', 'parameters', json_object('text', reason)) WHERE reason <> '';
UPDATE job SET blocked = json_object('code', 'imported', 'parameters', json_object('text', blocked)) WHERE blocked <> '';

ALTER TABLE launch ADD COLUMN native_state TEXT NOT NULL DEFAULT '';
ALTER TABLE launch ADD COLUMN native_reason TEXT NOT NULL DEFAULT '';
