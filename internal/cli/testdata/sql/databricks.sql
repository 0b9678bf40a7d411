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
    CAST(`a "b" \`c\` 'd' \\` AS STRING) AS `a__b___c___d___`,
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
DELETE FROM `hubspot`.`eu_deals_load`;
