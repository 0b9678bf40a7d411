data_dir = "/srv/hubpipe"

http {
  listen = "[::1]:0"
  hosts  = ["hubpipe.example"]
  tls {
    certificate = "tls.crt"
    key         = "tls.key"
    ca          = "tls.crt"
  }
}

broker {
  listen     = "localhost:1884"
  url        = "mqtts://broker.example:8883"
  username   = "me"
  password   = env("SECRET")
  prefix     = "home/hubpipe"
  changes    = true
  max_packet = "2 MiB"
  tls {
    certificate = "tls.crt"
    key         = "tls.key"
    ca          = "tls.crt"
  }
}

worker {
  concurrency = 3
  name        = "box-1"
}

user "ann" {
  role          = "worker"
  password_hash = "$2a$10$Es1cvhDJrpj7J6bhTRAY5upnVwoN9s0xH89GU7kDu9V6J3Q/dKAle"
  certificate   = "Ann"
}

log {
  level  = "debug"
  format = "json"
}

portal "eu" {
  token         = env("TOKEN")
  base_url      = "http://127.0.0.1:8378/"
  api_version   = "v3"
  daily_reserve = "50%"
  journal {
    client_id     = "j"
    client_secret = env("SECRET")
  }
  webhook {
    client_secret = env("SECRET")
  }
}

portal "us" {
  oauth {
    client_id     = "c"
    client_secret = env("SECRET")
    refresh_token = file("secret.txt")
  }
}

defaults {
  portals            = ["*"]
  interval           = "7 minutes"
  timezone           = "Asia/Tokyo"
  autostart          = false
  properties         = ["a"]
  exclude            = ["b_*"]
  associations       = ["deals"]
  history            = ["c*"]
  volatile           = ["d"]
  start_date         = "2024-01-31"
  tail               = "3m"
  settle             = ["1h"]
  archived_interval  = "2h"
  reconcile_interval = "2d"
  max_deletes        = "5%"
  max_lag            = "2h"
  keep_versions      = "90d"
}

stream "contacts" {}

stream "people" {
  object             = "contacts"
  portal             = "us"
  cron               = "*/5 * * * *"
  timezone           = "Europe/Berlin"
  autostart          = true
  properties         = ["*"]
  exclude            = []
  associations       = []
  history            = ["*"]
  volatile           = ["x"]
  start_date         = "2024-01-31T08:00:00+01:00"
  tail               = "0s"
  settle             = []
  archived_interval  = "1h"
  reconcile_interval = "1h"
  max_deletes        = "100%"
  max_lag            = "1h"
  keep_versions      = "1h"
}

stream "others" {
  object             = "contacts"
  portals            = ["us"]
  interval           = "1s"
  timezone           = "Europe/Berlin"
  autostart          = true
  properties         = ["*"]
  exclude            = []
  associations       = []
  history            = ["*"]
  volatile           = ["x"]
  start_date         = "2024-01-31T08:00:00+01:00"
  tail               = "0s"
  settle             = []
  archived_interval  = "1h"
  reconcile_interval = "1h"
  max_deletes        = "100%"
  max_lag            = "1h"
  keep_versions      = "1h"
}

destination "postgres" "warehouse" {
  url            = "postgres://me:${env("TOKEN")}@db/crm"
  schema         = "crm"
  streams        = ["people", "eu_*"]
  deletes        = "delete"
  schema_changes = "block"
  raw            = true
  versions       = true
  views          = true
  pii            = "hash"
  exclude        = ["people.photo", "hs_ip_*"]
  hash           = ["owner"]
  truncate       = { "people.zip" = 2, note = 10 }
  pii_except     = ["firstname"]
}

destination "files" "lake" {
  url              = "s3://lake/crm?region=eu-central-1"
  format           = "ndjson"
  access_key       = env("TOKEN")
  secret_key       = env("SECRET")
  flush_interval   = "10s"
  compact_interval = "6h"
  file_size        = "8MiB"
  keep             = "2h"
  schema_changes   = "ignore"
}

destination "iceberg" "tables" {
  catalog      = "rest"
  uri          = "https://catalog.example/api/catalog"
  warehouse    = "crm"
  namespace    = "analytics.crm"
  mode         = "upsert"
  credential   = env("TOKEN")
  token        = env("SECRET")
  properties   = { "s3.region" = "eu-central-1" }
  keep         = "48h"

  schema_changes = "block"
  versions       = true
}

destination "iceberg" "own" {
  catalog      = "sql"
  uri          = "postgres://me:${env("TOKEN")}@db/iceberg"
  catalog_name = "lake"
  warehouse    = "s3://lake/tables"
  access_key   = env("TOKEN")
  secret_key   = env("SECRET")
}

notify "ops" {
  webhook = env("HOOK")
  format  = "json"
  on      = ["blocked", "disk"]
  after   = "1m"
}

notify "pager" {
  exec = ["page", "crm"]
}

tui {
  theme = "mono"
  ascii = true

  keys {
    start   = "f7"
    page-up = ["b", "pgup"]
    mouse   = []
  }
}
