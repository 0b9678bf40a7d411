-- Made by `hubpipe destinations sql`. What begins with "once" is run once.
-- once: an external location, or an instance profile, has to let it read the folder
CREATE SCHEMA IF NOT EXISTS `hubspot`;

-- contacts (HubSpot contacts)
-- once
CREATE TABLE IF NOT EXISTS `hubspot`.`contacts` (
  `id` STRING NOT NULL,
  `_hubpipe_seq` BIGINT,
  `_hubpipe_state` STRING,
  `_hubpipe_synced_at` TIMESTAMP,
  `_hubpipe_created_at` TIMESTAMP,
  `_hubpipe_updated_at` TIMESTAMP,
  `_hubpipe_archived_at` TIMESTAMP,
  `_hubpipe_merged_into` STRING,
  `email` STRING,
  `score` DOUBLE,
  `opted_out` BOOLEAN,
  `born` DATE,
  `seen` TIMESTAMP,
  `kinds` ARRAY<STRING>,
  `_hubpipe_associations` STRING,
  `_hubpipe_history` STRING
);
CREATE TABLE IF NOT EXISTS `hubspot`.`contacts_load` (
  `id` STRING,
  `_hubpipe_seq` BIGINT,
  `_hubpipe_state` STRING,
  `_hubpipe_synced_at` TIMESTAMP,
  `_hubpipe_created_at` TIMESTAMP,
  `_hubpipe_updated_at` TIMESTAMP,
  `_hubpipe_archived_at` TIMESTAMP,
  `_hubpipe_merged_into` STRING,
  `email` STRING,
  `score` DOUBLE,
  `opted_out` BOOLEAN,
  `born` DATE,
  `seen` TIMESTAMP,
  `kinds` ARRAY<STRING>,
  `_hubpipe_associations` STRING,
  `_hubpipe_history` STRING,
  `_hubpipe_file` STRING
);
CREATE OR REPLACE VIEW `hubspot`.`contacts_live` AS SELECT * FROM `hubspot`.`contacts` WHERE `_hubpipe_state` = 'live';
-- again and again: a file is loaded once
COPY INTO `hubspot`.`contacts_load` FROM (
  SELECT CAST(`id` AS STRING) AS `id`,
    CAST(`_hubpipe_seq` AS BIGINT) AS `_hubpipe_seq`,
    CAST(`_hubpipe_state` AS STRING) AS `_hubpipe_state`,
    CAST(`_hubpipe_synced_at` AS TIMESTAMP) AS `_hubpipe_synced_at`,
    CAST(`_hubpipe_created_at` AS TIMESTAMP) AS `_hubpipe_created_at`,
    CAST(`_hubpipe_updated_at` AS TIMESTAMP) AS `_hubpipe_updated_at`,
    CAST(`_hubpipe_archived_at` AS TIMESTAMP) AS `_hubpipe_archived_at`,
    CAST(`_hubpipe_merged_into` AS STRING) AS `_hubpipe_merged_into`,
    CAST(`email` AS STRING) AS `email`,
    CAST(`score` AS DOUBLE) AS `score`,
    CAST(`opted_out` AS BOOLEAN) AS `opted_out`,
    CAST(`born` AS DATE) AS `born`,
    CAST(`seen` AS TIMESTAMP) AS `seen`,
    CAST(`kinds` AS ARRAY<STRING>) AS `kinds`,
    CAST(`_hubpipe_associations` AS STRING) AS `_hubpipe_associations`,
    CAST(`_hubpipe_history` AS STRING) AS `_hubpipe_history`,
    _metadata.file_path AS `_hubpipe_file`
  FROM 's3://bucket/crm/contacts'
) FILEFORMAT = PARQUET PATTERN = 'day=*/*.parquet' FORMAT_OPTIONS ('mergeSchema' = 'true') COPY_OPTIONS ('mergeSchema' = 'true');
MERGE WITH SCHEMA EVOLUTION INTO `hubspot`.`contacts` t USING (
  SELECT * FROM (
    SELECT f.*, ROW_NUMBER() OVER (PARTITION BY f.`id` ORDER BY f.`_hubpipe_seq` DESC, f.`_hubpipe_file` DESC) AS newest FROM (
      SELECT * FROM `hubspot`.`contacts_load`
    ) f
  ) n WHERE n.newest = 1
) s ON t.`id` = s.`id`
WHEN MATCHED AND s.`_hubpipe_seq` >= t.`_hubpipe_seq` THEN UPDATE SET
  `id` = s.`id`,
  `_hubpipe_seq` = s.`_hubpipe_seq`,
  `_hubpipe_state` = s.`_hubpipe_state`,
  `_hubpipe_synced_at` = s.`_hubpipe_synced_at`,
  `_hubpipe_created_at` = s.`_hubpipe_created_at`,
  `_hubpipe_updated_at` = s.`_hubpipe_updated_at`,
  `_hubpipe_archived_at` = s.`_hubpipe_archived_at`,
  `_hubpipe_merged_into` = s.`_hubpipe_merged_into`,
  `email` = s.`email`,
  `score` = s.`score`,
  `opted_out` = s.`opted_out`,
  `born` = s.`born`,
  `seen` = s.`seen`,
  `kinds` = s.`kinds`,
  `_hubpipe_associations` = s.`_hubpipe_associations`,
  `_hubpipe_history` = s.`_hubpipe_history`
