-- Made by `hubpipe destinations sql`. What begins with "once" is run once.
-- once: the files are read where they are (gs://); those of S3 need a connection (BigQuery Omni)
CREATE SCHEMA IF NOT EXISTS `hubspot`;

-- contacts (HubSpot contacts)
-- once
CREATE TABLE IF NOT EXISTS `hubspot`.`contacts` (
  `id` STRING NOT NULL,
  `_hubpipe_seq` INT64,
  `_hubpipe_state` STRING,
  `_hubpipe_synced_at` TIMESTAMP,
  `_hubpipe_created_at` TIMESTAMP,
  `_hubpipe_updated_at` TIMESTAMP,
  `_hubpipe_archived_at` TIMESTAMP,
  `_hubpipe_merged_into` STRING,
  `email` STRING,
  `score` FLOAT64,
  `opted_out` BOOL,
  `born` DATE,
  `seen` TIMESTAMP,
  `kinds` ARRAY<STRING>,
  `_hubpipe_associations` JSON,
  `_hubpipe_history` JSON
) CLUSTER BY `id`;
ALTER TABLE `hubspot`.`contacts`
  ADD COLUMN IF NOT EXISTS `email` STRING,
  ADD COLUMN IF NOT EXISTS `score` FLOAT64,
  ADD COLUMN IF NOT EXISTS `opted_out` BOOL,
  ADD COLUMN IF NOT EXISTS `born` DATE,
  ADD COLUMN IF NOT EXISTS `seen` TIMESTAMP,
  ADD COLUMN IF NOT EXISTS `kinds` ARRAY<STRING>,
  ADD COLUMN IF NOT EXISTS `_hubpipe_associations` JSON,
  ADD COLUMN IF NOT EXISTS `_hubpipe_history` JSON;
CREATE OR REPLACE EXTERNAL TABLE `hubspot`.`contacts_load` (
  `id` STRING,
  `_hubpipe_seq` INT64,
  `_hubpipe_state` STRING,
  `_hubpipe_synced_at` TIMESTAMP,
  `_hubpipe_created_at` TIMESTAMP,
  `_hubpipe_updated_at` TIMESTAMP,
  `_hubpipe_archived_at` TIMESTAMP,
  `_hubpipe_merged_into` STRING,
  `email` STRING,
  `score` FLOAT64,
  `opted_out` BOOL,
  `born` DATE,
  `seen` TIMESTAMP,
  `kinds` ARRAY<STRING>,
  `_hubpipe_associations` STRING,
  `_hubpipe_history` STRING
) OPTIONS (
  format = 'PARQUET', enable_list_inference = TRUE,
  file_set_spec_type = 'NEW_LINE_DELIMITED_MANIFEST', uris = ['s3://bucket/crm/contacts/_hubpipe/latest.txt']
);
CREATE OR REPLACE VIEW `hubspot`.`contacts_live` AS SELECT * FROM `hubspot`.`contacts` WHERE `_hubpipe_state` = 'live';
-- again and again
MERGE INTO `hubspot`.`contacts` t USING (
  SELECT * FROM (
    SELECT f.*, ROW_NUMBER() OVER (PARTITION BY f.`id` ORDER BY f.`_hubpipe_seq` DESC, f.file DESC) AS newest FROM (
      SELECT `id`, `_hubpipe_seq`, `_hubpipe_state`, `_hubpipe_synced_at`, `_hubpipe_created_at`, `_hubpipe_updated_at`, `_hubpipe_archived_at`, `_hubpipe_merged_into`, `email`, `score`, `opted_out`, `born`, `seen`, `kinds`, SAFE.PARSE_JSON(`_hubpipe_associations`) AS `_hubpipe_associations`, SAFE.PARSE_JSON(`_hubpipe_history`) AS `_hubpipe_history`, _FILE_NAME AS file FROM `hubspot`.`contacts_load`
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

-- eu_deals (HubSpot deals)
-- once
CREATE TABLE IF NOT EXISTS `hubspot`.`eu_deals` (
  `id` STRING NOT NULL,
  `_hubpipe_seq` INT64,
  `_hubpipe_state` STRING,
  `_hubpipe_synced_at` TIMESTAMP,
  `_hubpipe_created_at` TIMESTAMP,
  `_hubpipe_updated_at` TIMESTAMP,
  `_hubpipe_archived_at` TIMESTAMP,
  `_hubpipe_merged_into` STRING,
  `order` STRING,
  `amount` FLOAT64,
  `amount_2` FLOAT64,
  `gr__e_in__` STRING,
  `a__b___c___d___` STRING,
  `___hostile___` STRING,
  `_1st` JSON
) CLUSTER BY `id`;
ALTER TABLE `hubspot`.`eu_deals`
  ADD COLUMN IF NOT EXISTS `order` STRING,
  ADD COLUMN IF NOT EXISTS `amount` FLOAT64,
  ADD COLUMN IF NOT EXISTS `amount_2` FLOAT64,
  ADD COLUMN IF NOT EXISTS `gr__e_in__` STRING,
  ADD COLUMN IF NOT EXISTS `a__b___c___d___` STRING,
  ADD COLUMN IF NOT EXISTS `___hostile___` STRING,
  ADD COLUMN IF NOT EXISTS `_1st` JSON;
CREATE OR REPLACE EXTERNAL TABLE `hubspot`.`eu_deals_load` (
  `id` STRING,
  `_hubpipe_seq` INT64,
  `_hubpipe_state` STRING,
  `_hubpipe_synced_at` TIMESTAMP,
  `_hubpipe_created_at` TIMESTAMP,
  `_hubpipe_updated_at` TIMESTAMP,
  `_hubpipe_archived_at` TIMESTAMP,
  `_hubpipe_merged_into` STRING,
  `order` STRING,
  `Amount` FLOAT64,
  `amount` FLOAT64,
  `Größe in €` STRING,
  `a "b" \`c\` 'd' \\` STRING,
  `{{ hostile }}` STRING,
  `1st` STRING
) OPTIONS (
  format = 'PARQUET', enable_list_inference = TRUE,
  file_set_spec_type = 'NEW_LINE_DELIMITED_MANIFEST', uris = ['s3://bucket/crm/eu-deals/_hubpipe/latest.txt']
);
CREATE OR REPLACE VIEW `hubspot`.`eu_deals_live` AS SELECT * FROM `hubspot`.`eu_deals` WHERE `_hubpipe_state` = 'live';
CREATE OR REPLACE EXTERNAL TABLE `hubspot`.`eu_deals__versions_rows` (
  `id` STRING,
  `_hubpipe_seq` INT64,
  `_hubpipe_state` STRING,
  `_hubpipe_synced_at` TIMESTAMP,
  `_hubpipe_created_at` TIMESTAMP,
  `_hubpipe_updated_at` TIMESTAMP,
  `_hubpipe_archived_at` TIMESTAMP,
  `_hubpipe_merged_into` STRING,
  `order` STRING,
  `Amount` FLOAT64,
  `amount` FLOAT64,
  `Größe in €` STRING,
  `a "b" \`c\` 'd' \\` STRING,
  `{{ hostile }}` STRING,
  `1st` STRING
) OPTIONS (
  format = 'PARQUET', enable_list_inference = TRUE,
  file_set_spec_type = 'NEW_LINE_DELIMITED_MANIFEST', uris = ['s3://bucket/crm/eu-deals/_hubpipe/versions.txt']
);
-- once: every version; `_hubpipe_current` says which is the newest of its record. How all of it was on a day:
-- SELECT * FROM `hubspot`.`eu_deals__versions` WHERE `valid_from` <= '2026-03-31' AND (`valid_to` > '2026-03-31' OR `valid_to` IS NULL) AND `_hubpipe_state` = 'live';
CREATE OR REPLACE VIEW `hubspot`.`eu_deals__versions` AS WITH
  v1 AS (SELECT `id`, `_hubpipe_seq`, `_hubpipe_state`, `_hubpipe_synced_at`, `_hubpipe_created_at`, `_hubpipe_updated_at`, `_hubpipe_archived_at`, `_hubpipe_merged_into`, `order`, `amount`, `amount_2`, `gr__e_in__`, `a__b___c___d___`, `___hostile___`, `_1st`,
    CASE WHEN `_hubpipe_state` = 'live' THEN `_hubpipe_updated_at` WHEN `_hubpipe_state` = 'archived' THEN COALESCE(`_hubpipe_archived_at`, `_hubpipe_updated_at`) END AS `_hubpipe_since`,
    MAX(CASE WHEN `_hubpipe_state` IN ('purged', 'merged') THEN `_hubpipe_seq` END) OVER (PARTITION BY `id`) AS `_hubpipe_ended`
  FROM (
    SELECT `id`, `_hubpipe_seq`, `_hubpipe_state`, `_hubpipe_synced_at`, `_hubpipe_created_at`, `_hubpipe_updated_at`, `_hubpipe_archived_at`, `_hubpipe_merged_into`, `order`, `amount`, `amount_2`, `gr__e_in__`, `a__b___c___d___`, `___hostile___`, `_1st` FROM (
      SELECT n.*, ROW_NUMBER() OVER (PARTITION BY n.`id`, n.`_hubpipe_seq` ORDER BY CASE WHEN n._hubpipe_file LIKE '%/day=%-v-%' THEN 1 ELSE 0 END, n._hubpipe_file DESC) AS _hubpipe_nth FROM (
        SELECT `id`, `_hubpipe_seq`, `_hubpipe_state`, `_hubpipe_synced_at`, `_hubpipe_created_at`, `_hubpipe_updated_at`, `_hubpipe_archived_at`, `_hubpipe_merged_into`, `order`, `Amount` AS `amount`, `amount` AS `amount_2`, `Größe in €` AS `gr__e_in__`, `a "b" \`c\` 'd' \\` AS `a__b___c___d___`, `{{ hostile }}` AS `___hostile___`, SAFE.PARSE_JSON(`1st`) AS `_1st`, _FILE_NAME AS _hubpipe_file FROM `hubspot`.`eu_deals__versions_rows`
      ) n
    ) m WHERE _hubpipe_nth = 1
  ) r),
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
-- again and again
MERGE INTO `hubspot`.`eu_deals` t USING (
  SELECT * FROM (
    SELECT f.*, ROW_NUMBER() OVER (PARTITION BY f.`id` ORDER BY f.`_hubpipe_seq` DESC, f.file DESC) AS newest FROM (
      SELECT `id`, `_hubpipe_seq`, `_hubpipe_state`, `_hubpipe_synced_at`, `_hubpipe_created_at`, `_hubpipe_updated_at`, `_hubpipe_archived_at`, `_hubpipe_merged_into`, `order`, `Amount` AS `amount`, `amount` AS `amount_2`, `Größe in €` AS `gr__e_in__`, `a "b" \`c\` 'd' \\` AS `a__b___c___d___`, `{{ hostile }}` AS `___hostile___`, SAFE.PARSE_JSON(`1st`) AS `_1st`, _FILE_NAME AS file FROM `hubspot`.`eu_deals_load`
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
