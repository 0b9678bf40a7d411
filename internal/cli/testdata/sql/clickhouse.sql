-- Made by `hubpipe destinations sql`. What begins with "once" is run once.
-- once: the server has to have credentials for the bucket (its configuration, or a named collection)
CREATE DATABASE IF NOT EXISTS `hubspot`;

-- contacts (HubSpot contacts)
-- once: of an id the row with the highest place stays, of two of one place the one that came last
CREATE TABLE IF NOT EXISTS `hubspot`.`contacts` (
  `id` String,
  `_hubpipe_seq` UInt64,
  `_hubpipe_state` Nullable(String),
  `_hubpipe_synced_at` Nullable(DateTime64(3, 'UTC')),
  `_hubpipe_created_at` Nullable(DateTime64(3, 'UTC')),
  `_hubpipe_updated_at` Nullable(DateTime64(3, 'UTC')),
  `_hubpipe_archived_at` Nullable(DateTime64(3, 'UTC')),
  `_hubpipe_merged_into` Nullable(String),
  `email` Nullable(String),
  `score` Nullable(Float64),
  `opted_out` Nullable(Bool),
  `born` Nullable(Date32),
  `seen` Nullable(DateTime64(3, 'UTC')),
  `kinds` Array(String),
  `_hubpipe_associations` Nullable(String),
  `_hubpipe_history` Nullable(String)
) ENGINE = ReplacingMergeTree(`_hubpipe_seq`) ORDER BY `id`;
ALTER TABLE `hubspot`.`contacts`
  ADD COLUMN IF NOT EXISTS `email` Nullable(String),
  ADD COLUMN IF NOT EXISTS `score` Nullable(Float64),
  ADD COLUMN IF NOT EXISTS `opted_out` Nullable(Bool),
  ADD COLUMN IF NOT EXISTS `born` Nullable(Date32),
  ADD COLUMN IF NOT EXISTS `seen` Nullable(DateTime64(3, 'UTC')),
  ADD COLUMN IF NOT EXISTS `kinds` Array(String),
  ADD COLUMN IF NOT EXISTS `_hubpipe_associations` Nullable(String),
  ADD COLUMN IF NOT EXISTS `_hubpipe_history` Nullable(String);
CREATE OR REPLACE VIEW `hubspot`.`contacts_live` AS SELECT * FROM `hubspot`.`contacts` FINAL WHERE `_hubpipe_state` = 'live';
-- by hand, as often as you like: loads all that there is
INSERT INTO `hubspot`.`contacts` (`id`, `_hubpipe_seq`, `_hubpipe_state`, `_hubpipe_synced_at`, `_hubpipe_created_at`, `_hubpipe_updated_at`, `_hubpipe_archived_at`, `_hubpipe_merged_into`, `email`, `score`, `opted_out`, `born`, `seen`, `kinds`, `_hubpipe_associations`, `_hubpipe_history`)
SELECT `id`, `_hubpipe_seq`, `_hubpipe_state`, `_hubpipe_synced_at`, `_hubpipe_created_at`, `_hubpipe_updated_at`, `_hubpipe_archived_at`, `_hubpipe_merged_into`, `email`, `score`, `opted_out`, `born`, `seen`, `kinds`, `_hubpipe_associations`, `_hubpipe_history`
FROM s3('s3://bucket/crm/contacts/day=*/*.parquet', 'Parquet', '`id` String, `_hubpipe_seq` UInt64, `_hubpipe_state` Nullable(String), `_hubpipe_synced_at` Nullable(DateTime64(3, \'UTC\')), `_hubpipe_created_at` Nullable(DateTime64(3, \'UTC\')), `_hubpipe_updated_at` Nullable(DateTime64(3, \'UTC\')), `_hubpipe_archived_at` Nullable(DateTime64(3, \'UTC\')), `_hubpipe_merged_into` Nullable(String), `email` Nullable(String), `score` Nullable(Float64), `opted_out` Nullable(Bool), `born` Nullable(Date32), `seen` Nullable(DateTime64(3, \'UTC\')), `kinds` Array(String), `_hubpipe_associations` Nullable(String), `_hubpipe_history` Nullable(String)')
SETTINGS input_format_parquet_allow_missing_columns = 1;
-- or once: loads each file by itself as it comes; where there are other columns now, drop both before
CREATE TABLE IF NOT EXISTS `hubspot`.`contacts_load` (`id` String, `_hubpipe_seq` UInt64, `_hubpipe_state` Nullable(String), `_hubpipe_synced_at` Nullable(DateTime64(3, 'UTC')), `_hubpipe_created_at` Nullable(DateTime64(3, 'UTC')), `_hubpipe_updated_at` Nullable(DateTime64(3, 'UTC')), `_hubpipe_archived_at` Nullable(DateTime64(3, 'UTC')), `_hubpipe_merged_into` Nullable(String), `email` Nullable(String), `score` Nullable(Float64), `opted_out` Nullable(Bool), `born` Nullable(Date32), `seen` Nullable(DateTime64(3, 'UTC')), `kinds` Array(String), `_hubpipe_associations` Nullable(String), `_hubpipe_history` Nullable(String))
ENGINE = S3Queue('s3://bucket/crm/contacts/day=*/*.parquet', 'Parquet') SETTINGS mode = 'unordered';
CREATE MATERIALIZED VIEW IF NOT EXISTS `hubspot`.`contacts_loader` TO `hubspot`.`contacts` AS
SELECT `id`, `_hubpipe_seq`, `_hubpipe_state`, `_hubpipe_synced_at`, `_hubpipe_created_at`, `_hubpipe_updated_at`, `_hubpipe_archived_at`, `_hubpipe_merged_into`, `email`, `score`, `opted_out`, `born`, `seen`, `kinds`, `_hubpipe_associations`, `_hubpipe_history` FROM `hubspot`.`contacts_load`;
-- now and then: takes superseded rows away
OPTIMIZE TABLE `hubspot`.`contacts` FINAL;