WHEN NOT MATCHED THEN INSERT (`id`, `_hubpipe_seq`, `_hubpipe_state`, `_hubpipe_synced_at`, `_hubpipe_created_at`, `_hubpipe_updated_at`, `_hubpipe_archived_at`, `_hubpipe_merged_into`, `email`, `score`, `opted_out`, `born`, `seen`, `kinds`, `_hubpipe_associations`, `_hubpipe_history`)
  VALUES (s.`id`, s.`_hubpipe_seq`, s.`_hubpipe_state`, s.`_hubpipe_synced_at`, s.`_hubpipe_created_at`, s.`_hubpipe_updated_at`, s.`_hubpipe_archived_at`, s.`_hubpipe_merged_into`, s.`email`, s.`score`, s.`opted_out`, s.`born`, s.`seen`, s.`kinds`, s.`_hubpipe_associations`, s.`_hubpipe_history`);
DELETE FROM `hubspot`.`contacts_load`;

-- eu_deals (HubSpot deals)
-- once
CREATE TABLE IF NOT EXISTS `hubspot`.`eu_deals` (
  `id` STRING NOT NULL,
  `_hubpipe_seq` BIGINT,
  `_hubpipe_state` STRING,
  `_hubpipe_synced_at` TIMESTAMP,
  `_hubpipe_created_at` TIMESTAMP,
  `_hubpipe_updated_at` TIMESTAMP,
  `_hubpipe_archived_at` TIMESTAMP,
  `_hubpipe_merged_into` STRING,
  `order` STRING,
  `amount` DOUBLE,
  `amount_2` DOUBLE,
  `gr__e_in__` STRING,
  `a__b___c___d___` STRING,
  `___hostile___` STRING,
  `_1st` STRING
);
CREATE TABLE IF NOT EXISTS `hubspot`.`eu_deals_load` (
  `id` STRING,
  `_hubpipe_seq` BIGINT,
  `_hubpipe_state` STRING,
  `_hubpipe_synced_at` TIMESTAMP,
  `_hubpipe_created_at` TIMESTAMP,
  `_hubpipe_updated_at` TIMESTAMP,
  `_hubpipe_archived_at` TIMESTAMP,
  `_hubpipe_merged_into` STRING,
  `order` STRING,
  `amount` DOUBLE,
  `amount_2` DOUBLE,
  `gr__e_in__` STRING,
  `a__b___c___d___` STRING,
  `___hostile___` STRING,
  `_1st` STRING,
  `_hubpipe_file` STRING
);
CREATE OR REPLACE VIEW `hubspot`.`eu_deals_live` AS SELECT * FROM `hubspot`.`eu_deals` WHERE `_hubpipe_state` = 'live';
CREATE TABLE IF NOT EXISTS `hubspot`.`eu_deals__versions_rows` (
  `id` STRING,
  `_hubpipe_seq` BIGINT,
  `_hubpipe_state` STRING,
  `_hubpipe_synced_at` TIMESTAMP,
  `_hubpipe_created_at` TIMESTAMP,
  `_hubpipe_updated_at` TIMESTAMP,
  `_hubpipe_archived_at` TIMESTAMP,
  `_hubpipe_merged_into` STRING,
  `order` STRING,
  `amount` DOUBLE,
  `amount_2` DOUBLE,
  `gr__e_in__` STRING,
  `a__b___c___d___` STRING,
  `___hostile___` STRING,
  `_1st` STRING
);
INSERT INTO `hubspot`.`eu_deals__versions_rows` BY NAME SELECT c.`id`, c.`_hubpipe_seq`, c.`_hubpipe_state`, c.`_hubpipe_synced_at`, c.`_hubpipe_created_at`, c.`_hubpipe_updated_at`, c.`_hubpipe_archived_at`, c.`_hubpipe_merged_into`, c.`order`, c.`amount`, c.`amount_2`, c.`gr__e_in__`, c.`a__b___c___d___`, c.`___hostile___`, c.`_1st`
  FROM `hubspot`.`eu_deals` c LEFT JOIN `hubspot`.`eu_deals__versions_rows` v ON v.`id` = c.`id` AND v.`_hubpipe_seq` = c.`_hubpipe_seq` WHERE v.`id` IS NULL;
