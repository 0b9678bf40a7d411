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
-- by hand, as often as you like: loads all that there is
INSERT INTO `hubspot`.`eu_deals` (`id`, `_hubpipe_seq`, `_hubpipe_state`, `_hubpipe_synced_at`, `_hubpipe_created_at`, `_hubpipe_updated_at`, `_hubpipe_archived_at`, `_hubpipe_merged_into`, `order`, `amount`, `amount_2`, `gr__e_in__`, `a__b___c___d___`, `___hostile___`, `_1st`)
SELECT `id`, `_hubpipe_seq`, `_hubpipe_state`, `_hubpipe_synced_at`, `_hubpipe_created_at`, `_hubpipe_updated_at`, `_hubpipe_archived_at`, `_hubpipe_merged_into`, `order`, `Amount`, `amount`, `Größe in €`, `a "b" \`c\` 'd' \\`, `{{ hostile }}`, `1st`
FROM s3('s3://bucket/crm/eu-deals/day=*/*.parquet', 'Parquet', '`id` String, `_hubpipe_seq` UInt64, `_hubpipe_state` Nullable(String), `_hubpipe_synced_at` Nullable(DateTime64(3, \'UTC\')), `_hubpipe_created_at` Nullable(DateTime64(3, \'UTC\')), `_hubpipe_updated_at` Nullable(DateTime64(3, \'UTC\')), `_hubpipe_archived_at` Nullable(DateTime64(3, \'UTC\')), `_hubpipe_merged_into` Nullable(String), `order` Nullable(String), `Amount` Nullable(Float64), `amount` Nullable(Float64), `Größe in €` Nullable(String), `a "b" \\`c\\` \'d\' \\\\` Nullable(String), `{{ hostile }}` Nullable(String), `1st` Nullable(String)')
SETTINGS input_format_parquet_allow_missing_columns = 1;
-- or once: loads each file by itself as it comes; where there are other columns now, drop both before
CREATE TABLE IF NOT EXISTS `hubspot`.`eu_deals_load` (`id` String, `_hubpipe_seq` UInt64, `_hubpipe_state` Nullable(String), `_hubpipe_synced_at` Nullable(DateTime64(3, 'UTC')), `_hubpipe_created_at` Nullable(DateTime64(3, 'UTC')), `_hubpipe_updated_at` Nullable(DateTime64(3, 'UTC')), `_hubpipe_archived_at` Nullable(DateTime64(3, 'UTC')), `_hubpipe_merged_into` Nullable(String), `order` Nullable(String), `Amount` Nullable(Float64), `amount` Nullable(Float64), `Größe in €` Nullable(String), `a "b" \`c\` 'd' \\` Nullable(String), `{{ hostile }}` Nullable(String), `1st` Nullable(String))
ENGINE = S3Queue('s3://bucket/crm/eu-deals/day=*/*.parquet', 'Parquet') SETTINGS mode = 'unordered';
CREATE MATERIALIZED VIEW IF NOT EXISTS `hubspot`.`eu_deals_loader` TO `hubspot`.`eu_deals` AS
SELECT `id`, `_hubpipe_seq`, `_hubpipe_state`, `_hubpipe_synced_at`, `_hubpipe_created_at`, `_hubpipe_updated_at`, `_hubpipe_archived_at`, `_hubpipe_merged_into`, `order`, `Amount` AS `amount`, `amount` AS `amount_2`, `Größe in €` AS `gr__e_in__`, `a "b" \`c\` 'd' \\` AS `a__b___c___d___`, `{{ hostile }}` AS `___hostile___`, `1st` AS `_1st` FROM `hubspot`.`eu_deals_load`;
-- now and then: takes superseded rows away
OPTIMIZE TABLE `hubspot`.`eu_deals` FINAL;