-- eu_deals (HubSpot deals)
-- once: of an id the row with the highest place stays, of two of one place the one that came last
CREATE TABLE IF NOT EXISTS `hubspot`.`eu_deals` (
  `id` String,
  `_hubpipe_seq` UInt64,
  `_hubpipe_state` Nullable(String),
  `_hubpipe_synced_at` Nullable(DateTime64(3, 'UTC')),
  `_hubpipe_created_at` Nullable(DateTime64(3, 'UTC')),
  `_hubpipe_updated_at` Nullable(DateTime64(3, 'UTC')),
  `_hubpipe_archived_at` Nullable(DateTime64(3, 'UTC')),
  `_hubpipe_merged_into` Nullable(String),
  `order` Nullable(String),
  `amount` Nullable(Float64),
  `amount_2` Nullable(Float64),
  `gr__e_in__` Nullable(String),
  `a__b___c___d___` Nullable(String),
  `___hostile___` Nullable(String),
  `_1st` Nullable(String)
) ENGINE = ReplacingMergeTree(`_hubpipe_seq`) ORDER BY `id`;
ALTER TABLE `hubspot`.`eu_deals`
  ADD COLUMN IF NOT EXISTS `order` Nullable(String),
  ADD COLUMN IF NOT EXISTS `amount` Nullable(Float64),
  ADD COLUMN IF NOT EXISTS `amount_2` Nullable(Float64),
  ADD COLUMN IF NOT EXISTS `gr__e_in__` Nullable(String),
  ADD COLUMN IF NOT EXISTS `a__b___c___d___` Nullable(String),
  ADD COLUMN IF NOT EXISTS `___hostile___` Nullable(String),
  ADD COLUMN IF NOT EXISTS `_1st` Nullable(String);
CREATE OR REPLACE VIEW `hubspot`.`eu_deals_live` AS SELECT * FROM `hubspot`.`eu_deals` FINAL WHERE `_hubpipe_state` = 'live';
CREATE TABLE IF NOT EXISTS `hubspot`.`eu_deals__versions_rows` (
  `id` String,
  `_hubpipe_seq` UInt64,
  `_hubpipe_state` Nullable(String),
  `_hubpipe_synced_at` Nullable(DateTime64(3, 'UTC')),
  `_hubpipe_created_at` Nullable(DateTime64(3, 'UTC')),
  `_hubpipe_updated_at` Nullable(DateTime64(3, 'UTC')),
  `_hubpipe_archived_at` Nullable(DateTime64(3, 'UTC')),
  `_hubpipe_merged_into` Nullable(String),
  `order` Nullable(String),
  `amount` Nullable(Float64),
  `amount_2` Nullable(Float64),
  `gr__e_in__` Nullable(String),
  `a__b___c___d___` Nullable(String),
  `___hostile___` Nullable(String),
  `_1st` Nullable(String),
  `_hubpipe_fresh` UInt8
) ENGINE = ReplacingMergeTree(`_hubpipe_fresh`) ORDER BY (`id`, `_hubpipe_seq`);
ALTER TABLE `hubspot`.`eu_deals__versions_rows`
  ADD COLUMN IF NOT EXISTS `order` Nullable(String),
  ADD COLUMN IF NOT EXISTS `amount` Nullable(Float64),
  ADD COLUMN IF NOT EXISTS `amount_2` Nullable(Float64),
  ADD COLUMN IF NOT EXISTS `gr__e_in__` Nullable(String),
  ADD COLUMN IF NOT EXISTS `a__b___c___d___` Nullable(String),
  ADD COLUMN IF NOT EXISTS `___hostile___` Nullable(String),
  ADD COLUMN IF NOT EXISTS `_1st` Nullable(String);
