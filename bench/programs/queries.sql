-- queries.sql - a database in memory: filled, indexed, joined, changed
CREATE TABLE account(id INTEGER PRIMARY KEY, owner TEXT, balance INTEGER);
CREATE TABLE movement(id INTEGER PRIMARY KEY, account INTEGER, amount INTEGER, note TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
INSERT INTO account SELECT i, 'owner ' || (i * 7919 % 20000), i % 1000 FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)
INSERT INTO movement SELECT i, i * 31 % 20000 + 1, i % 200 - 100, 'note ' || (i % 1013) FROM n;
CREATE INDEX movement_account ON movement(account);
CREATE INDEX account_owner ON account(owner);
SELECT count(*), sum(total) FROM (SELECT account, sum(amount) AS total FROM movement GROUP BY account);
SELECT owner, count(*) AS n FROM account JOIN movement ON movement.account = account.id
 WHERE note LIKE 'note 10%' GROUP BY owner ORDER BY n DESC, owner LIMIT 5;
UPDATE account SET balance = balance + (SELECT total(amount) FROM movement WHERE account = account.id);
DELETE FROM movement WHERE amount < -50;
SELECT sum(balance) FROM account;
SELECT length(group_concat(note, ',')), count(DISTINCT note) FROM (SELECT note FROM movement ORDER BY note, id);
