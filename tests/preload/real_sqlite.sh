#!/bin/sh
# real_sqlite.sh - inserts, indexes, joins, windows, full text and a vacuum, to the same dump

. "$(dirname "$0")/common.sh"
need_program sqlite3

prepare() {
    cat >work.sql <<'END'
PRAGMA journal_mode = WAL;
CREATE TABLE item (id INTEGER PRIMARY KEY, grp INTEGER, name TEXT, amount REAL, note BLOB);
WITH RECURSIVE n(i, x) AS (SELECT 1, 17 UNION ALL SELECT i + 1, (x * 1103515245 + 12345) % 2147483648 FROM n WHERE i < 60000)
INSERT INTO item SELECT i, x % 997, 'name ' || (x % 7919), x / 1000.0, zeroblob(x % 50) FROM n;
CREATE INDEX item_grp ON item (grp, amount);
CREATE INDEX item_name ON item (name);
SELECT count(*), sum(amount), max(length(note)) FROM item;
SELECT grp, count(*), round(avg(amount), 3), group_concat(id) FROM item WHERE grp < 10 GROUP BY grp ORDER BY grp;
SELECT a.name, count(*) FROM item a JOIN item b ON a.grp = b.grp AND a.id < b.id WHERE a.grp < 60 GROUP BY a.name ORDER BY 2 DESC, 1 LIMIT 20;
SELECT id, rank() OVER (PARTITION BY grp ORDER BY amount DESC), sum(amount) OVER (PARTITION BY grp ORDER BY id ROWS 5 PRECEDING) FROM item WHERE grp = 5 ORDER BY id;
UPDATE item SET name = name || ' changed' WHERE id % 3 = 0;
DELETE FROM item WHERE id % 7 = 0;
CREATE TABLE big (body TEXT);
INSERT INTO big SELECT group_concat(name, ' ') FROM item GROUP BY grp % 10;
SELECT length(body), substr(body, 1000, 40) FROM big ORDER BY 1;
SELECT json_group_array(json_object('id', id, 'name', name)) FROM item WHERE id < 200;
VACUUM;
PRAGMA integrity_check;
END
}

workload() {
    sqlite3 -batch data.db <"$DATA/work.sql"
    sqlite3 data.db .dump | sha256sum
    sqlite3 data.db .dump | sqlite3 again.db
    sqlite3 again.db 'SELECT count(*), sum(id) FROM item'
}

compare_runs sqlite3 :memory: 'SELECT 1'