-- once: every version; `_hubpipe_current` says which is the newest of its record. How all of it was on a day:
-- SELECT * FROM `hubspot`.`eu_deals__versions` WHERE `valid_from` <= '2026-03-31' AND (`valid_to` > '2026-03-31' OR `valid_to` IS NULL) AND `_hubpipe_state` = 'live';
CREATE OR REPLACE VIEW `hubspot`.`eu_deals__versions` AS WITH
  v1 AS (SELECT `id`, `_hubpipe_seq`, `_hubpipe_state`, `_hubpipe_synced_at`, `_hubpipe_created_at`, `_hubpipe_updated_at`, `_hubpipe_archived_at`, `_hubpipe_merged_into`, `order`, `amount`, `amount_2`, `gr__e_in__`, `a__b___c___d___`, `___hostile___`, `_1st`,
    CASE WHEN `_hubpipe_state` = 'live' THEN `_hubpipe_updated_at` WHEN `_hubpipe_state` = 'archived' THEN COALESCE(`_hubpipe_archived_at`, `_hubpipe_updated_at`) END AS `_hubpipe_since`,
    MAX(CASE WHEN `_hubpipe_state` IN ('purged', 'merged') THEN `_hubpipe_seq` END) OVER (PARTITION BY `id`) AS `_hubpipe_ended`
  FROM `hubspot`.`eu_deals__versions_rows` FINAL),
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
  MIN(`valid_from`) OVER (PARTITION BY `id` ORDER BY `_hubpipe_seq` ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING) AS `valid_to`,
  ROW_NUMBER() OVER (PARTITION BY `id` ORDER BY `_hubpipe_seq` DESC) = 1 AS `_hubpipe_current`