-- once: every version; `_hubpipe_current` says which is the newest of its record. How all of it was on a day:
-- SELECT * FROM `hubspot`.`eu_deals__versions` WHERE `valid_from` <= '2026-03-31' AND (`valid_to` > '2026-03-31' OR `valid_to` IS NULL) AND `_hubpipe_state` = 'live';
CREATE OR REPLACE VIEW `hubspot`.`eu_deals__versions` AS WITH
  v1 AS (SELECT `id`, `_hubpipe_seq`, `_hubpipe_state`, `_hubpipe_synced_at`, `_hubpipe_created_at`, `_hubpipe_updated_at`, `_hubpipe_archived_at`, `_hubpipe_merged_into`, `order`, `amount`, `amount_2`, `gr__e_in__`, `a__b___c___d___`, `___hostile___`, `_1st`,
    CASE WHEN `_hubpipe_state` = 'live' THEN `_hubpipe_updated_at` WHEN `_hubpipe_state` = 'archived' THEN COALESCE(`_hubpipe_archived_at`, `_hubpipe_updated_at`) END AS `_hubpipe_since`,
    MAX(CASE WHEN `_hubpipe_state` IN ('purged', 'merged') THEN `_hubpipe_seq` END) OVER (PARTITION BY `id`) AS `_hubpipe_ended`
  FROM `hubspot`.`eu_deals__versions_rows`),
  v2 AS (SELECT `id`, `_hubpipe_seq`, `_hubpipe_state`, `_hubpipe_synced_at`, `_hubpipe_created_at`, `_hubpipe_updated_at`, `_hubpipe_archived_at`, `_hubpipe_merged_into`, `order`, `amount`, `amount_2`, `gr__e_in__`, `a__b___c___d___`, `___hostile___`, `_1st`, `_hubpipe_since`,
    MAX(`_hubpipe_since`) OVER (PARTITION BY `id` ORDER BY `_hubpipe_seq` ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS `_hubpipe_before`
  FROM v1 WHERE `_hubpipe_ended` IS NULL OR `_hubpipe_seq` >= `_hubpipe_ended`),
  v3 AS (SELECT `id`, `_hubpipe_seq`, `_hubpipe_state`, `_hubpipe_synced_at`, `_hubpipe_created_at`, `_hubpipe_updated_at`, `_hubpipe_archived_at`, `_hubpipe_merged_into`, `order`, `amount`, `amount_2`, `gr__e_in__`, `a__b___c___d___`, `___hostile___`, `_1st`,
    CASE WHEN `_hubpipe_since` IS NOT NULL AND (`_hubpipe_before` IS NULL OR `_hubpipe_since` > `_hubpipe_before`) THEN `_hubpipe_since` ELSE `_hubpipe_synced_at` END AS `_hubpipe_begins`
  FROM v2),
  v4 AS (SELECT `id`, `_hubpipe_seq`, `_hubpipe_state`, `_hubpipe_synced_at`, `_hubpipe_created_at`, `_hubpipe_updated_at`, `_hubpipe_archived_at`, `_hubpipe_merged_into`, `order`, `amount`, `amount_2`, `gr__e_in__`, `a__b___c___d___`, `___hostile___`, `_1st`,
    MAX(`_hubpipe_begins`) OVER (PARTITION BY `id` ORDER BY `_hubpipe_seq` ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS `valid_from`
  FROM v3)
SELECT `id`, `_hubpipe_seq`, `_hubpipe_state`, `_hubpipe_synced_at`, `_hubpipe_created_at`, `_hubpipe_updated_at`, `_hubpipe_archived_at`, `_hubpipe_merged_into`, `order`, `amount`, `amount_2`, `gr__e_in__`, `a__b___c___d___`, `___hostile___`, `_1st`, `valid_from`,
  LEAD(`valid_from`) OVER (PARTITION BY `id` ORDER BY `_hubpipe_seq`) AS `valid_to`,
  ROW_NUMBER() OVER (PARTITION BY `id` ORDER BY `_hubpipe_seq` DESC) = 1 AS `_hubpipe_current`
FROM v4;
-- again and again: a file is loaded once
COPY INTO `hubspot`.`eu_deals_load` FROM (
  SELECT CAST(`id` AS STRING) AS `id`,
    CAST(`_hubpipe_seq` AS BIGINT) AS `_hubpipe_seq`,
    CAST(`_hubpipe_state` AS STRING) AS `_hubpipe_state`,
    CAST(`_hubpipe_synced_at` AS TIMESTAMP) AS `_hubpipe_synced_at`,
    CAST(`_hubpipe_created_at` AS TIMESTAMP) AS `_hubpipe_created_at`,
    CAST(`_hubpipe_updated_at` AS TIMESTAMP) AS `_hubpipe_updated_at`,
    CAST(`_hubpipe_archived_at` AS TIMESTAMP) AS `_hubpipe_archived_at`,
    CAST(`_hubpipe_merged_into` AS STRING) AS `_hubpipe_merged_into`,
    CAST(`order` AS STRING) AS `order`,
    CAST(`Amount` AS DOUBLE) AS `amount`,
    CAST(`amount` AS DOUBLE) AS `amount_2`,
    CAST(`Größe in €` AS STRING) AS `gr__e_in__`,
    CAST(`a "b" ``c`` 'd' \` AS STRING) AS `a__b___c___d___`,
    CAST(`{{ hostile }}` AS STRING) AS `___hostile___`,
    CAST(`1st` AS STRING) AS `_1st`,
    _metadata.file_path AS `_hubpipe_file`
  FROM 's3://bucket/crm/eu-deals'
) FILEFORMAT = PARQUET PATTERN = 'day=*/*.parquet' FORMAT_OPTIONS ('mergeSchema' = 'true') COPY_OPTIONS ('mergeSchema' = 'true');
MERGE WITH SCHEMA EVOLUTION INTO `hubspot`.`eu_deals` t USING (
  SELECT * FROM (
    SELECT f.*, ROW_NUMBER() OVER (PARTITION BY f.`id` ORDER BY f.`_hubpipe_seq` DESC, f.`_hubpipe_file` DESC) AS newest FROM (
      SELECT * FROM `hubspot`.`eu_deals_load`
    ) f
  ) n WHERE n.newest = 1
) s ON t.`id` = s.`id`
WHEN MATCHED AND s.`_hubpipe_seq` >= t.`_hubpipe_seq` THEN UPDATE SET
  `id` = s.`id`,
  `_hubpipe_seq` = s.`_hubpipe_seq`,
  `_hubpipe_state` = s.`_hubpipe_state`,
  `_hubpipe_synced_at` = s.`_hubpipe_synced_at`,
  `_hubpipe_created_at` = s.`_hubpipe_created_at`,
  `_hubpipe_updated_at` = s.`_hubpipe_updated_at`,
  `_hubpipe_archived_at` = s.`_hubpipe_archived_at`,
  `_hubpipe_merged_into` = s.`_hubpipe_merged_into`,
  `order` = s.`order`,
  `amount` = s.`amount`,
  `amount_2` = s.`amount_2`,
  `gr__e_in__` = s.`gr__e_in__`,
  `a__b___c___d___` = s.`a__b___c___d___`,
  `___hostile___` = s.`___hostile___`,
  `_1st` = s.`_1st`
WHEN NOT MATCHED THEN INSERT (`id`, `_hubpipe_seq`, `_hubpipe_state`, `_hubpipe_synced_at`, `_hubpipe_created_at`, `_hubpipe_updated_at`, `_hubpipe_archived_at`, `_hubpipe_merged_into`, `order`, `amount`, `amount_2`, `gr__e_in__`, `a__b___c___d___`, `___hostile___`, `_1st`)
  VALUES (s.`id`, s.`_hubpipe_seq`, s.`_hubpipe_state`, s.`_hubpipe_synced_at`, s.`_hubpipe_created_at`, s.`_hubpipe_updated_at`, s.`_hubpipe_archived_at`, s.`_hubpipe_merged_into`, s.`order`, s.`amount`, s.`amount_2`, s.`gr__e_in__`, s.`a__b___c___d___`, s.`___hostile___`, s.`_1st`);
MERGE WITH SCHEMA EVOLUTION INTO `hubspot`.`eu_deals__versions_rows` t USING (
  SELECT n.`id`, n.`_hubpipe_seq`, n.`_hubpipe_state`, n.`_hubpipe_synced_at`, n.`_hubpipe_created_at`, n.`_hubpipe_updated_at`, n.`_hubpipe_archived_at`, n.`_hubpipe_merged_into`, n.`order`, n.`amount`, n.`amount_2`, n.`gr__e_in__`, n.`a__b___c___d___`, n.`___hostile___`, n.`_1st`, n.`_hubpipe_file` FROM (
    SELECT f.*, ROW_NUMBER() OVER (PARTITION BY f.`id`, f.`_hubpipe_seq` ORDER BY CASE WHEN f.`_hubpipe_file` LIKE '%/day=%-v-%' THEN 1 ELSE 0 END, f.`_hubpipe_file` DESC) AS newest FROM `hubspot`.`eu_deals_load` f
  ) n WHERE n.newest = 1
) s ON t.`id` = s.`id` AND t.`_hubpipe_seq` = s.`_hubpipe_seq`
WHEN MATCHED AND s.`_hubpipe_file` NOT LIKE '%/day=%-v-%' THEN UPDATE SET
  `id` = s.`id`,
  `_hubpipe_seq` = s.`_hubpipe_seq`,
  `_hubpipe_state` = s.`_hubpipe_state`,
  `_hubpipe_synced_at` = s.`_hubpipe_synced_at`,
  `_hubpipe_created_at` = s.`_hubpipe_created_at`,
  `_hubpipe_updated_at` = s.`_hubpipe_updated_at`,
  `_hubpipe_archived_at` = s.`_hubpipe_archived_at`,
  `_hubpipe_merged_into` = s.`_hubpipe_merged_into`,
  `order` = s.`order`,
  `amount` = s.`amount`,
  `amount_2` = s.`amount_2`,
  `gr__e_in__` = s.`gr__e_in__`,
  `a__b___c___d___` = s.`a__b___c___d___`,
  `___hostile___` = s.`___hostile___`,
  `_1st` = s.`_1st`
WHEN NOT MATCHED THEN INSERT (`id`, `_hubpipe_seq`, `_hubpipe_state`, `_hubpipe_synced_at`, `_hubpipe_created_at`, `_hubpipe_updated_at`, `_hubpipe_archived_at`, `_hubpipe_merged_into`, `order`, `amount`, `amount_2`, `gr__e_in__`, `a__b___c___d___`, `___hostile___`, `_1st`)
  VALUES (s.`id`, s.`_hubpipe_seq`, s.`_hubpipe_state`, s.`_hubpipe_synced_at`, s.`_hubpipe_created_at`, s.`_hubpipe_updated_at`, s.`_hubpipe_archived_at`, s.`_hubpipe_merged_into`, s.`order`, s.`amount`, s.`amount_2`, s.`gr__e_in__`, s.`a__b___c___d___`, s.`___hostile___`, s.`_1st`);
MERGE INTO `hubspot`.`eu_deals__versions_rows` t USING (SELECT `id`, MAX(`_hubpipe_seq`) AS `_hubpipe_seq` FROM `hubspot`.`eu_deals__versions_rows` WHERE `_hubpipe_state` IN ('purged', 'merged') GROUP BY `id`) e
  ON t.`id` = e.`id` AND t.`_hubpipe_seq` < e.`_hubpipe_seq` WHEN MATCHED THEN DELETE;
DELETE FROM `hubspot`.`eu_deals_load`;
