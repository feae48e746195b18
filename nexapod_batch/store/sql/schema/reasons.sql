-- Reasons of verdicts are data: {"code": ..., "parameters": {...}}, "" for none. Sentences of earlier versions are kept.

UPDATE task SET reason = json_object('code', 'imported', 'parameters', json_object('text', reason)) WHERE reason <> '';
UPDATE task SET doubt = json_object('code', 'imported', 'parameters', json_object('text', doubt)) WHERE doubt <> '';