FROM v4;
-- by hand, as often as you like: loads all that there is
INSERT INTO `hubspot`.`eu_deals` (`id`, `_hubpipe_seq`, `_hubpipe_state`, `_hubpipe_synced_at`, `_hubpipe_created_at`, `_hubpipe_updated_at`, `_hubpipe_archived_at`, `_hubpipe_merged_into`, `order`, `amount`, `amount_2`, `gr__e_in__`, `a__b___c___d___`, `___hostile___`, `_1st`)
SELECT `id`, `_hubpipe_seq`, `_hubpipe_state`, `_hubpipe_synced_at`, `_hubpipe_created_at`, `_hubpipe_updated_at`, `_hubpipe_archived_at`, `_hubpipe_merged_into`, `order`, `Amount`, `amount`, `Größe in €`, `a "b" \`c\` 'd' \\`, `{{ hostile }}`, `1st`
FROM s3('s3://bucket/crm/eu-deals/day=*/*.parquet', 'Parquet', '`id` String, `_hubpipe_seq` UInt64, `_hubpipe_state` Nullable(String), `_hubpipe_synced_at` Nullable(DateTime64(3, \'UTC\')), `_hubpipe_created_at` Nullable(DateTime64(3, \'UTC\')), `_hubpipe_updated_at` Nullable(DateTime64(3, \'UTC\')), `_hubpipe_archived_at` Nullable(DateTime64(3, \'UTC\')), `_hubpipe_merged_into` Nullable(String), `order` Nullable(String), `Amount` Nullable(Float64), `amount` Nullable(Float64), `Größe in €` Nullable(String), `a "b" \\`c\\` \'d\' \\\\` Nullable(String), `{{ hostile }}` Nullable(String), `1st` Nullable(String)')
SETTINGS input_format_parquet_allow_missing_columns = 1;
INSERT INTO `hubspot`.`eu_deals__versions_rows` (`id`, `_hubpipe_seq`, `_hubpipe_state`, `_hubpipe_synced_at`, `_hubpipe_created_at`, `_hubpipe_updated_at`, `_hubpipe_archived_at`, `_hubpipe_merged_into`, `order`, `amount`, `amount_2`, `gr__e_in__`, `a__b___c___d___`, `___hostile___`, `_1st`, `_hubpipe_fresh`)
SELECT `id`, `_hubpipe_seq`, `_hubpipe_state`, `_hubpipe_synced_at`, `_hubpipe_created_at`, `_hubpipe_updated_at`, `_hubpipe_archived_at`, `_hubpipe_merged_into`, `order`, `Amount`, `amount`, `Größe in €`, `a "b" \`c\` 'd' \\`, `{{ hostile }}`, `1st`, _file NOT LIKE '%-v-%'
FROM s3('s3://bucket/crm/eu-deals/day=*/*.parquet', 'Parquet', '`id` String, `_hubpipe_seq` UInt64, `_hubpipe_state` Nullable(String), `_hubpipe_synced_at` Nullable(DateTime64(3, \'UTC\')), `_hubpipe_created_at` Nullable(DateTime64(3, \'UTC\')), `_hubpipe_updated_at` Nullable(DateTime64(3, \'UTC\')), `_hubpipe_archived_at` Nullable(DateTime64(3, \'UTC\')), `_hubpipe_merged_into` Nullable(String), `order` Nullable(String), `Amount` Nullable(Float64), `amount` Nullable(Float64), `Größe in €` Nullable(String), `a "b" \\`c\\` \'d\' \\\\` Nullable(String), `{{ hostile }}` Nullable(String), `1st` Nullable(String)')
SETTINGS input_format_parquet_allow_missing_columns = 1;
-- or once: loads each file by itself as it comes; where there are other columns now, drop all three before
CREATE TABLE IF NOT EXISTS `hubspot`.`eu_deals_load` (`id` String, `_hubpipe_seq` UInt64, `_hubpipe_state` Nullable(String), `_hubpipe_synced_at` Nullable(DateTime64(3, 'UTC')), `_hubpipe_created_at` Nullable(DateTime64(3, 'UTC')), `_hubpipe_updated_at` Nullable(DateTime64(3, 'UTC')), `_hubpipe_archived_at` Nullable(DateTime64(3, 'UTC')), `_hubpipe_merged_into` Nullable(String), `order` Nullable(String), `Amount` Nullable(Float64), `amount` Nullable(Float64), `Größe in €` Nullable(String), `a "b" \`c\` 'd' \\` Nullable(String), `{{ hostile }}` Nullable(String), `1st` Nullable(String))
ENGINE = S3Queue('s3://bucket/crm/eu-deals/day=*/*.parquet', 'Parquet') SETTINGS mode = 'unordered';
CREATE MATERIALIZED VIEW IF NOT EXISTS `hubspot`.`eu_deals_loader` TO `hubspot`.`eu_deals` AS
SELECT `id`, `_hubpipe_seq`, `_hubpipe_state`, `_hubpipe_synced_at`, `_hubpipe_created_at`, `_hubpipe_updated_at`, `_hubpipe_archived_at`, `_hubpipe_merged_into`, `order`, `Amount` AS `amount`, `amount` AS `amount_2`, `Größe in €` AS `gr__e_in__`, `a "b" \`c\` 'd' \\` AS `a__b___c___d___`, `{{ hostile }}` AS `___hostile___`, `1st` AS `_1st` FROM `hubspot`.`eu_deals_load`;
CREATE MATERIALIZED VIEW IF NOT EXISTS `hubspot`.`eu_deals__versions_loader` TO `hubspot`.`eu_deals__versions_rows` AS
SELECT `id`, `_hubpipe_seq`, `_hubpipe_state`, `_hubpipe_synced_at`, `_hubpipe_created_at`, `_hubpipe_updated_at`, `_hubpipe_archived_at`, `_hubpipe_merged_into`, `order`, `Amount` AS `amount`, `amount` AS `amount_2`, `Größe in €` AS `gr__e_in__`, `a "b" \`c\` 'd' \\` AS `a__b___c___d___`, `{{ hostile }}` AS `___hostile___`, `1st` AS `_1st`, _file NOT LIKE '%-v-%' AS `_hubpipe_fresh` FROM `hubspot`.`eu_deals_load`;
-- now and then: takes superseded rows away
OPTIMIZE TABLE `hubspot`.`eu_deals` FINAL;
DELETE FROM `hubspot`.`eu_deals__versions_rows` WHERE (`id`, `_hubpipe_seq`) IN (
  SELECT v.`id`, v.`_hubpipe_seq` FROM `hubspot`.`eu_deals__versions_rows` v JOIN (
    SELECT `id`, MAX(`_hubpipe_seq`) AS ended FROM `hubspot`.`eu_deals__versions_rows` WHERE `_hubpipe_state` IN ('purged', 'merged') GROUP BY `id`
  ) e ON v.`id` = e.`id` WHERE v.`_hubpipe_seq` < e.ended);
OPTIMIZE TABLE `hubspot`.`eu_deals__versions_rows` FINAL;
