-- The same states as before, each compared by itself: for IN with more than two of them SQLite builds a table whenever a row is
-- written, which took a third of the time of storing a report. What a column may hold is no part of what is stored, so the text of
-- the schema is changed in place, as https://www.sqlite.org/lang_altertable.html (section 8) has it.

PRAGMA writable_schema = ON;

UPDATE sqlite_schema SET sql = replace(replace(sql,
  'execution IN (''created'', ''submitted'', ''queued'', ''running'', ''reported'', ''errored'', ''lost'', ''cancelled'')',
  'execution = ''reported'' OR execution = ''submitted'' OR execution = ''queued'' OR execution = ''running'' OR execution = ''created'' '
  || 'OR execution = ''errored'' OR execution = ''lost'' OR execution = ''cancelled'''),
  'validation IN (''pending'', ''valid'', ''invalid'', ''inconclusive'', ''unneeded'')',
  'validation = ''pending'' OR validation = ''valid'' OR validation = ''invalid'' OR validation = ''inconclusive'' OR validation = ''unneeded''')
WHERE type = 'table' AND name = 'replica';

UPDATE sqlite_schema SET sql = replace(sql,
  'state IN (''waiting'', ''active'', ''accepted'', ''failed'', ''inconclusive'', ''cancelled'')',
  'state = ''accepted'' OR state = ''active'' OR state = ''waiting'' OR state = ''failed'' OR state = ''inconclusive'' OR state = ''cancelled''')
WHERE type = 'table' AND name = 'task';

PRAGMA writable_schema = RESET;
